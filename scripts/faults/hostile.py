"""Models and runs of a stranger that name code: none of it runs."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from faults.bench import Bench
from faults.kind import Kind, Trial, Verdict

COMMANDS = ("evaluate", "audit", "curve", "predict", "extend", "shrink")


def _factory(content: dict[str, Any], trap: Path) -> None:
    content["model"] = {"kind": "foreign", "factory": f"{trap}:make"}


def _module(content: dict[str, Any], trap: Path) -> None:
    content["model"] = {"kind": "foreign", "factory": f"{trap.stem}:make"}


def _gate(content: dict[str, Any], trap: Path) -> None:
    if "gate" in content["model"]:
        content["model"]["gate"] = {"kind": "foreign", "factory": f"{trap}:make"}
    else:
        _factory(content, trap)


def _perturbation(content: dict[str, Any], trap: Path) -> None:
    content["about"]["recipe"]["perturbations"]["fog"] = {"kind": f"{trap}:Trap"}


def _part(content: dict[str, Any], trap: Path) -> None:
    parts = [{"kind": "clean"}, {"kind": f"{trap}:Trap"}]
    content["about"]["recipe"]["perturbations"]["fog"] = {"kind": "compose", "parts": parts}


def _signed(content: dict[str, Any], trap: Path) -> None:
    _perturbation(content, trap)
    content["signature"] = "0" * 64


PLANTS: Mapping[str, Callable[[dict[str, Any], Path], None]] = {
    "a factory in a file": _factory,
    "a factory in a module": _module,
    "a gate by a factory": _gate,
    "a perturbation in a file": _perturbation,
    "a part of a composition": _part,
    "a signature of somebody else": _signed,
}


class Hostile(Kind):
    """A model, or a run, whose files name code that leaves a mark when it is imported."""

    name = "hostile model"

    def trials(self, draw: Random, times: int) -> Iterator[Trial]:
        """Yield each plant with each command, for a model alone and for one in its run."""
        for plant in PLANTS:
            for command in COMMANDS:
                for alone in (True, False):
                    where = "alone" if alone else "in its run"
                    name = f"{plant}, {command}, {where}"
                    yield Trial(name, partial(_harmless, plant, command, alone))


def _harmless(plant: str, command: str, alone: bool, bench: Bench, run: Path) -> Verdict:
    shutil.copytree(bench.whole, run)
    trap, mark = run / "trap.py", run / "imported"
    trap.write_text(f"open({str(mark)!r}, 'w').close()\nTrap = make = None\n")
    model = run / "models" / "more"
    content = json.loads((model / "model.json").read_bytes())
    PLANTS[plant](content, trap)
    (model / "model.json").write_text(json.dumps(content))
    Image.new("RGB", (8, 8)).save(run / "picture.png")
    recipe = run / "recipe.yaml"
    text = recipe.read_text().replace("kind: fog", f"kind: {trap}:Trap")
    recipe.write_text(text)
    if alone:
        recipe.unlink()
    arguments = {
        "evaluate": [str(model), "--examples", "2"],
        "audit": [str(model), "--examples", "2", "--steps", "1"],
        "curve": [str(model), "fog", "--examples", "2"],
        "predict": ["--model", str(model), str(run / "picture.png")],
        "extend": [str(run), "--with", "rain", "--out", str(run / "more")],
        "shrink": [str(run), "--without", "Mfog", "--out", str(run / "less")],
    }[command]
    ended = bench.morex([command, *arguments], seconds=60, gib=12)
    if mark.exists():
        return Verdict(False, "code ran", ended.err)
    if "Traceback" in ended.err or ended.code not in (0, 1, 2):
        return Verdict(False, "unclear", f"exit code {ended.code}: {ended.err}")
    return Verdict(True, "refused" if ended.code else "not asked to run it")
