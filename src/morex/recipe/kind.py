"""What every kind of model answers about itself, so that nothing else asks which kind it is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from morex.recipe.fields import Strict
from morex.training.config import TrainingConfig


@dataclass(frozen=True)
class Step:
    """One step in the making of a model; each step but the first goes on from the one before.

    Args:
        kind: warming up a gate alone, or training (or assembling) the model.
        reads: the other models that it reads.
        training: how it trains; None if it only puts together what is there.
    """

    kind: Literal["gate", "train"]
    reads: tuple[str, ...]
    training: TrainingConfig | None


@dataclass(frozen=True)
class Setting:
    """What decides the training of a model besides the model itself, as JSON values.

    Args:
        run: what all trainings of a run share: seed, threads, data, and the precision in which
            models are saved.
        network: the shape of networks.
        gate: the shape of gates.
        perturbations: all of the recipe, by name.
        identity: returns what identifies the weights of a model that was trained elsewhere.
    """

    run: Mapping[str, Any]
    network: Mapping[str, Any]
    gate: Mapping[str, Any]
    perturbations: Mapping[str, Any]
    identity: Callable[[Any], Mapping[str, Any]]

    @property
    def saving(self) -> dict[str, Any]:
        """All of ``run`` that matters for a model that is not trained in the run."""
        return {"saved_precision": self.run["saved_precision"]}


class Model(Strict, ABC):
    """What every kind of model answers about itself."""

    can_be_expert: ClassVar[bool] = False
    """Whether mixtures may have it as an expert."""

    has_gate: ClassVar[bool] = False
    """Whether it weights experts with a gate."""

    @property
    def origin(self) -> str:
        """Where its weights come from; empty for those of this recipe."""
        return ""

    @property
    @abstractmethod
    def parents(self) -> tuple[str, ...]:
        """The models that it is made from."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps in which it is made, in their order."""
        return (Step("train", self.parents, None),)

    @property
    def networks(self) -> int:
        """Through how many networks an image goes, if no expert joined its gate later."""
        return 1

    @abstractmethod
    def decided_by(self, step: Step, setting: Setting) -> dict[str, Any]:
        """Return what decides the result of a step, besides what the step reads, as JSON values."""
