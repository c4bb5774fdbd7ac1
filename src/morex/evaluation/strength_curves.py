"""Accuracy against strength: the suite whose rows are one perturbation, weaker and stronger."""

from collections.abc import Iterator, Sequence
from functools import partial

from morex.attacks import PGD, search_of
from morex.evaluation.suite import Row, Suite
from morex.perturbations import Clean, Perturbation


def curve_suite(
    perturbation: Perturbation, factors: Sequence[float], *, steps: int = 20, restarts: int = 2
) -> Suite:
    """Return a row per factor on the strength of a perturbation, called ``at-`` and the factor.

    Balls are searched by PGD, with steps that add up to ten radii; transforms are drawn once; at 0
    times its strength nothing happens.

    Args:
        perturbation: at its full strength.
        factors: on it.
        steps, restarts: of PGD.

    Raises:
        ValueError: if the perturbation has no such strength.
        TypeError: if it is neither a ball nor a transform, nor a composition of them.
    """
    scaled = ((factor, perturbation.scaled(factor) if factor else Clean()) for factor in factors)
    pgd = partial(PGD, steps=steps, relative_step=10, restarts=restarts, stop_when_fooled=True)
    return tuple(Row(f"at-{factor:g}", search_of(p, pgd)) for factor, p in scaled)


def possible(perturbation: Perturbation, factors: Sequence[float]) -> Iterator[float]:
    """Yield the factors at which the perturbation has a meaning and is not as at one before."""
    seen = set()
    for factor in factors:
        try:
            scaled = str(perturbation.scaled(factor))
        except (ValueError, NotImplementedError):  # opaque fog; one's own, without a strength
            continue
        if scaled not in seen:  # severities of corruptions are whole numbers
            seen.add(scaled)
            yield factor
