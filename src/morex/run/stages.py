"""The stages of a run: what is done, in which order, and what decides its result."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch

from morex.evaluation.settings import Settings
from morex.models.named_model import NamedModel
from morex.recipe import Recipe, slug
from morex.recipe.components import identified
from morex.recipe.illustrated import illustrated, in_pictures
from morex.recipe.keys import key_part
from morex.recipe.kind import Setting
from morex.recipe.models import AnyModel, SavedModel, SparseModel
from morex.recipe.suites import Attacks

FORMAT = 1
"""Increased whenever the same inputs would give a different result, so that stages are redone.

Not increased for rounding, or for another order of draws from the same distribution: then old
results are as good as new ones.
"""

Kind = Literal["gate", "train", "evaluate", "illustrate"]


@dataclass(frozen=True)
class Stage:
    """A part of a run that is done as a whole or not at all.

    Args:
        kind: whether it warms up a gate, trains (or assembles) a model, evaluates it, or
            illustrates it for the report page.
        model: the model's name in the recipe.
        needs: ids of the stages whose results this one reads.
        decided_by: everything else that decides the result, as JSON.
        suite: which suite an evaluation attacks with; empty for that of the table.
    """

    kind: Kind
    model: str
    needs: tuple[str, ...]
    decided_by: Mapping[str, Any]
    suite: str = ""

    @cached_property
    def id(self) -> str:
        """A name that is unique in the run and good for files, such as ``train-more-all``."""
        return stage_id(self.kind, self.model, self.suite)

    @property
    def output(self) -> str:
        """The file that other stages read, relative to the run directory."""
        if self.kind == "evaluate":
            return "/".join(filter(None, ["outcomes", self.suite, f"{slug(self.model)}.npz"]))
        if self.kind == "illustrate":
            return f"illustrations/{slug(self.model)}.npz"
        return f"{self.folder}/model.safetensors"

    @property
    def makes_a_model(self) -> bool:
        """Whether its output is weights, not a measurement of a model."""
        return self.kind in ("gate", "train")

    @property
    def folder(self) -> str:
        """The model's folder, relative to the run directory."""
        return gate_folder(self.model) if self.kind == "gate" else model_folder(self.model)

    def key(self, digests: Mapping[str, str]) -> str:
        """Return a hash of what decides the result, given the digests of what the stage reads."""
        return _hash(
            {
                "format": FORMAT,
                "kind": self.kind,
                "model": self.model,
                "reads": [digests[need] for need in self.needs],
                "decided_by": self.decided_by,
            }
        )

    def row_keys(self, model_digest: str) -> dict[str, str]:
        """Return a hash for each row of an evaluation, given the model's checksum."""
        common = {name: value for name, value in self.decided_by.items() if name != "rows"}
        common |= {"format": FORMAT, "model": model_digest}
        return {
            name: _hash(common | {"name": name, "row": row})
            for name, row in self.decided_by["rows"].items()
        }


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def stage_id(kind: Kind, model: str, suite: str = "") -> str:
    """Return the id of the stage of a kind for a model, and for a suite other than the table's."""
    return f"{kind}-{slug(model)}" + (f"@{suite}" if suite else "")


def folder_made_by(stage: str) -> str:
    """Return the folder of the model that a stage with this id makes, relative to the run."""
    kind, _, name = stage.partition("-")
    return f"models/{name}/gate" if kind == "gate" else f"models/{name}"


def model_folder(model: str) -> str:
    """Return the folder of a model, relative to the run directory."""
    return f"models/{slug(model)}"


def gate_folder(model: str) -> str:
    """Return the folder of what the warm-up of a model's gate saves, relative to the run."""
    return f"{model_folder(model)}/gate"


Opener = Callable[[SavedModel], NamedModel]
"""Returns the model that was trained elsewhere, opened."""

AttacksOf = Callable[[str], Attacks]
"""Returns the rows of a suite and their perturbations; the table's if the name is empty."""


def plan_stages(
    recipe: Recipe,
    train_fingerprint: str,
    test_fingerprint: str,
    opened: Opener = SavedModel.open,
    attacks_of: AttacksOf | None = None,
    settings: Settings | None = None,
) -> list[Stage]:
    """Return the stages of a recipe in an order in which each finds what it needs.

    The columns are evaluated, each right after its model is made, and some of them are illustrated.
    Only models that they need are trained.

    Args:
        recipe: the recipe.
        train_fingerprint: a checksum of the training data.
        test_fingerprint: a checksum of the test data.
        opened: opens the models that were trained elsewhere; by default each one anew.
        attacks_of: returns the attacks of a suite; by default its file is read.
        settings: of the evaluations; by default those of a CPU.
    """
    stages: dict[str, Stage] = {}
    setting = _setting(recipe, train_fingerprint, opened)
    suites = ("", *recipe.evaluation.suites)
    attacks_of = attacks_of or recipe.attacks
    settings = settings or recipe.evaluation.settings(recipe.seed, torch.device("cpu"), (1, 1))
    attacks = {
        suite: _evaluation(recipe, test_fingerprint, attacks_of(suite), settings)
        for suite in suites
    }
    shown = {*illustrated(recipe)}
    code: dict[str, list[Any]] = {}

    def add(name: str) -> None:
        if name in code:
            return
        for parent in recipe.models[name].parents:
            add(parent)
        code[name] = _code_of(recipe.models[name], code, setting)
        found = _training_stages(recipe, name, setting, code)
        if name in recipe.columns:
            its = {s: rows for s, rows in attacks.items() if name in recipe.columns_under(s)}
            found += _evaluation_stages(name, its, code[name])
        if name in shown:
            found.append(_illustration_stage(recipe, name, attacks[""], code[name]))
        stages.update({stage.id: stage for stage in found})

    for column in recipe.columns:
        add(column)
    return list(stages.values())


