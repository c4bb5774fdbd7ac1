"""Suites: the attacks that a model is evaluated under, and on how many images."""

from dataclasses import dataclass

from morex.attacks import PGD, Attack, DeepFool, RayS, WorstOfDraws
from morex.perturbations import L2, Clean, Fog, Linf, Snow

_L2, _LINF, _FOG, _SNOW = L2(1.0), Linf(8 / 255), Fog(t=0.15, light=0.6), Snow(darkness=2.5)


@dataclass(frozen=True)
class Row:
    """One attack of a suite.

    Args:
        name: the row's name in tables.
        attack: the attack on the images.
        examples: how many of the first test images are attacked; None for all.

    Raises:
        ValueError: if ``examples`` is below 1.
    """

    name: str
    attack: Attack
    examples: int | None = None

    def __post_init__(self) -> None:
        """Check the number of examples."""
        if self.examples is not None and self.examples < 1:
            raise ValueError(f"row {self.name!r}: examples must be at least 1, got {self.examples}")

    def count(self, available: int) -> int:
        """Return how many of the available examples the row covers."""
        return available if self.examples is None else min(self.examples, available)


Suite = tuple[Row, ...]
"""The rows of a table, in their order; their names differ."""


def table1(
    *,
    l2: L2 = _L2,
    linf: Linf = _LINF,
    fog: Fog = _FOG,
    snow: Snow = _SNOW,
    steps: int = 20,
    queries: int = 10_000,
    rays_examples: int | None = None,
) -> Suite:
    """Return the nine rows of the paper's Table 1, at its strengths by default.

    Args:
        l2: the L2 ball of three of the attacks.
        linf: the Linf ball of three of the attacks.
        fog: the fog.
        snow: the snow.
        steps: of PGD.
        queries: of RayS, per example.
        rays_examples: number of images for RayS, by far the slowest attack; None for all.
    """
    return (
        Row("clean", WorstOfDraws(Clean())),
        Row("deepfool-l2", DeepFool(l2)),
        Row("deepfool-linf", DeepFool(linf)),
        Row("pgd-l2", PGD(l2, steps=steps, stop_when_fooled=True)),
        Row("pgd-linf", PGD(linf, steps=steps, stop_when_fooled=True)),
        Row("rays-l2", RayS(l2, queries=queries), rays_examples),
        Row("rays-linf", RayS(linf, queries=queries), rays_examples),
        Row("fog", WorstOfDraws(fog)),
        Row("snow", WorstOfDraws(snow)),
    )
