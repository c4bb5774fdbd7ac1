"""The model that a stage starts from."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from morex.models.errors import ModelError
from morex.models.extend import regrouped, regrouped_gate
from morex.models.folder import ModelFolder
from morex.models.mixture import Mixture
from morex.models.network import Network
from morex.recipe import Recipe
from morex.recipe.models import MixtureModel
from morex.run.builder import Builder
from morex.run.stages import Stage, gate_folder, model_folder


@dataclass(frozen=True)
class SavedModels:
    """The finished models of a run directory.

    Attributes:
        root: the directory.
        code: the factories that the run's recipe names itself; parts of its models are made by
            them.
    """

    root: Path
    code: frozenset[str] = frozenset()

    @classmethod
    def of(cls, recipe: Recipe, root: Path) -> "SavedModels":
        """Return the finished models of a run of ``recipe``."""
        return cls(root, frozenset(model.origin for model in recipe.models.values()))

    def model(self, name: str) -> nn.Module:
        """Return a finished model, in evaluation mode on the CPU."""
        return self._load(model_folder(name))

    def mixture(self, name: str) -> Mixture:
        """Return a finished mixture."""
        model = self.model(name)
        assert isinstance(model, Mixture)
        return model

    def warmed_up(self, name: str) -> nn.Module:
        """Return what the warm-up of a mixture's gate has saved: the mixture, or its gate alone."""
        return self._load(gate_folder(name))

    def _load(self, folder: str) -> nn.Module:
        found = ModelFolder.open(self.root / folder)
        return found.build(trust_code=self.code.issuperset(found.code))


def starting_model(builder: Builder, stage: Stage, saved: SavedModels) -> nn.Module:
    """Return the model that a stage trains, or only saves, on the CPU."""
    recipe, name = builder.recipe, stage.model
    if name in recipe.mixtures:
        return _starting_mixture(builder, stage, recipe.mixtures[name], saved)
    network = recipe.networks.get(name)
    if network and network.warm_start:
        return _continued(builder, name, network.warm_start, saved)
    return builder.untrained(name, saved.model)


def _continued(builder: Builder, name: str, start: str, saved: SavedModels) -> nn.Module:
    """Return the network that another one starts from, with its own mean and deviation of pixels.

    Raises:
        ModelError: if it has another shape than the networks of the recipe.
    """
    found, spec = saved.model(start), builder.recipe.network
    if not isinstance(found, Network):
        raise ModelError(
            f"{name} cannot start from {start!r}, a classifier that morex did not make; expected a "
            "network of morex"
        )
    its = found.config
    have = (its.architecture, its.width, its.activation)
    if have != (spec.architecture, spec.width, spec.activation):
        raise ModelError(
            f"{name} cannot start from {start!r}, which is another network: expected network: "
            f"{{architecture: {its.architecture}, width: {its.width}, activation: "
            f"{its.activation}}}, got {spec.model_dump()}"
        )
    return found.train()


def _starting_mixture(
    builder: Builder, stage: Stage, spec: MixtureModel, saved: SavedModels
) -> nn.Module:
    is_warm = stage.kind == "train" and spec.gate_warmup is not None
    if is_warm and not spec.gate_learns_alone:
        return saved.warmed_up(stage.model)
    if not spec.warm_start:
        return builder.untrained(stage.model, saved.model)
    start = saved.mixture(spec.warm_start)
    if stage.kind == "gate" and spec.gate_learns_alone:
        return regrouped_gate(start, spec.experts)
    new = {name: saved.model(name) for name in spec.experts if name not in start.expert_names}
    gate = saved.warmed_up(stage.model) if is_warm else None
    return regrouped(start, spec.experts, new, gate=gate)
