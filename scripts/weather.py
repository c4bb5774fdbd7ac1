"""Put evaluations of several models under weather and corruptions side by side.

    python scripts/weather.py results/cifar10-small FOLDER

FOLDER holds the JSON files of ``morex evaluate --out``: ``corrupted-*.json``,
``worst_weather-*.json``, ``unforeseen-*.json`` and, for a mixture before and after it was extended,
``extended-*.json``. The script writes ``weather.json``, with an interval for every figure, and
``weather.md``.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TITLES = {
    "corrupted": "Corruptions of CIFAR-10-C",
    "worst_weather": "The paper's fog and snow, drawn and chosen",
    "unforeseen": "What no union foresaw",
    "extended": "One of them in the union",
}
HIGHEST = 5


def main() -> None:
    """Read all evaluations and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    kinds = {kind: evaluations(arguments.folder, kind) for kind in TITLES}
    kept = {kind: [without_places(one) for one in found] for kind, found in kinds.items()}
    (arguments.out / "weather.json").write_text(json.dumps(rounded(kept)) + "\n")
    parts = [page(kind, found) for kind, found in kinds.items() if found]
    (arguments.out / "weather.md").write_text("\n\n".join(parts) + "\n")
    print(*parts, sep="\n\n")


def evaluations(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Return the evaluations of one kind, the models in the order of their file names."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{kind}-*.json"))]


def without_places(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return an evaluation without its command and the folders of one machine."""
    kept = {key: value for key, value in evaluation.items() if key != "command"}
    model = Path(evaluation["model"])
    return kept | {"model": model.name if model.is_absolute() else str(model)}


def rounded(value: Any) -> Any:
    """Return JSON values with numbers of four digits after the point."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


def page(kind: str, found: Sequence[dict[str, Any]]) -> str:
    """Return a heading, a table with one column for each model, and what was measured."""
    names = [one["model"].rpartition("/")[2] for one in found]
    lines = [f"# {TITLES[kind]}", ""]
    lines += [f"| {' | '.join(('', *names))} |", f"| --- |{' ---: |' * len(names)}"]
    lines += [row_of(name, values) for name, values in figures(kind, found).items()]
    return "\n".join([*lines, "", settings(found)])


def figures(kind: str, found: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Return what the table shows of each model, by row."""
    if kind != "corrupted":
        return {row: [one["rows"][row]["accuracy"] for one in found] for row in found[0]["rows"]}
    rows = {name: [one["means"][name] for one in found] for name in found[0]["means"]}
    rows["mean of all"] = [sum(one["means"].values()) / len(one["means"]) for one in found]
    worst = [name for name in found[0]["rows"] if name.endswith(f"-{HIGHEST}")]
    rows[f"mean at severity {HIGHEST}"] = [
        sum(one["rows"][name]["accuracy"] for name in worst) / len(worst) for one in found
    ]
    rows["mean corruption error"] = [one["mCE"] for one in found]
    return rows


def row_of(name: str, values: Sequence[float]) -> str:
    """Return one row of a table, in percent; the best figure is bold."""
    best = (min if name.endswith("error") else max)(values)
    cells = [f"**{100 * v:.1f}**" if v == best else f"{100 * v:.1f}" for v in values]
    return f"| {' | '.join((name, *cells))} |"


def settings(found: Sequence[dict[str, Any]]) -> str:
    """Return n, the widest interval, seed and hardware of evaluations, which must agree."""
    rows = [row for one in found for row in one["rows"].values()]
    half = max((high - low) / 2 for low, high in (row["interval"] for row in rows))
    (n,), (seed,) = {row["n"] for row in rows}, {one["seed"] for one in found}
    machines = ", ".join(sorted({one["hardware"]["processor"] for one in found}))
    return (
        f"n = {n} test images; 95% Wilson intervals of single rows: up to ±{100 * half:.1f} "
        f"points; seed {seed}; {machines}"
    )


if __name__ == "__main__":
    main()
