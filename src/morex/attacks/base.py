"""What all attacks share: how they are called, and that they leave no trace on the model."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.autograd.anomaly_mode import set_detect_anomaly

from morex.attacks.freezing import Model, frozen, on_copies
from morex.core.precision import Precision, autocast, exact_settings, ordinary
from morex.core.seeding import generator_for
from morex.perturbations import Perturbation


@dataclass(frozen=True)
class Passes:
    """The cost of a search or a training step, in passes through the network per example.

    ``backward`` counts gradients with respect to the input or to the weights.
    """

    forward: float = 0.0
    backward: float = 0.0

    def __add__(self, other: "Passes") -> "Passes":
        """Return the cost of doing both."""
        return Passes(self.forward + other.forward, self.backward + other.backward)

    def __mul__(self, times: float) -> "Passes":
        """Return the cost of doing it ``times`` times."""
        return Passes(self.forward * times, self.backward * times)


class Attack(ABC):
    """A search inside a perturbation for images that a model gets wrong.

    Concrete attacks are frozen dataclasses with a ``perturbation`` and a budget. They see the
    model only as a callable from images to logits.
    """

    perturbation: Perturbation | tuple[Perturbation, ...]
    """What is searched; a tuple stands for the union."""

    only_for_evaluation: ClassVar[bool] = False
    """Whether it looks for a wrong answer and no further, so that no training can use it.

    A training needs the largest loss, also on the images that the model gets wrong anyway.
    """

    @property
    @abstractmethod
    def passes(self) -> Passes:
        """The highest cost per example."""

    @property
    def needs_float32(self) -> bool:
        """Whether the search must see answers in float32, not in bfloat16.

        That is so for DeepFool, for attacks with a published protocol, and for those that draw or
        enumerate: an evaluation repeats a search in float32 where it fooled only the rounded model,
        and draws for some images of a batch would be other draws.
        """
        return False

    @property
    def judge(self) -> "Attack":
        """The search that validates a training on this one; itself, unless it is too weak."""
        return self

    @property
    def takes_single_step(self) -> bool:
        """Whether it takes one gradient step, to which a training may overfit."""
        return False

    def check_installed(self) -> None:
        """Do nothing; raise ``ImportError`` if the attack needs a package that is not installed."""
        return

    def by_loss(self) -> "Attack":
        """Return the attack as a training uses it: what fools is not preferred to a larger loss.

        An attack without such a preference returns itself.
        """
        return self

    @abstractmethod
    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return x' inside the perturbation of ``x``, for a model that is already ``frozen``.

        This is the search without checks, for hot loops. Other callers call the attack itself.
        """

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        generator: torch.Generator | None = None,
        precision: Precision = "fp32",
    ) -> Tensor:
        """Attack ``model`` on ``x`` and return x', (N, C, H, W) in [0, 1].

        The model is attacked in evaluation mode. Afterwards its mode, weights, buffers and
        ``.grad`` and the global random state are the same as before. The caller's autocast,
        inference mode, gradient mode and default types do not reach the attack.

        Args:
            model: images (N, C, H, W) in [0, 1] to logits (N, K).
            x: images in [0, 1].
            y: true labels, (N,), int64, each below K.
            generator: source of randomness, on the device of ``x``; by default one with a fixed
                seed.
            precision: number format of the passes through the model. With ``bf16`` an image may
                fool the rounded model only, so judge the result in float32.

        Raises:
            ValueError: if ``x`` is not a float batch in [0, 1], ``y`` does not fit it, the model
                does not return at least two logits per image, or its weights were made in
                ``torch.inference_mode``.
        """
        check_batch(x, y)
        if not len(x):
            return x.clone()
        if generator is None:
            generator = generator_for(0, type(self).__name__, device=x.device)
        with exact_settings(x.device), set_detect_anomaly(False), frozen(model):
            x, y = ordinary(x).detach(), ordinary(y)
            with autocast(precision, x.device), labels_among(y):
                return self.search(on_copies(model), x, y, generator).detach()


