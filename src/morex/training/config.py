"""The hyperparameters of a training: how long, how fast, and which weights are kept."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from morex.core.number_checks import check_numbers
from morex.core.precision import Precision


@dataclass(frozen=True)
class PerturbedWeights:
    """Adversarial weight perturbation, AWP (``awp``).

    Args:
        gamma: the length of the perturbation of each matrix and kernel, relative to its own; 0.005
            in the paper with TRADES, 0.01 in its code with PGD.
        warm_up: epochs without it at the beginning.

    Raises:
        ValueError: if gamma is not in (0, 1], or the warm-up is negative.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    gamma: float = 0.005
    warm_up: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_numbers(self)
        if not (0 < self.gamma <= 1 and self.warm_up >= 0):
            raise ValueError(
                "awp needs gamma in (0, 1] and warm_up of at least 0 epochs, got "
                f"{self.gamma} and {self.warm_up}"
            )


@dataclass(frozen=True)
class TrainingConfig:
    """The hyperparameters of one training.

    Args:
        epochs: passes over the training set, which need not be a whole number; the last incomplete
            batch of each pass is left out.
        batch_size: examples per step.
        optimizer: SGD with momentum, or AdamW.
        learning_rate: the largest learning rate.
        momentum: the momentum of SGD.
        nesterov: whether SGD steps along the gradient plus momentum times the velocity (Nesterov).
        weight_decay: the weight decay of either optimizer.
        schedule: points (share of the training done, factor on the learning rate), from 0 to 1,
            with straight lines between them. The default is the paper's: it rises until 40%, falls
            to a twentieth at 80%, and to zero at the end.
        label_smoothing: the share of each label that is spread evenly over all classes, in the loss
            of the training only: attacks and validation use plain labels, and so does the warm-up
            of a gate, which may have several right answers. It is meant for networks trained for
            many epochs; a mixture weights logits, which smoothing makes less sure.
        awp: adversarial weight perturbation; None for none.
        clip_norm: largest L2 norm of the gradient; longer ones are scaled down.
        gradient_projection: b in [0, 1] of RAMP's gradient projection: a copy of the model learns
            unchanged images, and after each epoch the update of the model becomes (1 - b) of its
            own and b of the copy's, in each tensor by as much as the two agree (``natural``). It
            needs ``average: null``: an average would be one of weights before their projection.
        average: decay per step of an exponential moving average of the weights (EMA); if it is
            set, the averaged weights are validated and kept.
        precision: ``fp32``, ``bf16`` (autocast), or ``auto``: bf16 where the device is fast at it.
        validate_every: epochs between validations; the last epoch is always validated. With None
            there is no validation and the last weights are kept: for trainings that are too short
            to choose from.

    Raises:
        ValueError: if a number is out of range.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    epochs: float = 100
    batch_size: int = 100
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.4, 1.0), (0.8, 0.05), (1.0, 0.0))
    label_smoothing: float = 0.0
    awp: PerturbedWeights | None = None
    clip_norm: float | None = None
    gradient_projection: float = 0.0
    average: float | None = None
    precision: Precision = "auto"
    validate_every: int | None = 1

    def __post_init__(self) -> None:
        """Check the numbers and their ranges."""
        check_numbers(self)
        if min(self.batch_size, 1 if self.validate_every is None else self.validate_every) < 1:
            raise ValueError(f"batch_size and validate_every must be at least 1, got {self}")
        if not self.epochs > 0:
            raise ValueError(f"epochs must be positive, got {self.epochs}")
        if self.epochs == int(self.epochs):
            # 30 and 30.0 are the same training, so they need the same key
            object.__setattr__(self, "epochs", int(self.epochs))
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        self._check_shares()
        times = [at for at, _ in self.schedule]
        if not times or times[0] != 0 or times[-1] != 1 or times != sorted(times):
            raise ValueError(f"schedule must go from 0 to 1 in order, got {self.schedule}")

    def _check_shares(self) -> None:
        """Check the numbers that have a range other than "positive"."""
        if not (0 <= self.momentum < 1 and self.weight_decay >= 0):
            raise ValueError(
                "momentum must be in [0, 1) and weight_decay at least 0, got "
                f"{self.momentum} and {self.weight_decay}"
            )
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0, got 0")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(f"clip_norm must be positive, got {self.clip_norm}")
        if self.average is not None and not 0 < self.average < 1:
            raise ValueError(f"average must be in (0, 1), got {self.average}")
        if not 0 <= self.gradient_projection <= 1:
            raise ValueError(
                f"gradient_projection must be in [0, 1], got {self.gradient_projection}"
            )
        if self.gradient_projection and self.average is not None:
            raise ValueError(
                "gradient_projection needs average: null, because an average would be one of "
                f"weights before their projection; got average {self.average}"
            )

    def steps(self, examples: int) -> int:
        """Return the number of steps with ``examples`` images an epoch; 0 if that is no batch."""
        per_epoch = examples // self.batch_size
        return max(1, round(per_epoch * self.epochs)) if per_epoch else 0

    def warm_up_steps(self, per_epoch: int) -> int:
        """Return the number of steps before weights are perturbed."""
        return round(self.awp.warm_up * per_epoch) if self.awp else 0

    def passes_of_update(self, examples: int) -> float:
        """Return how often a step computes its loss, on average over a training.

        Args:
            examples: the number of images in an epoch.
        """
        steps = self.steps(examples)
        if not self.awp or not steps:
            return 1
        return 2 - min(self.warm_up_steps(examples // self.batch_size), steps) / steps

    def factor(self, progress: float) -> float:
        """Return the factor on the learning rate at ``progress`` in [0, 1]."""
        for (start, low), (end, high) in zip(self.schedule, self.schedule[1:], strict=False):
            if progress <= end and end > start:
                return low + (high - low) * (progress - start) / (end - start)
        return self.schedule[-1][1]
