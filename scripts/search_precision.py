"""Compare searches in bfloat16 with searches in float32 on shipped models.

    MOREX_DATA=FOLDER python scripts/search_precision.py
    MOREX_DATA=FOLDER python scripts/search_precision.py --work FOLDER

Each attack runs twice on the same images from the same seed: once seeing the model in float32 and
once in bfloat16. Both are judged in float32. The figures go to ``results/cifar10-small``. A run
that was stopped continues where it stopped, if ``--work`` is the same.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from morex.artifacts.notes import NoteBook
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import BoolArray
from morex.attacks import PGD, Attack, GateSteering, RayS
from morex.core.precision import default_device
from morex.core.threads import threads
from morex.data import ImageSet
from morex.evaluation import Row, evaluate
from morex.models.named import load_model
from morex.perturbations import L2, Linf
from morex.recipe import load_recipe
from morex.run import Builder
from morex.run.partial_results import PartialRows
from morex.run.provenance import provenance

SET, SEED, BATCH = "cifar10-small", 0, 256
PRECISIONS = ("fp32", "bf16")
NETWORKS = ("Minf", "M2", "clean", "MAX (all)", "AVG (all)")
MIXTURES = ("MoRE (all)", "MoRE+ (all)")
FOLDERS = {"MAX (all)": "max-all", "AVG (all)": "avg-all", "MoRE (all)": "more-all"}
FOLDERS |= {"MoRE+ (all)": "more+-all"}
BALLS = {"l2": L2(1.0), "linf": Linf(8 / 255)}
HOME = Path(__file__).parents[1] / "results" / SET


@dataclass(frozen=True)
class Cell:
    """One model under one attack, on the first ``n`` test images."""

    model: str
    row: str
    attack: Attack
    n: int


def cells() -> Iterator[Cell]:
    """Yield what is measured, the cheapest first."""
    kinds: list[tuple[str, tuple[str, ...], int, Any]] = [
        ("pgd", NETWORKS, 2000, lambda b: PGD(b, 20, restarts=3, stop_when_fooled=True)),
        ("pgd", MIXTURES, 2000, lambda b: PGD(b, 20, restarts=3, stop_when_fooled=True)),
        ("steering", MIXTURES, 300, lambda b: GateSteering(b, steps=10, pushes=(1.0,))),
        ("rays", NETWORKS[:3], 100, lambda b: RayS(b, queries=500)),
    ]
    for name, models, n, make in kinds:
        for model in models:
            for ball, perturbation in BALLS.items():
                yield Cell(model, f"{name}-{ball}", make(perturbation), n)


def main() -> None:
    """Measure all cells and write the table after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/search-precision"))
    parser.add_argument("--examples", type=int, default=2000, help="at most so many images")
    options = parser.parse_args()
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    device = default_device()
    images = Builder.open(load_recipe(SET), device).test_data
    found: list[dict[str, Any]] = []
    with threads(1):
        for cell in (replace(c, n=min(c.n, options.examples)) for c in cells()):
            pair = {p: measured(cell, p, images, work, device) for p in PRECISIONS}
            found.append(compared(cell, pair))
            write(found, device)


def measured(
    cell: Cell, precision: Any, images: ImageSet, work: Path, device: torch.device
) -> tuple[Outcomes, float]:
    """Return the outcomes of a cell and the seconds of CPU that they took."""
    name = f"{FOLDERS.get(cell.model, cell.model.lower())}-{cell.row}-{precision}"
    done, clock = work / f"{name}.npz", work / f"{name}.seconds"
    spent = float(clock.read_text()) if clock.is_file() else 0.0
    if done.is_file() and len(Outcomes.load(done).right[cell.row]) == cell.n:
        return Outcomes.load(done), spent
    if done.is_file():  # of an earlier call with another number of images
        done.unlink()
        spent = 0.0
    kept = PartialRows(work / f"{name}.partial", 0.0, print, settings=repr(cell))
    started = time.process_time()

    def keep(row: str, right: BoolArray) -> None:
        kept.keep(row, right, whole=len(right) == cell.n)
        clock.write_text(str(spent + time.process_time() - started))

    model = load_model(f"{SET}/{FOLDERS.get(cell.model, cell.model.lower())}", device=device)
    outcomes = evaluate(
        model.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        images,
        (Row(cell.row, cell.attack, cell.n),),
        seed=SEED,
        batch_size=BATCH,
        search_precision=precision,
        done=dict(kept.done),
        keep=keep,
        notes=kept.notes,
    )
    outcomes.save(done)
    kept.remove()
    return outcomes, float(clock.read_text())