class Wrapping(Attack):
    """An attack that is made of another one, with the cost and the properties of that."""

    attack: Attack
    """What it is made of."""

    @property
    def passes(self) -> Passes:
        """The cost of the attack."""
        return self.attack.passes

    @property
    def needs_float32(self) -> bool:
        """Whether the attack needs float32."""
        return self.attack.needs_float32

    @property
    def takes_single_step(self) -> bool:
        """Whether the attack does."""
        return self.attack.takes_single_step

    @property
    def only_for_evaluation(self) -> bool:  # type: ignore[override]
        """Whether the attack is."""
        return self.attack.only_for_evaluation

    def by_loss(self) -> Self:
        """Return the same for the attack."""
        return replace(self, attack=self.attack.by_loss())  # type: ignore[type-var]


def check_batch(x: Tensor, y: Tensor) -> None:
    """Raise ``ValueError`` unless ``x`` is (N, C, H, W) float in [0, 1] and ``y`` (N,) int64."""
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(
            f"images: expected floats of shape (N, C, H, W), got {x.dtype} {tuple(x.shape)}"
        )
    if y.shape != x.shape[:1] or y.dtype != torch.int64:
        raise ValueError(
            f"labels: expected int64 of shape ({len(x)},), got {y.dtype} {tuple(y.shape)}"
        )
    if not len(x):
        return
    # one transfer from the device, not three
    least, most, label = torch.stack([x.amin(), x.amax(), y.amin().to(x.dtype)]).tolist()
    if not (least >= 0 and most <= 1):  # also catches NaN
        raise ValueError(
            f"images: expected values in [0, 1], got [{least:.4g}, {most:.4g}]; "
            "scale pixels to [0, 1] and do any normalisation inside the model"
        )
    if label < 0:
        raise ValueError(f"labels: expected classes from 0, got {int(y.amin())}")


def check_logits(logits: Tensor, y: Tensor) -> None:
    """Raise ``ValueError`` unless ``logits`` is (N, K) with K >= 2."""
    if logits.ndim != 2 or len(logits) != len(y) or logits.shape[1] < 2:
        raise ValueError(
            f"the model: expected logits of shape ({len(y)}, K) for K >= 2 classes, got "
            f"{tuple(logits.shape)}; if it has one output z for two classes, return "
            "torch.cat([-z, z], 1)"
        )


def check_labels(y: Tensor, classes: int) -> None:
    """Raise ``ValueError`` unless all labels are in [0, classes)."""
    wrong = y[(y < 0) | (y >= classes)]
    if len(wrong):
        raise ValueError(
            f"labels: the model has {classes} classes, so expected labels from 0 to "
            f"{classes - 1}, got {int(wrong[0])}"
        )


@contextmanager
def naming_bad_labels(logits: Tensor, y: Tensor) -> Iterator[None]:
    """Check logits, and turn an error about an index into one about the label that caused it.

    Labels are not checked beforehand: in training that would wait for an accelerator.
    """
    check_logits(logits, y)
    try:
        yield
    except (IndexError, RuntimeError):
        check_labels(y, logits.shape[1])
        raise


_LABELS: ContextVar[tuple[Tensor, set[int]] | None] = ContextVar("labels", default=None)


@contextmanager
def labels_among(y: Tensor) -> Iterator[None]:
    """Check the labels ``y`` once, not in every call of ``fooled`` inside the ``with`` block.

    All labels inside the block must be among them. A check waits for an accelerator.
    """
    token = _LABELS.set((y, set()))
    try:
        yield
    finally:
        _LABELS.reset(token)


def _check_labels_once(y: Tensor, classes: int) -> None:
    every, checked = _LABELS.get() or (y, set[int]())
    if classes not in checked:
        check_labels(every, classes)
        checked.add(classes)


def fooled(logits: Tensor, y: Tensor) -> Tensor:
    """Return where a model is wrong: (N, K), (N,) -> (N,) of bool.

    An answer is wrong if another class has the largest logit, or if any logit is not finite.

    Raises:
        ValueError: if the logits are not (N, K) with K >= 2, or a label is not in [0, K).
    """
    check_logits(logits, y)
    _check_labels_once(y, logits.shape[1])
    return is_wrong(logits, y)


def is_wrong(logits: Tensor, y: Tensor) -> Tensor:
    """Return the same as ``fooled`` without checks, for which a step of a training would wait."""
    return (logits.argmax(1) != y) | ~logits.isfinite().all(1)


@torch.no_grad()
def is_right(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """Return where the model is not ``fooled``, (N,) of bool."""
    return ~fooled(model(x), y)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return float32, or ``dtype`` if it is wider: half precision is too coarse to add up steps."""
    return torch.promote_types(dtype, torch.float32)
