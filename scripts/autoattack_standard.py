"""Compare AutoAttack's standard version as morex runs it with the call that its authors publish.

    MOREX_DATA=FOLDER python scripts/autoattack_standard.py
    MOREX_DATA=FOLDER python scripts/autoattack_standard.py --examples 200 --work FOLDER

Every model is attacked twice in the ball Linf 8/255, on the same images, in the same batches and
from the same seed: by the suite ``autoattack`` of morex, and by ``pyautoattack.AutoAttack(model,
version="standard").run_standard_evaluation``. The ResNet-18 that pyautoattack ships is not robust
there, so it is attacked in a small ball too, on a tenth of the images; morex reads its weights into
a network of its own. On as many images Minf is attacked in L2 and L1. The figures go to
``results/cifar10-small``. After every batch the work is kept, and a run that was stopped continues
there if ``--work`` is the same. ``--only`` attacks some models; the table has all that are known.
"""

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyautoattack
import torch
from torch import Tensor, nn

from morex.artifacts.statistics import wilson_interval
from morex.attacks.autoattack import AutoAttack
from morex.core.files import write_atomically
from morex.core.precision import default_device
from morex.core.seeding import generator_for
from morex.core.threads import threads
from morex.data import ImageSet
from morex.evaluation import Row, evaluate
from morex.models import NetworkConfig, load_model, load_published
from morex.perturbations import L1, L2, Ball, Linf
from morex.recipe import load_recipe
from morex.run import Builder
from morex.run.provenance import provenance

SET, SEED, ROW = "cifar10-small", 0, "autoattack-linf"
SIDES = ("morex", "pyautoattack")
EXAMPLES = Path(pyautoattack.__file__).parent / "examples"
THEIR_WEIGHTS = EXAMPLES / "model_test.pt"
HOME = Path(__file__).parents[1] / "results" / SET


@dataclass(frozen=True)
class Cell:
    """One model in one ball.

    Attributes:
        model: its name in the table.
        folder: its name in the shipped set; empty for the network of pyautoattack.
        eps: the radius, as a fraction.
        share: on how large a part of the images.
        ball: the kind of ball.
    """

    model: str
    folder: str
    eps: str = "8/255"
    share: float = 1.0
    ball: type[Ball] = Linf

    def files(self, folder: Path, batch: int) -> dict[str, Path]:
        """Return the files with what is known of both sides."""
        ball = "" if self.ball is Linf else f"-{self.ball.name}"
        name = f"{self.folder or 'resnet18'}{ball}-{self.eps.replace('/', '-')}-{batch}"
        return {side: folder / f"{name}-{side}.json" for side in SIDES}


CELLS = (
    Cell("ResNet-18 of pyautoattack", ""),
    Cell("Minf", "minf"),
    Cell("ResNet-18 of pyautoattack", "", "1/510", 0.1),
    Cell("Minf", "minf", "0.5", 0.1, L2),
    Cell("Minf", "minf", "12", 0.1, L1),
    Cell("MoRE+ (all)", "more+-all"),
)


@dataclass
class Found:
    """What is known of a cell and a side.

    Attributes:
        clean: whether the model is right on each image without an attack.
        right: whether it is right under attack.
        cpu, wall: seconds of the CPU and of the clock.
    """

    clean: list[bool]
    right: list[bool]
    cpu: float = 0.0
    wall: float = 0.0


