"""A run directory with everything that a report page can show, made up without any training."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from morex.artifacts.illustration import Curve, Illustration, Pictures
from morex.artifacts.outcomes import Outcomes

ROWS = {
    "clean": {"kind": "clean"},
    "pgd-l2": {"kind": "l2", "eps": 1.0},
    "pgd-linf": {"kind": "linf", "eps": 8 / 255},
    "fog": {"kind": "fog", "t": 0.15, "light": 0.6},
}
MODELS = ("clean", "Mfog", "AVG", "MoRE")
EXPERTS = ("clean", "Mfog")
FACTORS = (0.0, 1.0, 2.0)


def write_run(
    run: Path,
    *,
    models: tuple[str, ...] = MODELS,
    classes: int = 3,
    n: int = 40,
    size: int = 8,
    seed: int = 0,
    rows: dict[str, dict[str, Any]] = ROWS,
    evaluated: int | None = None,
) -> Path:
    """Write a run of ``models``, the last of which is a mixture, with random results.

    Only the first ``evaluated`` models have outcomes.
    """
    rng = np.random.default_rng(seed)
    for folder in ("outcomes", "stages", "illustrations", "audits"):
        (run / folder).mkdir(parents=True)
    done = models[: len(models) if evaluated is None else evaluated]
    for i, _ in enumerate(done):
        right = {row: rng.random(n if row != "fog" else n // 2) < 0.6 for row in rows}
        Outcomes(right).save(run / f"outcomes/{i}.npz")
    labels = rng.integers(0, classes, n)
    names = [f"class {k}" for k in range(classes)]
    images = {"classes": names, "labels": labels.tolist(), "index": [*range(100, 100 + n)]}
    (run / "test-labels.json").write_text(json.dumps(images))
    for model in done[-2:]:
        gallery = model == models[-1]
        illustration(rng, labels[: n // 2], classes, size, rows, gallery=gallery).save(
            run / f"illustrations/{model}.npz"
        )
    (run / "recipe.yaml").write_text("name: made-up\n")
    content = results(models, done, rows, n, rng)
    (run / "results.json").write_text(json.dumps(content))
    for model in models:
        record = RECORD | {"stage": f"train-{model}", "history": history(rng)}
        (run / f"stages/train-{model}.json").write_text(json.dumps(record))
    (run / "audits/more.json").write_text(
        json.dumps({"findings": FINDINGS, "accuracies": ACCURACIES})
    )
    return run


RECORD = {
    "key": "0", "files": {}, "seconds": 3.0, "finished": "2026-01-01", "provenance": {},
    "checksum": "0",
}  # fmt: skip

FINDINGS = [
    {"point": 1, "name": "iterations", "ball": "L2", "verdict": "pass", "reason": "fine",
     "evidence": {"strong": 40.0}},
    {"point": 7, "name": "gate and experts", "ball": "L2", "verdict": "flag", "reason": "steered",
     "evidence": {"steered": 9.5}, "n": 40},
]  # fmt: skip

ACCURACIES = [
    {"ball": "L2", "accuracy": 0.1, "interval": [0.043, 0.214], "n": 50, "one_answer": 0.12,
     "verdict": "not robust"},
]  # fmt: skip


def history(rng: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {"epoch": e, "loss": float(rng.random() + 1 / e), "learning_rate": 0.1}
        | ({"validation": [0.2 * e, 0.1 * e], "score": 0.15 * e} if e % 2 else {})
        for e in range(1, 5)
    ]


def results(
    models: tuple[str, ...],
    done: tuple[str, ...],
    rows: dict[str, dict[str, Any]],
    n: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    cost = {"forward": 1000, "backward": 500, "seconds": 2.5}
    columns: dict[str, Any] = {
        model: {
            "outcomes": f"outcomes/{i}.npz",
            "trained_on": "single: clean" if i < 2 else "average: clean, fog",
            "training": cost,
            "training_with_parents": {k: v * (i + 1) for k, v in cost.items()},
        }
        for i, model in enumerate(done)
    }
    if models[-1] in columns:
        columns[models[-1]]["gate"] = gate(rows)
    return {
        "format": 1,
        "name": "made-up",
        "seed": 7,
        "setting": {"data": "dice", "network": "resnet10", "width": 8, "n_test": n},
        "rows": {r: {"attack": f"{r} attack", "perturbation": p} for r, p in rows.items()},
        "perturbations": {p["kind"]: p for p in rows.values()},
        "columns": columns,
        "illustrations": {model: f"illustrations/{model}.npz" for model in done[-2:]},
        "missing": [model for model in models if model not in done],
        "stages": {
            f"train-{model}": {
                "kind": "train", "model": model, "against": ["clean", "fog"],
                "seconds": 3.0, "finished": "2026-01-01", "provenance": {"commit": "abcdef"},
            }
            for model in models
        },
        "provenance": {
            "commit": "abcdef", "command": "morex run made-up.yaml",
            "hardware": {"processor": "Abacus", "cores": 2}, "versions": {"morex": "0.1.0"},
        },
    }  # fmt: skip


def gate(rows: dict[str, Any]) -> dict[str, Any]:
    weights = {row: (0.3, 0.7) if row != "fog" else (0.05, 0.95) for row in rows}
    return {
        "experts": EXPERTS,
        "weights": weights,
        "leads": dict.fromkeys(rows, (0.25, 0.75)),
        "entropy": dict.fromkeys(rows, 0.5),
        "n": 20,
    }


def illustration(
    rng: np.random.Generator,
    labels: np.ndarray,
    classes: int,
    size: int,
    rows: dict[str, Any],
    *,
    gallery: bool,
) -> Illustration:
    n = len(labels)
    return Illustration(
        labels=labels,
        answers={row: rng.integers(0, classes, n) for row in rows},
        curves={
            p["kind"]: Curve(np.array(FACTORS), rng.random((len(FACTORS), n)) < 0.5)
            for p in rows.values()
            if p["kind"] != "clean"
        },
        pictures=pictures(rng, labels, classes, size, [*rows]) if gallery else None,
    )


def pictures(
    rng: np.random.Generator, labels: np.ndarray, classes: int, size: int, rows: list[str]
) -> Pictures:
    count, r, m = min(12, len(labels)), len(rows), len(EXPERTS)
    weights = rng.random((r, count, m))
    return Pictures(
        index=np.arange(count),
        labels=labels[:count],
        rows=np.array(rows),
        moved=rng.random((r, count, 3, size, size)).astype(np.float16),
        said=rng.integers(0, classes, (r, count)),
        confidence=rng.random((r, count)).astype(np.float16),
        experts=np.array(EXPERTS),
        experts_say=rng.integers(0, classes, (r, count, m)),
        weights=(weights / weights.sum(2, keepdims=True)).astype(np.float16),
    )
