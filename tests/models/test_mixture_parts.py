"""Which layers of an expert a mixture fine-tunes, its mode, and what its gate chooses among."""

import pytest
import torch
from scores import Scores
from torch import Tensor, nn

from morex.models.gates import ExtendedGate
from morex.models.mixture import LargestLogit, MeanOfExperts, Mixture, last_layer_of


class TwoLayers(nn.Module):
    """A network with two linear layers that may name the last one."""

    def __init__(self, last_layer: str | None = None) -> None:
        super().__init__()
        self.head, self.answer = nn.Linear(3, 2), nn.Linear(3, 2)
        if last_layer:
            self.last_layer = last_layer

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(x.mean((2, 3)))


def test_an_expert_may_name_its_last_layer():
    assert last_layer_of(TwoLayers("answer")) == "answer"
    assert last_layer_of(TwoLayers()) == "head"
    mixture = MeanOfExperts({"says": TwoLayers("answer"), "does not": TwoLayers()})
    first, second = mixture.experts
    assert mixture.last_layers() == [first.answer, second.head]
    learning = {name for name, p in mixture.named_parameters() if p.requires_grad}
    assert learning == {
        "experts.0.answer.weight",
        "experts.0.answer.bias",
        "experts.1.head.weight",
        "experts.1.head.bias",
    }


@pytest.mark.parametrize("kind", [MeanOfExperts, LargestLogit])
def test_a_mixture_without_gate_begins_in_training_mode_like_any_module(kind):
    mixture = kind({"a": TwoLayers()})
    assert mixture.training is True
    assert [module.training for module in mixture.experts.modules()] == [False] * 4


@pytest.mark.parametrize("training", [True, False])
def test_a_mixture_begins_in_the_mode_of_its_gate(training):
    gate = Scores(1.0).train(training)
    mixture = Mixture({"a": TwoLayers()}, gate)
    assert mixture.training is training
    assert mixture.gate.training is training


def test_a_plain_gate_chooses_among_the_experts():
    x = torch.ones(2, 3, 4, 4)
    mixture = Mixture({"a": TwoLayers(), "b": TwoLayers()}, Scores(0.5, -1.0))
    assert mixture.choices(x).tolist() == [[0.5, -1.0]] * 2
    assert torch.equal(mixture.choice_weights(x), mixture.gate_weights(x))
    assert mixture.choice_weights(x).sum(1).tolist() == pytest.approx([1, 1])


def test_an_extended_gate_chooses_between_the_known_experts_and_the_new_ones():
    x = torch.ones(2, 3, 4, 4)
    gate = ExtendedGate(Scores(2.0, 1.0), Scores(0.25))
    mixture = Mixture({name: TwoLayers() for name in "abc"}, gate)
    assert mixture.choices(x).tolist() == [[0.0, 0.25]] * 2
    expected = torch.softmax(torch.tensor([0.0, 0.25]), 0).tolist()
    assert mixture.choice_weights(x)[1].tolist() == pytest.approx(expected)
    assert mixture.gate_weights(x).shape == (2, 3)