def main() -> None:
    """Measure all cells and write the table after each batch."""
    options = _options()
    for folder in (options.work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    device = default_device()
    images = Builder.open(load_recipe(SET), device).test_data
    counts = {cell: max(2, round(cell.share * options.examples)) for cell in CELLS}
    found = dict[Cell, dict[str, Found]]()
    for cell, n in counts.items():
        pair = {s: _first(f, n) for s, f in known(cell, options.batch, options.work).items()}
        if all(len(one.right) == n for one in pair.values()):
            found[cell] = pair
    with threads(options.threads):
        for cell in (cell for cell in CELLS if options.only in cell.model):
            few = images.first(counts[cell])
            for pair in measured(cell, few, options.batch, options.work):
                found[cell] = pair
                write(found, options, device)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/autoattack-standard"))
    parser.add_argument("--out", type=Path, default=HOME, help="the folder for the two files")
    parser.add_argument("--examples", type=int, default=200, help="how many test images")
    parser.add_argument("--batch", type=int, default=100, help="images attacked at a time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="only models with this in their names")
    return parser.parse_args()


def measured(cell: Cell, images: ImageSet, batch: int, work: Path) -> Iterator[dict[str, Found]]:
    """Yield what is known of a cell, after every batch; what ``work`` holds is not done again."""
    models = {side: load(cell, side, images.device) for side in SIDES}
    files, pair = cell.files(work, batch), known(cell, batch, work)
    for start in range(0, len(images), batch):
        rows = slice(start, min(start + batch, len(images)))
        for side, attack in (("morex", ours), ("pyautoattack", theirs)):
            so_far = pair[side]
            if len(so_far.right) < rows.stop:
                add(so_far, models[side], images, rows, cell, attack)
                text = json.dumps(asdict(so_far)).encode()
                write_atomically(files[side], text)
        name = f"{cell.model} {cell.ball.__name__} {cell.eps}"
        print(f"{name}: {rows.stop} of {len(images)}", flush=True)
        yield {side: _first(pair[side], rows.stop) for side in SIDES}


def load(cell: Cell, side: str, device: torch.device) -> nn.Module:
    """Return a model: that of pyautoattack in its own definition or in that of morex."""
    if cell.folder:
        return load_model(f"{SET}/{cell.folder}", device=device)
    if side == "morex":
        config = NetworkConfig("resnet18", mean=(0.0,) * 3, std=(1.0,) * 3)
        return load_published(THEIR_WEIGHTS, config).to(device)
    spec = importlib.util.spec_from_file_location("their_resnet", EXAMPLES / "resnet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: nn.Module = module.ResNet18()
    network.load_state_dict(torch.load(THEIR_WEIGHTS, map_location="cpu", weights_only=True))
    return network.to(device).eval()


def known(cell: Cell, batch: int, work: Path) -> dict[str, Found]:
    """Return what the files of a cell hold, for each side."""
    return {side: read(file) for side, file in cell.files(work, batch).items()}


def read(path: Path) -> Found:
    """Return what a file holds, or nothing."""
    return Found(**json.loads(path.read_bytes())) if path.is_file() else Found([], [])


def _first(found: Found, n: int) -> Found:
    return Found(found.clean[:n], found.right[:n], found.cpu, found.wall)


Attack = Callable[[nn.Module, Tensor, Tensor, Ball, int], Tensor]


def add(
    found: Found, model: nn.Module, images: ImageSet, rows: slice, cell: Cell, attack: Attack
) -> None:
    """Attack some images, and add what is found to what is known."""
    x, y = images.pixels(rows), images.labels[rows]
    with torch.no_grad():
        clean = model(x).argmax(1) == y
    wall, cpu = time.perf_counter(), time.process_time()
    right = attack(model, x, y, cell.ball(float(Fraction(cell.eps))), SEED + rows.start)
    found.cpu += time.process_time() - cpu
    found.wall += time.perf_counter() - wall
    found.clean += clean.tolist()
    found.right += right.tolist()


def ours(model: nn.Module, x: Tensor, y: Tensor, ball: Ball, seed: int) -> Tensor:
    """Return where a model is right under the attack of morex."""
    suite = (Row(ROW, AutoAttack(ball)),)
    outcomes = evaluate(model, (x, y), suite, seed=seed, batch_size=len(x))
    return torch.tensor(outcomes.right[ROW])


def theirs(model: nn.Module, x: Tensor, y: Tensor, ball: Ball, seed: int) -> Tensor:
    """Return where a model is right under the call that its authors publish."""
    draws = generator_for(seed, "evaluation", ROW, 0, device=x.device)
    attack = pyautoattack.AutoAttack(
        model,
        norm=type(ball).__name__,
        eps=ball.eps,
        version="standard",
        device=x.device,
        seed=int(torch.randint(2**31, (), generator=draws, device=x.device)),
    )
    with torch.random.fork_rng():
        moved, _ = attack.run_standard_evaluation(x, y, batch_size=len(x))
    with torch.no_grad():
        right: Tensor = model(moved).argmax(1) == y
    return right.cpu()


def compared(cell: Cell, pair: dict[str, Found]) -> dict[str, Any]:
    """Return the accuracies of a cell in percent, where they differ, and the seconds."""
    a, b = pair["morex"], pair["pyautoattack"]
    n = len(a.right)
    return {
        "model": cell.model,
        "ball": f"{cell.ball.__name__} {cell.eps}",
        "n": n,
        "clean": {side: percent(found.clean) for side, found in pair.items()},
        "accuracy": {side: percent(found.right) for side, found in pair.items()},
        "interval": [round(100 * end, 2) for end in wilson_interval(sum(a.right), n)],
        "points": round(100 * (sum(a.right) - sum(b.right)) / n, 2),
        "only_morex_breaks": sum(y and not x for x, y in zip(a.right, b.right, strict=True)),
        "only_pyautoattack_breaks": sum(x and not y for x, y in zip(a.right, b.right, strict=True)),
        "cpu_seconds": {side: round(found.cpu, 1) for side, found in pair.items()},
        "seconds": {side: round(found.wall, 1) for side, found in pair.items()},
    }


def percent(right: list[bool]) -> float:
    """Return an accuracy in percent."""
    return round(100 * sum(right) / len(right), 2)


def write(
    found: dict[Cell, dict[str, Found]], options: argparse.Namespace, device: torch.device
) -> None:
    """Write the figures as JSON and as a table."""
    made_by = provenance(device).content()
    cells = [compared(cell, found[cell]) for cell in CELLS if cell in found]
    settings = {"seed": SEED, "batch_size": options.batch, "threads": options.threads}
    content = {"set": SET, **settings, "cells": cells, "provenance": made_by}
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(options.out / "autoattack-standard.json", text.encode())
    hardware = ", ".join(f"{key} {value}" for key, value in made_by["hardware"].items())
    lines = [
        "# AutoAttack's standard version, by morex and by pyautoattack\n",
        f"Seed {SEED}, batches of {options.batch}, {options.threads} thread; {hardware}; "
        f"commit {made_by['commit']}.\nBoth sides attack the same images in the same batches from "
        "the same seeds. Accuracies are in percent, with a\n95% interval. Points: the accuracy by "
        "morex less that by pyautoattack.\nWritten by `scripts/autoattack_standard.py`.\n",
        "| model | ball | n | clean | morex | pyautoattack | points | broken by morex alone, by "
        "pyautoattack alone | CPU s morex | pyautoattack | ratio |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *map(line, cells),
    ]
    write_atomically(options.out / "autoattack-standard.md", ("\n".join(lines) + "\n").encode())


def line(cell: dict[str, Any]) -> str:
    """Return a line of the table."""
    accuracy, cpu = cell["accuracy"], cell["cpu_seconds"]
    low, high = cell["interval"]
    parts = [
        cell["model"],
        cell["ball"],
        cell["n"],
        f"{cell['clean']['morex']:.1f}",
        f"{accuracy['morex']:.1f} ({low:.1f} to {high:.1f})",
        f"{accuracy['pyautoattack']:.1f}",
        f"{cell['points']:+.1f}",
        f"{cell['only_morex_breaks']}, {cell['only_pyautoattack_breaks']}",
        *(f"{cpu[side]:.0f}" for side in SIDES),
        f"{cpu['morex'] / max(cpu['pyautoattack'], 1e-9):.2f}",
    ]
    return f"| {' | '.join(map(str, parts))} |"


if __name__ == "__main__":
    main()
