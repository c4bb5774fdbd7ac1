"""What a gate does, in sentences: what one sees in its weights, and what follows."""

from collections.abc import Iterator, Mapping
from math import log2

from morex.artifacts.gate_usage import APART, TIED, GateUsage, entropy_in_bits
from morex.core.units import listed

SURE = 0.8
"""A gate chooses an expert, or gives it a perturbation, from this much of the weight."""

_EVEN = 0.95
"""Weights are called nearly equal from this share of the largest entropy."""


def gate_sentences(gate: GateUsage) -> list[str]:
    """Return sentences that explain the weights of a gate.

    They say whether it tells perturbations apart (``GateUsage.tells_apart``), how the entropy of
    its weights compares with the largest one, which experts it does not choose among or does not
    use, and how often the experts agree. What was not measured is left out.
    """
    return [*_verdict(gate), *_entropy(gate), *_tied(gate), *_unused(gate), *_agreement(gate)]


def gate_decision(weights: Mapping[str, float]) -> str:
    """Return what a gate did for one picture, given its weights by expert.

    It either chose one expert, with at least ``SURE`` of the weight, or gave all nearly equal
    weights, or prefers one. The entropy of the weights stands beside the largest one.
    """
    bits, largest = entropy_in_bits([*weights.values()]), log2(len(weights))
    entropy = f"entropy {bits:.2f} of {largest:.2f} bits"
    first = max(weights, key=weights.__getitem__)
    if weights[first] >= SURE:
        return f"the gate chose {first} ({entropy})"
    if bits >= _EVEN * largest:
        return f"the gate chose no expert: nearly equal weights ({entropy})"
    return f"the gate prefers {first} ({entropy})"


def _verdict(gate: GateUsage) -> Iterator[str]:
    if shift := gate.shift:
        rule = f"{APART:g} or more counts as telling apart"
        most = f"{shift.moved:.2f} of the weight moves between {listed(shift.rows)}"
        if gate.tells_apart:
            yield f"The gate tells perturbations apart: {most} ({rule})."
        else:
            yield f"The gate does not tell perturbations apart: at most {most} ({rule})."


def _entropy(gate: GateUsage) -> Iterator[str]:
    if not gate.entropy or len(gate.experts) < 2:
        return
    low, high = (pick(gate.entropy, key=gate.entropy.__getitem__) for pick in (min, max))
    least, most, largest = gate.entropy[low], gate.entropy[high], gate.largest_entropy
    span = f"{least:.2f} bits ({low}) to {most:.2f} bits ({high})"
    if f"{least:.2f}" == f"{most:.2f}":
        span = f"{most:.2f} bits"
    yield f"The entropy of its weights is {span}; equal weights have {largest:.2f}."
    even = [row for row, bits in gate.entropy.items() if bits >= _EVEN * largest]
    if even:
        yield f"Nearly equal weights under {listed(even)}: the mixture averages its experts there."


def _tied(gate: GateUsage) -> Iterator[str]:
    for group in gate.tied:
        yield (
            f"{listed(group)} have the same weight under every perturbation, within {TIED:g}: the "
            "gate does not choose among them."
        )


def _unused(gate: GateUsage) -> Iterator[str]:
    if gate.unused:
        verb = "is" if len(gate.unused) == 1 else "are"
        yield f"{listed(gate.unused)} {verb} not used: never more than {TIED:g} of the weight."


def _agreement(gate: GateUsage) -> Iterator[str]:
    if not (pairs := gate.agreements):
        return
    (a, b, most), (c, d, least) = pairs[0], pairs[-1]
    if len(pairs) == 1:
        yield f"{a} and {b} predict the same class for {100 * most:.0f}% of these images."
        return
    yield (
        f"The most alike experts, {a} and {b}, predict the same class for {100 * most:.0f}% of "
        f"these images, the least alike, {c} and {d}, for {100 * least:.0f}%; weight that moves "
        "between experts which agree changes no prediction."
    )
