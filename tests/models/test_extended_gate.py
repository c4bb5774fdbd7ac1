"""A gate that experts have joined, by hand."""

from math import exp, log

import pytest
import torch
from torch import Tensor, nn

from morex.models.gates import ExtendedGate

KNOWN, JOINED = [2.0, -1.0], [0.5, -0.25]


class Says(nn.Module):
    """The mean pixel times fixed scores."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.register_buffer("scores", torch.tensor(scores))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))[:, None] * self.scores


def gate() -> ExtendedGate:
    return ExtendedGate(Says(KNOWN), Says(JOINED))


def images() -> Tensor:
    return torch.stack([torch.full((3, 2, 2), value) for value in (0.0, 0.5, 1.0)])


def test_the_choices_are_what_is_known_at_zero_and_each_that_joined():
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
    known = Says(KNOWN).train(training)
    assert ExtendedGate(known, Says(JOINED)).training is training
