"""Perturbations one after the other: transforms, and at most one ball, which comes last.

    x' in the ball around T_k(... T_1(x)),   every T_i drawn once per image

An attack searches the ball around the transformed image, like an adversary who changes a picture
that was taken in fog.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from morex.perturbations.base import Ball, Perturbation, Transform, draw


@dataclass(frozen=True)
class Chain(Transform):
    """Several transforms, each applied to the result of the one before.

    Raises:
        ValueError: if there are fewer than two, or one is not a transform.
    """

    name: ClassVar[str] = "compose"

    parts: tuple[Transform, ...]

    def __post_init__(self) -> None:
        """Check the parts."""
        if len(self.parts) < 2 or not all(isinstance(part, Transform) for part in self.parts):
            raise ValueError(f"Chain takes two or more transforms, got {self.parts}")

    def __str__(self) -> str:
        """Return the parts in their order."""
        return ", then ".join(map(str, self.parts))

    def scaled(self, factor: float) -> Self:
        """Return the chain of the parts at ``factor`` times their strengths."""
        return type(self)(tuple(part.scaled(factor) for part in self.parts))

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return the images after all parts, which draw from ``generator`` in turn."""
        for part in self.parts:
            x = draw(part, x, generator)
        return x


@dataclass(frozen=True)
class Around(Perturbation):
    """A ball around a transformed image: neither a ball around x nor a transform.

    Args:
        transform: drawn once per image.
        ball: the ball to search.

    Raises:
        ValueError: if the parts are not a transform and a ball.
    """

    name: ClassVar[str] = "compose"

    transform: Transform
    ball: Ball

    def __post_init__(self) -> None:
        """Check the parts."""
        if not isinstance(self.transform, Transform) or not isinstance(self.ball, Ball):
            raise ValueError(
                f"Around takes a transform and a ball, got {self.transform} and {self.ball}"
            )

    def __str__(self) -> str:
        """Return the parts in their order."""
        return f"{self.transform}, then {self.ball}"

    @property
    def parts(self) -> tuple[Perturbation, ...]:
        """The transforms in their order, and the ball."""
        return (*parts_of(self.transform), self.ball)

    def scaled(self, factor: float) -> Self:
        """Return the same with both parts at ``factor`` times their strengths."""
        return type(self)(self.transform.scaled(factor), self.ball.scaled(factor))


def parts_of(perturbation: Perturbation) -> tuple[Perturbation, ...]:
    """Return the parts of a composition; any other perturbation is its only part."""
    return perturbation.parts if isinstance(perturbation, Chain | Around) else (perturbation,)


def compose(*parts: Perturbation) -> Chain | Around:
    """Return the composition of ``parts``, in this order; nested compositions are flattened.

    Raises:
        ValueError: if there are fewer than two, or a ball is not the last one.
    """
    flat = [part for given in parts for part in parts_of(given)]
    if len(flat) < 2:
        raise ValueError(f"a composition needs two or more parts, got {_listed(flat)}")
    *first, last = flat
    transforms = tuple(part for part in first if isinstance(part, Transform))
    if len(transforms) < len(first):
        raise ValueError(
            f"only the last part of a composition may be a ball, got {_listed(flat)}: an attack "
            "searches around the transformed image; put the ball at the end"
        )
    if isinstance(last, Transform):
        return Chain((*transforms, last))
    if isinstance(last, Ball):
        return Around(Chain(transforms) if len(transforms) > 1 else transforms[0], last)
    raise ValueError(f"{last!r} is neither a Transform nor a Ball")


def _listed(parts: list[Perturbation]) -> str:
    return ", then ".join(map(str, parts)) or "none"
