"""The stages of a run: what is done, in which order, and what decides its result."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from morex.models.named import NamedModel
from morex.recipe import Recipe, slug
from morex.recipe.components import described
from morex.recipe.illustrated import illustrated, in_pictures
from morex.recipe.lineage import parents
from morex.recipe.models import AnyModel, MixtureModel, NetworkModel, SavedModel, UngatedModel

FORMAT = 1
"""Raised whenever the same inputs would give another result, so that old stages are redone.

Not for rounding, or for the order of draws from one distribution: a result is as good as before.
"""

Kind = Literal["gate", "train", "evaluate", "illustrate"]


@dataclass(frozen=True)
class Stage:
    """One step of a run that is done as a whole or not at all.

    Args:
        kind: warming up a gate, training (or assembling) a model, evaluating it, or illustrating
            it for the report page.
        model: the model's name in the recipe.
        needs: ids of the stages whose results this one reads.
        decided_by: everything else that decides the result, as JSON.
        suite: of an evaluation, the name of a further suite; empty for that of the table.
    """

    kind: Kind
    model: str
    needs: tuple[str, ...]
    decided_by: Mapping[str, Any]
    suite: str = ""

    @property
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
        """Whether its output is weights, and not something that is measured of them."""
        return self.kind in ("gate", "train")

    @property
    def folder(self) -> str:
        """The model's folder, relative to the run directory."""
        return model_folder(self.model) + ("/gate" if self.kind == "gate" else "")

    def key(self, digests: Mapping[str, str]) -> str:
        """Hash what decides the result, given the digests of what the stage reads."""
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
        """Hash what decides each row of an evaluation by itself, given the model's checksum."""
        common = {name: value for name, value in self.decided_by.items() if name != "rows"}
        common |= {"format": FORMAT, "model": model_digest}
        return {
            name: _hash(common | {"name": name, "row": row})
            for name, row in self.decided_by["rows"].items()
        }


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def stage_id(kind: Kind, model: str, suite: str = "") -> str:
    """Return the id of the stage that does ``kind`` to ``model``, maybe under a further suite."""
    return f"{kind}-{slug(model)}" + (f"@{suite}" if suite else "")


def model_folder(model: str) -> str:
    """Return the folder of a model, relative to the run directory."""
    return f"models/{slug(model)}"


Opener = Callable[[SavedModel], NamedModel]
"""Returns the model that was trained elsewhere, opened."""


def plan_stages(
    recipe: Recipe,
    train_fingerprint: str,
    test_fingerprint: str,
    opened: Opener = SavedModel.open,
) -> list[Stage]:
    """Return the stages of a recipe in an order in which each finds what it needs.

    Only columns are evaluated, each as soon as its model is there, and some of them illustrated;
    only what they need is trained.

    Args:
        recipe: the recipe.
        train_fingerprint: a checksum of the training data.
        test_fingerprint: a checksum of the test data.
        opened: opens the models that were trained elsewhere; by default each one anew.
    """
    stages: dict[str, Stage] = {}

    def add(name: str) -> None:
        if stage_id("train", name) in stages:
            return
        for parent in parents(recipe.models[name]):
            add(parent)
        for stage in _training_stages(recipe, name, train_fingerprint, opened):
            stages[stage.id] = stage
        if name in recipe.columns:
            for suite in ("", *recipe.evaluation.suites):
                stage = _evaluation_stage(recipe, name, test_fingerprint, suite)
                stages[stage.id] = stage
        if name in illustrated(recipe):
            stage = _illustration_stage(recipe, name, test_fingerprint)
            stages[stage.id] = stage

    for column in recipe.columns:
        add(column)
    return list(stages.values())


def _training_stages(recipe: Recipe, name: str, fingerprint: str, opened: Opener) -> list[Stage]:
    model = recipe.models[name]
    needs = tuple(stage_id("train", parent) for parent in parents(model))
    common = _common(recipe, model, fingerprint, opened)
    if isinstance(model, MixtureModel) and model.gate_warmup:
        warmup = common | {"training": _plain(model.gate_warmup)}
        if model.gate_learns_alone and model.warm_start:
            gate = Stage("gate", name, (stage_id("train", model.warm_start),), warmup)
            return [gate, Stage("train", name, (gate.id, *needs), common)]
        gate = Stage("gate", name, needs, warmup)
        return [gate, Stage("train", name, (gate.id,), common)]
    return [Stage("train", name, needs, common)]


def _common(recipe: Recipe, model: AnyModel, fingerprint: str, opened: Opener) -> dict[str, Any]:
    """Return what decides how a model is trained."""
    if isinstance(model, SavedModel):
        return {
            "kind": model.kind,
            **opened(model).identity,
            "saved_precision": recipe.saved_precision,
        }
    if isinstance(model, UngatedModel):
        return {
            "kind": model.kind,
            "experts": list(model.experts),
            "saved_precision": recipe.saved_precision,
        }
    data = recipe.data.model_dump(
        exclude={"name", "note", "folder", "image_column", "label_column", "image_size"}
    )
    described_model = model.model_dump(
        mode="json", exclude={"training", "gate_warmup", "against", "shares", "combine"}
    )
    # what is usual leaves the keys of older runs as they are
    if not model.inner.push:
        del described_model["inner"]["push"]
    _leave_out_usual_keep(described_model["inner"])
    if model.shares:
        described_model["shares"] = [model.shares.get(name, 1) for name in model.against]
    if isinstance(model, MixtureModel):
        if model.combine != "logits":
            described_model["combine"] = model.combine
        for name in ("warm_start", "robust_gate"):
            if not described_model[name]:
                del described_model[name]
        if model.robust_gate:
            _leave_out_usual_keep(described_model["robust_gate"]["inner"])
    shape = recipe.network if isinstance(model, NetworkModel) else recipe.gate or recipe.network
    return {
        "seed": recipe.seed,
        "threads": recipe.threads,
        "saved_precision": recipe.saved_precision,
        "data": data | {"fingerprint": fingerprint},
        "network": shape.model_dump(),
        "model": described_model,
        "against": [described(p) for p in recipe.perturbations_of(model.against)],
        "training": model.training and _plain(model.training),
    }


def _leave_out_usual_keep(inner: dict[str, Any]) -> None:
    if inner["keep"] == "best":
        del inner["keep"]


def _evaluation_stage(recipe: Recipe, name: str, fingerprint: str, suite: str) -> Stage:
    rows = {
        key: row.model_dump() | {"perturbation": described(recipe.perturbations[row.perturbation])}
        for key, row in recipe.rows(suite).items()
    }
    decided_by = {
        "seed": recipe.seed,
        "threads": recipe.threads,
        "data": fingerprint,
        "examples": recipe.evaluation.examples,
        "batch_size": recipe.evaluation.batch_size,
        "rows": rows,
    }
    return Stage("evaluate", name, (stage_id("train", name),), decided_by, suite)


def _illustration_stage(recipe: Recipe, name: str, fingerprint: str) -> Stage:
    assert recipe.report is not None
    evaluation = _evaluation_stage(recipe, name, fingerprint, "").decided_by
    perturbations = {key: described(p) for key, p in recipe.attacked().items()}
    decided_by = {
        **evaluation,
        "curves": perturbations,
        "gallery": name == in_pictures(recipe),
        "report": recipe.report.model_dump(mode="json", exclude={"models"}),
    }
    return Stage("illustrate", name, (stage_id("train", name),), decided_by)


def _plain(config: Any) -> Any:
    """Return a configuration as plain JSON values."""
    return json.loads(json.dumps(asdict(config)))
