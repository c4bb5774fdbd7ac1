"""What the weights of a gate say about it, for gates whose weights are known."""

from math import log2

import pytest

from morex.artifacts.gate_usage import APART, TIED, GateUsage, entropy_in_bits
from morex.report import gate_sentences
from morex.report.gate_words import gate_decision

Weights = dict[str, tuple[float, ...]]


def usage(weights: Weights, **more: object) -> GateUsage:
    experts = tuple("abcdef"[: len(next(iter(weights.values())))])
    content = {"experts": experts, "weights": weights, "leads": weights, "n": 9, **more}
    return GateUsage.model_validate(content)


def told(weights: Weights, **more: object) -> str:
    return " ".join(gate_sentences(usage(weights, **more)))


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_equal_weights_have_the_largest_entropy(n: int) -> None:
    assert entropy_in_bits([1 / n] * n) == pytest.approx(log2(n))
    assert entropy_in_bits([1.0, *[0.0] * n]) == 0
    assert usage({"clean": (1 / n,) * n}).largest_entropy == pytest.approx(log2(n))


def test_the_shift_is_the_largest_total_variation_between_two_rows() -> None:
    use = usage({"clean": (0.5, 0.5, 0.0), "fog": (0.1, 0.1, 0.8), "snow": (0.3, 0.3, 0.4)})
    assert use.shift
    assert use.shift.rows == ("clean", "fog")
    assert use.shift.moved == pytest.approx(0.8)
    assert use.tells_apart
    assert usage({"clean": (0.5, 0.5)}).shift is None
    assert not usage({"clean": (0.5, 0.5)}).tells_apart


@pytest.mark.parametrize(("moved", "apart"), [(APART - 0.01, False), (APART + 0.01, True)])
def test_a_gate_tells_apart_if_enough_weight_moves(moved: float, apart: bool) -> None:
    weights = {"clean": (0.5, 0.5), "fog": (0.5 - moved, 0.5 + moved)}
    assert usage(weights).tells_apart is apart
    verb = "tells" if apart else "does not tell"
    assert f"The gate {verb} perturbations apart: " in told(weights)
    assert f"{moved:.2f} of the weight moves between clean and fog" in told(weights)


def test_experts_with_the_same_weight_everywhere_are_tied_and_those_without_unused() -> None:
    near = 0.25 + TIED - 0.001
    use = usage({"clean": (0.25, near, 0.25, 0.231, 0.0), "fog": (0.1, 0.1, 0.1, 0.7, 0.0)})
    assert use.tied == (("a", "b", "c"),)
    assert use.unused == ("e",)
    sentences = gate_sentences(use)
    assert any(s.startswith("a, b and c have the same weight under every") for s in sentences)
    assert any(s.startswith("e is not used") for s in sentences)
    assert usage({"clean": (0.25, 0.75), "fog": (0.3, 0.7)}).tied == ()


def test_experts_that_are_both_unused_are_not_tied() -> None:
    use = usage({"clean": (1.0, 0.0, 0.0)})
    assert use.tied == ()
    assert use.unused == ("b", "c")


def test_pairs_of_experts_are_ordered_by_agreement() -> None:
    agreement = ((1, 0.5, 0.9), (0.5, 1, 0.25), (0.9, 0.25, 1))
    use = usage({"clean": (0.3, 0.3, 0.4)}, agreement=agreement)
    assert use.agreements == (("a", "c", 0.9), ("a", "b", 0.5), ("b", "c", 0.25))
    words = " ".join(gate_sentences(use))
    assert "a and c, predict the same class for 90%" in words
    assert "b and c, for 25%" in words
    assert usage({"clean": (0.3, 0.7)}).agreements == ()  # older files


def test_entropy_is_set_beside_its_largest_value() -> None:
    words = told({"clean": (0.5, 0.5), "fog": (0, 1)}, entropy={"clean": 0.99, "fog": 0.01})
    assert "0.01 bits (fog) to 0.99 bits (clean); equal weights have 1.00." in words
    assert "Nearly equal weights under clean: the mixture averages" in words
    same = told({"clean": (0.5, 0.5), "fog": (0, 1)}, entropy={"clean": 0.5, "fog": 0.501})
    assert "The entropy of its weights is 0.50 bits; equal weights have 1.00." in same
    assert "entropy" not in told({"clean": (0.5, 0.5), "fog": (0, 1)})


def test_a_mixture_of_one_expert_is_explained_without_an_error() -> None:
    words = told({"clean": (1.0,), "fog": (1.0,)}, entropy={"clean": 0.0, "fog": 0.0})
    assert "does not tell perturbations apart: at most 0.00" in words


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"a": 0.25, "b": 0.25, "c": 0.26, "d": 0.24}, "chose no expert: nearly equal weights"),
        ({"a": 0.05, "b": 0.9, "c": 0.05, "d": 0.0}, "chose b (entropy 0.57 of 2.00 bits)"),
        ({"a": 0.6, "b": 0.4}, "chose no expert: nearly equal weights (entropy 0.97 of 1.00 bits)"),
        ({"a": 0.7, "b": 0.3}, "prefers a (entropy 0.88 of 1.00 bits)"),
        ({"a": 1.0}, "chose a (entropy 0.00 of 0.00 bits)"),
    ],
)
def test_what_a_gate_did_for_one_picture(weights: dict[str, float], words: str) -> None:
    assert words in gate_decision(weights)
