"""A gate that experts have joined, by hand."""

from math import exp, log

import pytest
import torch
from scores import Scores
from torch import Tensor

from morex.models.gates import ExtendedGate

KNOWN, JOINED = [2.0, -1.0], [0.5, -0.25]


def gate() -> ExtendedGate:
    return ExtendedGate(Scores(*KNOWN), Scores(*JOINED))


def images() -> Tensor:
    return torch.stack([torch.full((3, 2, 2), value) for value in (0.0, 0.5, 1.0)])


def test_the_choices_are_zero_for_the_known_experts_and_a_score_for_each_new_one():
    assert gate().choices(images()).tolist() == [[0, 0, 0], [0, 0.25, -0.125], [0, 0.5, -0.25]]


def test_their_weights_are_the_softmax():
    total = 1 + exp(0.5) + exp(-0.25)
    expected = [1 / total, exp(0.5) / total, exp(-0.25) / total]
    found = gate().choice_weights(images())
    assert found[2].tolist() == pytest.approx(expected)
    assert found[0].tolist() == pytest.approx([1 / 3] * 3)


def test_the_scores_are_log_shares_of_the_known_and_log_odds_of_the_others():
    both = log(exp(2) + exp(-1))
    assert gate()(images())[2].tolist() == pytest.approx([2 - both, -1 - both, 0.5, -0.25])


@pytest.mark.parametrize("training", [True, False])
def test_it_is_in_the_mode_of_the_gate_it_extends(training):
    known = Scores(*KNOWN).train(training)
    assert ExtendedGate(known, Scores(*JOINED)).training is training
