"""Accuracy against strength: a suite with one perturbation at several strengths."""

from collections.abc import Iterator, Sequence
from functools import partial

from morex.attacks import PGD, search_of
from morex.evaluation.suite import Row, Suite
from morex.perturbations import Clean, Perturbation


def curve_suite(
    perturbation: Perturbation, factors: Sequence[float], *, steps: int = 20, restarts: int = 2
) -> Suite:
    """Return a row for every factor on the strength of a perturbation, named ``at-<factor>``.

    Balls are searched by PGD, whose steps add up to ten radii. Transforms are drawn once. A factor
    of 0 stands for clean images.

    Args:
        perturbation: the perturbation at its full strength.
        factors: factors on the strength.
        steps: of PGD.
        restarts: of PGD.

    Raises:
        ValueError: if the perturbation is not valid at such a strength.
        TypeError: if the perturbation is not a ball, a transform or a composition of them.
    """
    scaled = ((factor, perturbation.scaled(factor) if factor else Clean()) for factor in factors)
    pgd = partial(PGD, steps=steps, relative_step=10, restarts=restarts, stop_when_fooled=True)
    return tuple(Row(f"at-{factor:g}", search_of(p, pgd)) for factor, p in scaled)


def possible(perturbation: Perturbation, factors: Sequence[float]) -> Iterator[float]:
    """Yield the factors at which the perturbation is valid and differs from those before."""
    seen = set()
    for factor in factors:
        try:
            scaled = str(perturbation.scaled(factor))
        except (ValueError, NotImplementedError):
            continue  # opaque fog; a user's perturbation that cannot be scaled
        if scaled not in seen:  # severities of corruptions are whole numbers
            seen.add(scaled)
            yield factor
