"""Run directories with given outcomes, for tests of tables and sentences."""

import json
from importlib.resources import files

import numpy as np

from morex.artifacts.outcomes import Outcomes

TABLE1 = json.loads(files("morex.report").joinpath("table1.json").read_text())
KINDS = {
    "clean": {"kind": "clean"},
    "l2": {"kind": "l2", "eps": 1.0},
    "linf": {"kind": "linf", "eps": 8 / 255},
    "fog": {"kind": "fog", "t": 0.15, "light": 0.6},
    "snow": {"kind": "snow", "darkness": 2.5},
}
DIGITS = {"data": "digits", "data_note": "8x8", "network": "resnet10", "width": 8, "n_test": 8}
PAPER = {"data": "cifar10", "data_note": "", "network": "resnet18", "width": 64, "n_test": 8}


def perturbation(row):
    return KINDS[row.rsplit("-")[-1]]


def write_outcomes(
    run, right, *, setting=DIGITS, rows=None, missing=(), about=None, images=None, **changes
):
    """Write a run directory; ``right`` maps column -> row -> string of 0 and 1.

    ``about`` maps columns to further facts, ``images`` is what is known of the test images, and
    ``changes`` are made to the content of the results file.
    """
    (run / "outcomes").mkdir(parents=True)
    for i, by_row in enumerate(right.values()):
        outcomes = {row: np.array([c == "1" for c in text]) for row, text in by_row.items()}
        Outcomes(outcomes).save(run / f"outcomes/{i}.npz")
    names = rows or next(iter(right.values()))
    content = {
        "format": 1,
        "name": "tiny",
        "seed": 7,
        "setting": setting,
        "rows": {row: {"attack": "A()", "perturbation": perturbation(row)} for row in names},
        "columns": {
            name: {"outcomes": f"outcomes/{i}.npz", "seconds": 1.5, "training": COST}
            | (about or {}).get(name, {})
            for i, name in enumerate(right)
        },
        "missing": list(missing),
        "stages": STAGES,
        "provenance": {"hardware": {"cpu": "Abacus", "cores": 2}, "commit": "abc"},
        **changes,
    }
    (run / "results.json").write_text(json.dumps(content))
    if images:
        (run / "test-labels.json").write_text(json.dumps(images))
    return run


STAGES = {"train-clean": {"kind": "train", "model": "clean", "seconds": 2.5}}
COST = {"forward": 3, "backward": 2, "seconds": 0.5}
SMALL = {
    "clean": {"clean": "11111110", "pgd-l2": "00000000", "fog": "1100"},
    "M2": {"clean": "11110000", "pgd-l2": "10110000", "fog": "1100"},
}
