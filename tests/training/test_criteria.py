"""What a training step teaches, by hand."""

from math import exp, log

import pytest
import torch
from torch import Tensor, nn

from morex.models.gates import ExtendedGate
from morex.models.mixture import Mixture
from morex.training.criteria import ClassOfImage, ExpertForMember, NewExperts
from morex.training.objectives import Batch


class Scores(nn.Module):
    """The first pixel times weights that learn."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.head = nn.Linear(1, len(scores), bias=False)
        self.head.weight.data = torch.tensor(scores)[:, None]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x[:, 0, 0, :1])


BATCH = Batch(
    torch.tensor([1.0, 0.5]).view(2, 1, 1, 1).expand(2, 3, 2, 2),
    torch.tensor([0, 1]),
    torch.tensor([1, 0]),
)
ONE, TWO = exp(2) + exp(0) + exp(-1), exp(1) + exp(0) + exp(-0.5)


def mixture(gate: nn.Module) -> Mixture:
    return Mixture({name: Scores(1.0, 2.0) for name in "abc"}, gate)


def extended() -> ExtendedGate:
    return ExtendedGate(Scores(3.0, 1.0), Scores(0.5))


def test_the_class_of_an_image_is_taught_with_the_mean_cross_entropy():
    model, criterion = Scores(2.0, 0.0, -1.0), ClassOfImage()
    expected = (-2 + log(ONE) + log(TWO)) / 2
    assert criterion.loss(model, BATCH).item() == pytest.approx(expected)
    assert criterion.hits(model, BATCH).tolist() == [True, False]
    model.head.weight.requires_grad_(False)
    assert criterion.parameters(model) == []


def test_smoothed_labels_give_every_class_its_share_of_the_loss():
    model = Scores(2.0, 0.0, -1.0)
    # logits (2, 0, -1) with label 0 and (1, 0, -1/2) with label 1, minus their mean
    spread = (log(ONE) - 1 / 3 + log(TWO) - 1 / 6) / 2
    plain = (-2 + log(ONE) + log(TWO)) / 2
    smoothed = ClassOfImage().smoothed(0.3)
    assert smoothed.loss(model, BATCH).item() == pytest.approx(0.7 * plain + 0.3 * spread)
    assert smoothed.hits(model, BATCH).tolist() == [True, False]
    assert ClassOfImage(0.3).smoothed(0.1) == ClassOfImage(0.3)  # what it has is more specific


def test_the_warm_up_of_a_gate_has_no_labels_to_smooth():
    for criterion in (ExpertForMember(((0,), (1, 2))), NewExperts(((0,), (1,)))):
        assert criterion.smoothed(0.3) is criterion


class Fixed(nn.Module):
    """Fixed logits."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([[2.0, 0.0, -1.0], [0.0, 3.0, 1.0], [0.0, 5.0, 9.0]])


def test_the_largest_logit_of_every_image_is_the_answer():
    batch = Batch(torch.zeros(3, 3, 2, 2), torch.tensor([0, 1, 1]), torch.zeros(3))
    assert ClassOfImage().hits(Fixed(), batch).tolist() == [True, True, False]


def test_right_choices_share_the_weight_as_they_like():
    # the first image is of member 1, for which choices 0 and 2 are right; the second of member 0
    criterion = ExpertForMember(((1,), (0, 2)))
    model = mixture(Scores(2.0, 0.0, -1.0))
    expected = -(log((exp(2) + exp(-1)) / ONE) + log(1 / TWO)) / 2
    assert criterion.loss(model, BATCH).item() == pytest.approx(expected)
    assert criterion.hits(model, BATCH).tolist() == [True, False]


def test_an_extended_gate_is_trained_with_or_without_its_mixture():
    gate, criterion = extended(), NewExperts(((0,), (1,)))
    whole = mixture(gate)
    # the choices are (0, 0.5) and (0, 0.25)
    expected = -(log(exp(0.5) / (1 + exp(0.5))) + log(1 / (1 + exp(0.25)))) / 2
    for model in (gate, whole):
        assert criterion.loss(model, BATCH).item() == pytest.approx(expected)
        assert criterion.hits(model, BATCH).tolist() == [True, False]
        assert criterion.parameters(model) == [*gate.joined.parameters()]


def test_only_the_gate_learns_in_a_warm_up():
    model = mixture(Scores(1.0, 2.0, 3.0))
    assert ExpertForMember(((0,), (1,))).parameters(model) == [*model.gate.parameters()]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: NewExperts(((0,),)).parameters(mixture(Scores(1.0, 2.0, 3.0))),
            "gate is a Scores",
        ),
        (lambda: NewExperts(((0,),)).parameters(Scores(1.0)), "only a Mixture.*got a Scores"),
        (lambda: ExpertForMember(((0,),)).parameters(Scores(1.0)), "only a Mixture.*got a Scores"),
        (
            lambda: ExpertForMember(((0,),)).answers(Scores(1.0), BATCH),
            "only a Mixture.*got a Scores",
        ),
    ],
)
def test_models_without_such_a_gate_raise(ask, message):
    with pytest.raises(TypeError, match=message):
        ask()


@pytest.mark.parametrize("right", [((0,), (3,)), ((0,), (-1,)), ((0,), ())])
def test_choices_that_the_gate_does_not_have_raise(right):
    with pytest.raises(ValueError, match="chooses among 3"):
        ExpertForMember(right).loss(mixture(Scores(1.0, 2.0, 3.0)), BATCH)


@pytest.mark.parametrize("odd", [torch.nan, torch.inf])
def test_answers_that_are_not_finite_hit_nothing(odd: float) -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[odd, 0.0], [1.0, 0.0]])

    x, zeros = torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64)
    assert ClassOfImage().hits(Fixed(), Batch(x, zeros, zeros)).tolist() == [False, True]
