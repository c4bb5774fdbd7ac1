"""The two kinds of perturbation: balls and transforms.

A *ball* limits how far an attack may move an image; an attack searches it (``morex.attacks``).
A *transform* draws a new image by itself. Images are float tensors (N, C, H, W) in [0, 1].
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from morex.core.number_checks import check_numbers
from morex.core.shards import drawn_for_all


@dataclass(frozen=True)
class Perturbation(ABC):
    """Something that may happen to an image; immutable, comparable and printable.

    ``name`` is the short name in recipes and tables; ``str()`` adds the strength. ``revision`` is
    raised when what the class computes changes: a run then does the stages that it decides again.
    """

    name: ClassVar[str]
    revision: ClassVar[int] = 0

    @abstractmethod
    def scaled(self, factor: float) -> Self:
        """Return the same perturbation at ``factor`` times its strength (0 changes nothing).

        Raises:
            ValueError: if ``factor`` is negative, or the result is not a valid perturbation.
        """

    def __str__(self) -> str:
        """Return the printable form, name and strength."""
        return repr(self)


@dataclass(frozen=True)
class Ball(Perturbation):
    """All images x' in [0, 1] with ||x' - x|| <= eps; the norm of an image is over (C, H, W).

    ``eps`` is in units of pixels in [0, 1].
    """

    eps: float

    def __post_init__(self) -> None:
        """Check the radius."""
        check_numbers(self)
        if self.eps < 0:
            raise ValueError(f"{type(self).__name__}: eps must be finite and >= 0, got {self.eps}")

    def scaled(self, factor: float) -> Self:
        """Return the ball of radius ``factor * eps``."""
        return type(self)(eps=self.eps * factor)

    @abstractmethod
    def norm(self, delta: Tensor) -> Tensor:
        """Return ||delta_n|| for every image n: (N, C, H, W) -> (N,)."""

    @abstractmethod
    def dual_norm(self, gradient: Tensor) -> Tensor:
        """Return max {<gradient_n, d> : ||d|| <= 1} for every image: (N, C, H, W) -> (N,)."""

    @abstractmethod
    def project(self, moved: Tensor, x: Tensor) -> Tensor:
        """Return argmin_z ||z - moved||_2 over all z in [0, 1] with ||z - x|| <= eps.

        Args:
            moved: (N, C, H, W), any finite values.
            x: (N, C, H, W) in [0, 1], the centres.
        """

    @abstractmethod
    def steepest_step(self, gradient: Tensor, size: float, at: Tensor) -> Tensor:
        """Return the step d, ||d|| <= size, along which a function with this gradient grows most.

        Args:
            gradient: (N, C, H, W); images with a zero gradient get a zero step.
            size: length of the step in the ball's norm, for pixels in [0, 1].
            at: (N, C, H, W) in [0, 1], where the step starts; a norm whose steepest step is sparse
                (L1) uses it to keep every pixel in [0, 1].
        """

    def search_step(self, gradient: Tensor, size: float, at: Tensor) -> Tensor:
        """Return the step of PGD, MSD and N-FGSM: the steepest one, unless a norm says otherwise.

        Args:
            gradient, size, at: as for ``steepest_step``; the result may be longer than ``size``
                and leave the box, so it is projected.
        """
        return self.steepest_step(gradient, size, at)

    @abstractmethod
    def random_start(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a uniform point of the ball around each x, clipped to [0, 1]."""


@dataclass(frozen=True)
class Transform(Perturbation):
    """A map from images to images of the same shape, in [0, 1], possibly random."""

    @abstractmethod
    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the transformed images, with independent random draws for each of them.

        Args:
            x: (N, C, H, W) in [0, 1].
            generator: source of all randomness, on the device of ``x``.
        """


def draw(transform: Transform, x: Tensor, generator: torch.Generator) -> Tensor:
    """Return ``transform(x)``, computed without autocast.

    Coordinates and noise need float32: a rotation whose matrix is rounded to bfloat16 moves pixels
    by up to half of their range. A transform that morex did not make need not think of that.
    """
    with torch.autocast(x.device.type, enabled=False), drawn_for_all(len(x)):
        return transform(x, generator=generator)


@dataclass(frozen=True)
class Clean(Transform):
    """No change: x' = x. It makes clean images a member of a union like any other."""

    name: ClassVar[str] = "clean"

    def scaled(self, factor: float) -> Self:
        """Return itself: it has no strength."""
        return self

    def __call__(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return ``x``."""
        return x
