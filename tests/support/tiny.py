"""A recipe with every kind of model and attack that runs in a few seconds, and ways to watch it."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from morex.recipe import Recipe, parse_recipe
from morex.recipe.phases import Phase, phase_of
from morex.run import (
    Event,
    Finished,
    Loaded,
    Noticed,
    Planned,
    Progressed,
    Skipped,
    Stage,
    Started,
    run,
)

_TINY = """
name: tiny
description: every kind of stage
data: {name: digits, train_examples: 120, validation_examples: 40, crop: 1}
network: {architecture: resnet10, width: 4}
perturbations:
  clean: {kind: clean}
  linf: {kind: linf, eps: 16/255}
  l2: {kind: l2, eps: 0.5}
  fog: {kind: fog, t: 0.15, light: 0.6}
inner: {steps: 2}
training: {epochs: 2, batch_size: 32, learning_rate: 0.05, average: 0.9, precision: fp32}
models:
  clean: {against: clean}
  Minf: {against: linf}
  Mfog: {against: fog, warm_start: clean, training: {epochs: 1, optimizer: adamw}}
  MAX: {objective: max, against: [linf, l2]}
  MSD: {objective: msd, against: [linf, l2]}
  drawn: {objective: one-drawn, against: [linf, l2]}
  MoRE:
    kind: mixture
    experts: [clean, Minf, Mfog]
    against: [clean, linf, fog]
    gate_warmup: {epochs: 1}
    training: {epochs: 1}
  MoRE (in turn):
    kind: mixture
    objective: alternate
    experts: [clean, Minf]
    against: [clean, linf]
    training: {epochs: 1}
  mean: {kind: mean-of-experts, experts: [clean, Minf]}
  largest: {kind: largest-logit, experts: [clean, Minf]}
columns: [clean, Minf, Mfog, MAX, MSD, drawn, MoRE, MoRE (in turn), mean, largest]
report: null  # has tests of its own
evaluation:
  examples: 30
  batch_size: 16
  rows:
    clean: {attack: draws, perturbation: clean}
    fog: {attack: draws, perturbation: fog, draws: 2}
    pgd-linf: {attack: pgd, perturbation: linf, steps: 2}
    deepfool-l2: {attack: deepfool, perturbation: l2, steps: 2, candidates: 3}
    rays-linf: {attack: rays, perturbation: linf, queries: 6, examples: 20}
"""


FEW = ("clean", "Minf", "Mfog", "MoRE")
TWO = ("clean", "Minf")
CPU = torch.device("cpu")


@cache
def _read() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(_TINY)
    return content


def raw_recipe(*models: str) -> dict[str, Any]:
    """Return the recipe as it is written, with all models or only some."""
    raw = deepcopy(_read())
    if models:
        raw["models"] = {name: raw["models"][name] for name in models}
        raw["columns"] = list(models)
    return raw


def changed(raw: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of ``raw`` with another value at the dotted ``path``."""
    copy = deepcopy(raw)
    *sections, last = path.split(".")
    place = copy
    for key in sections:
        place = place.setdefault(key, {})
    place[last] = value
    return copy


def tiny(*models: str) -> Recipe:
    """Return the recipe, with all models or only some."""
    return parse_recipe(raw_recipe(*models))


def phase(recipe: Recipe, model: str, kind: str = "train") -> Phase:
    """Return what a step of a model trains on, which has to train."""
    found = phase_of(recipe, model, kind)
    assert found is not None
    return found


class Spy:
    """An observer that remembers the events of a run."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.work: Mapping[str, float] = {}
        self.skipped: list[str] = []
        self.started: list[str] = []
        self.done: list[str] = []
        self.shares: dict[str, list[float]] = {}
        self.notices: list[str] = []
        self.data: tuple[str, ...] = ()

    def __call__(self, event: Event) -> None:
        match event:
            case Planned(stages, work):
                self.stages, self.work = [*stages], work
            case Skipped(stage):
                self.skipped.append(stage.id)
            case Started(stage):
                self.started.append(stage.id)
                self.shares[stage.id] = []
            case Progressed(stage, share):
                self.shares[stage.id].append(share)
            case Finished(stage):
                self.done.append(stage.id)
            case Loaded(lines):
                self.data = lines
            case Noticed(text):
                self.notices.append(text)


def results_of(run: Path) -> dict[str, bytes]:
    """Return the content of every weights and outcomes file of a run, by path."""
    files = sorted([*run.glob("models/**/model.safetensors"), *run.glob("outcomes/*.npz")])
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def rerun(out: Path, raw: dict[str, Any] | None = None) -> Spy:
    """Do a recipe in ``out``, by default that of ``FEW``, and return the events."""
    spy = Spy()
    run(parse_recipe(raw or raw_recipe(*FEW)), out, observer=spy, jobs=1)
    assert sorted(spy.skipped + spy.done) == sorted(stage.id for stage in spy.stages)
    return spy


def assert_same_bits(run: Path, whole: Path) -> None:
    """Compare all that ``run`` holds with the same files of ``whole``."""
    found, expected = results_of(run), results_of(whole)
    assert len(found) == 4
    assert found == {name: expected[name] for name in found}