def compared(cell: Cell, pair: dict[str, tuple[Outcomes, float]]) -> dict[str, Any]:
    """Return the accuracies of a cell in percent, where they differ, and the seconds."""
    right = {p: outcomes.right[cell.row] for p, (outcomes, _) in pair.items()}
    coarse = pair["bf16"][0]
    again = NoteBook(coarse.notes).count(cell.row, "fooled in bfloat16 only")
    return {
        "model": cell.model,
        "row": cell.row,
        "n": cell.n,
        "accuracy": {p: round(100 * float(np.mean(r)), 2) for p, r in right.items()},
        "points": round(100 * float(np.mean(right["bf16"]) - np.mean(right["fp32"])), 2),
        "only_fp32_breaks": int((right["bf16"] & ~right["fp32"]).sum()),
        "only_bf16_breaks": int((right["fp32"] & ~right["bf16"]).sum()),
        "searched_again": again,
        "seconds": {p: round(seconds, 1) for p, (_, seconds) in pair.items()},
    }


def write(found: list[dict[str, Any]], device: torch.device) -> None:
    """Write the figures as JSON and as a table."""
    made_by = provenance(device).content()
    content = {"set": SET, "seed": SEED, "batch_size": BATCH, "cells": found, "provenance": made_by}
    (HOME / "search-precision.json").write_text(json.dumps(content, indent=1) + "\n")
    hardware = ", ".join(f"{key} {value}" for key, value in made_by["hardware"].items())
    lines = [
        "# Search in bfloat16, judge in float32\n",
        f"Seed {SEED}, batches of {BATCH}; {hardware}; commit {made_by['commit']}. PGD has 20 "
        "steps and 3 restarts.\nAccuracies are in percent. Points: the accuracy after a search in "
        "bfloat16 less that after a search in float32.\nSeconds are of one CPU core.\n",
        "| model | row | n | fp32 | bf16 | points | broken by fp32 alone, bf16 alone | searched "
        "again | seconds fp32 | bf16 |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *map(line, found),
        "",
        summary(found),
    ]
    (HOME / "search-precision.md").write_text("\n".join(lines) + "\n")


def line(cell: dict[str, Any]) -> str:
    """Return a line of the table."""
    accuracy, seconds = cell["accuracy"], cell["seconds"]
    parts = [
        cell["model"],
        cell["row"],
        cell["n"],
        *(f"{accuracy[p]:.2f}" for p in PRECISIONS),
        f"{cell['points']:+.2f}",
        f"{cell['only_fp32_breaks']}, {cell['only_bf16_breaks']}",
        cell["searched_again"],
        *(f"{seconds[p]:.0f}" for p in PRECISIONS),
    ]
    return f"| {' | '.join(map(str, parts))} |"


def summary(found: list[dict[str, Any]]) -> str:
    """Return the largest difference on rows of 2,000 images, and the speed of all."""
    most = max(cell["n"] for cell in found)
    large = [abs(cell["points"]) for cell in found if cell["n"] == most]
    spent = {p: math.fsum(cell["seconds"][p] for cell in found) for p in PRECISIONS}
    return (
        f"Largest difference on {len(large)} rows of {most} images: {max(large):.2f} points. "
        f"All searches took {spent['fp32']:.0f} s in float32 and {spent['bf16']:.0f} s in bfloat16."
    )


if __name__ == "__main__":
    main()
