"""What a gate does, in sentences: what one sees in its weights, and what follows."""

from collections.abc import Iterator

from morex.artifacts.gate_usage import APART, TIED, GateUsage
from morex.core.units import listed

_EVEN = 0.95
"""Weights are called nearly equal from this share of the largest entropy."""


def gate_sentences(gate: GateUsage) -> list[str]:
    """Return sentences that explain the weights of a gate.

    They say whether it tells perturbations apart (``GateUsage.tells_apart``), how the entropy of
    its weights compares with the largest one, which experts it does not choose among or does not
    use, and how often the experts agree. What was not measured is left out.
    """
    return [*_verdict(gate), *_entropy(gate), *_tied(gate), *_unused(gate), *_agreement(gate)]


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
    yield (
        f"The entropy of its weights is {least:.2f} bits ({low}) to {most:.2f} bits ({high}); "
        f"equal weights have {largest:.2f}."
    )
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