def _setting(recipe: Recipe, fingerprint: str, opened: Opener) -> Setting:
    data = recipe.data.model_dump(
        exclude={"name", "note", "folder", "image_column", "label_column", "image_size", "extra"}
    )
    if recipe.data.extra:  # its images are in the fingerprint
        data["extra"] = {"share": recipe.data.extra.share}
    return Setting(
        run={
            "seed": recipe.seed,
            "threads": recipe.threads,
            "saved_precision": recipe.saved_precision,
            "data": data | {"fingerprint": fingerprint},
            **recipe.fixed(),
        },
        network=key_part(recipe.network),
        gate=key_part(recipe.gate or recipe.network),
        perturbations={name: identified(p) for name, p in recipe.perturbations.items()},
        identity=lambda model: opened(model).identity,
    )


def _code_of(model: AnyModel, known: Mapping[str, list[Any]], setting: Setting) -> list[Any]:
    """Return what identifies the code of factories that make a model or what it is made from.

    Weights alone do not tell what it computes; for a sparse mixture they do not tell its routing.
    """
    if isinstance(model, SavedModel):
        code = {key: value for key, value in setting.identity(model).items() if key != "weights"}
        return [code] if code else []
    routing = [model.routing.to_json()] if isinstance(model, SparseModel) else []
    return _together(known, model.parents) + routing


def _together(known: Mapping[str, list[Any]], models: Iterable[str]) -> list[Any]:
    found = {json.dumps(code, sort_keys=True): code for name in models for code in known[name]}
    return list(found.values())


def _with_code(decided_by: Mapping[str, Any], code: list[Any]) -> dict[str, Any]:
    return {**decided_by, "code": code} if code else {**decided_by}


def _training_stages(
    recipe: Recipe, name: str, setting: Setting, code: Mapping[str, list[Any]]
) -> list[Stage]:
    """Return the stages that make a model, one for each of its steps."""
    model, stages, read = recipe.models[name], list[Stage](), list[str]()
    for step in model.steps:
        read += step.reads
        before = tuple(stage.id for stage in stages)
        needs = before + tuple(stage_id("train", parent) for parent in step.reads)
        decided_by = _with_code(model.decided_by(step, setting), _together(code, read))
        stages.append(Stage(step.kind, name, needs, decided_by))
    return stages


def _evaluation_stages(
    name: str, attacks: Mapping[str, Mapping[str, Any]], code: list[Any]
) -> list[Stage]:
    """Return the evaluations of a model, one for each suite."""
    needs = (stage_id("train", name),)
    return [
        Stage("evaluate", name, needs, _with_code(decided_by, code), suite)
        for suite, decided_by in attacks.items()
    ]


def _evaluation(
    recipe: Recipe, fingerprint: str, attacks: Attacks, settings: Settings
) -> dict[str, Any]:
    """Return what decides the evaluations with the rows of a suite, besides the model."""
    attacked = {
        key: row.model_dump()
        | {"perturbation": identified(attacks.perturbations[row.perturbation])}
        for key, row in attacks.rows.items()
    }
    precision = settings.search_precision
    return {
        "seed": recipe.seed,
        "threads": recipe.threads,
        "data": fingerprint,
        "examples": recipe.evaluation.examples,
        "batch_size": settings.batch_size,
        **({} if precision == "fp32" else {"search_precision": precision}),
        "rows": attacked,
        **recipe.fixed(),
    }


def _illustration_stage(
    recipe: Recipe, name: str, evaluation: Mapping[str, Any], code: list[Any]
) -> Stage:
    assert recipe.report is not None
    perturbations = {key: identified(p) for key, p in recipe.attacked().items()}
    decided_by = {
        **evaluation,
        "curves": perturbations,
        "gallery": name == in_pictures(recipe),
        "report": recipe.report.model_dump(mode="json", exclude={"models"}),
    }
    return Stage("illustrate", name, (stage_id("train", name),), _with_code(decided_by, code))
