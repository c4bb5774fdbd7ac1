"""What attacks on a gate maximise, by hand."""

from math import exp, log

import pytest
import torch
from torch import Tensor

from morex.attacks.gate_losses import (
    AwayFromChoices,
    TowardsEach,
    TowardsExpert,
    check_choices,
)
from morex.models.mixture import Mixture
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet

WEIGHTS = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
LOGITS = torch.tensor([[1.0, -1.0], [0.0, 2.0]])
X, Y = torch.rand(2, 3, 2, 2), torch.tensor([0, 0])
CROSS_ENTROPIES = (log(1 + exp(-2)), log(1 + exp(2)))
LEAST = log(1e-30)


class Fixed:
    """A model with a fixed gate and fixed answers; records its calls."""

    def __init__(self) -> None:
        self.asked = list[tuple[str, Tensor]]()

    def __call__(self, x: Tensor) -> Tensor:
        self.asked.append(("logits", x))
        return LOGITS

    def gate_weights(self, x: Tensor) -> Tensor:
        self.asked.append(("experts", x))
        return WEIGHTS

    def choice_weights(self, x: Tensor) -> Tensor:
        self.asked.append(("choices", x))
        return WEIGHTS


def check(loss, expected: list[float], first: Tensor, asked: list[str]) -> None:
    model = Fixed()
    returned, values = loss(model, X, Y)
    assert returned is first
    assert values.tolist() == pytest.approx(expected, rel=1e-5)
    assert [what for what, _ in model.asked] == asked
    assert all(x is X for _, x in model.asked)


@pytest.mark.parametrize("push", [1.0, 3.0])
def test_towards_an_expert_is_the_cross_entropy_and_a_push(push):
    first, second = CROSS_ENTROPIES
    expected = [first + push * log(0.25), second + push * LEAST]  # a weight of 0 stays finite
    check(TowardsExpert(2, push), expected, LOGITS, ["experts", "logits"])
    check(TowardsExpert(0, push), [first + push * log(0.5), second], LOGITS, ["experts", "logits"])


def test_an_expert_that_the_gate_hides_keeps_its_gradient():
    torch.manual_seed(0)
    config = NetworkConfig("resnet10", 4, 2)
    mixture = Mixture({"a": ResNet(config), "b": ResNet(config)}, ResNet(config)).eval()
    with torch.no_grad():
        [*mixture.gate.parameters()][-1].copy_(torch.tensor([200.0, 0.0]))
    x = torch.rand(4, 3, 8, 8, requires_grad=True)
    _, values = TowardsExpert(1, fool=False)(mixture, x, torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(values, mixture.scores(x).log_softmax(1)[:, 1])
    assert values.max() < -150
    (gradient,) = torch.autograd.grad(values.sum(), x)
    assert gradient.flatten(1).abs().amax(1).min() > 0


def test_without_fool_it_is_only_the_push():
    loss = TowardsExpert(1, 2.0, fool=False)
    check(loss, [2 * log(0.25), 2 * LEAST], LOGITS, ["experts", "logits"])


def test_the_push_is_one_by_default_and_fools():
    assert TowardsExpert(4) == TowardsExpert(4, push=1.0, fool=True)


def test_every_example_has_its_own_expert_and_push():
    first, second = CROSS_ENTROPIES
    loss = TowardsEach(torch.tensor([1, 0]), torch.tensor([2.0, 5.0]))
    check(loss, [first + 2 * log(0.25), second], LOGITS, ["experts", "logits"])
    check(
        TowardsEach(torch.tensor([0, 2]), torch.tensor([0.0, 0.5])),
        [first, second + 0.5 * LEAST],
        LOGITS,
        ["experts", "logits"],
    )


@pytest.mark.parametrize("rows", [torch.tensor([2, 0]), torch.tensor([True, False, True])])
def test_rows_selects_experts_and_pushes(rows):
    loss = TowardsEach(torch.tensor([4, 5, 6]), torch.tensor([0.1, 0.2, 0.3])).rows(rows)
    expected = torch.tensor([4, 5, 6])[rows], torch.tensor([0.1, 0.2, 0.3])[rows]
    assert torch.equal(loss.experts, expected[0])
    assert torch.equal(loss.pushes, expected[1])


def test_away_from_choices_is_minus_the_logarithm_of_their_weight():
    check(AwayFromChoices((0, 2)), [-log(0.75), 0.0], WEIGHTS, ["choices"])
    check(AwayFromChoices((1,)), [-log(0.25), -LEAST], WEIGHTS, ["choices"])


@pytest.mark.parametrize("right", [((0, 3),), ((-1,),), ((0,), ())])
def test_choices_that_the_gate_does_not_have_raise(right):
    with pytest.raises(ValueError, match="chooses among 3"):
        check_choices(right, 3)
    check_choices([(0, 2), (1,), (0, 1, 2)], 3)
    with pytest.raises(ValueError, match="chooses among 3"):
        AwayFromChoices((3,))(Fixed(), X, Y)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (TowardsExpert(0), "function has no gate_weights"),
        (TowardsEach(torch.tensor([0]), torch.tensor([1.0])), "function has no gate_weights"),
        (AwayFromChoices((0,)), "function has no choice_weights"),
    ],
)
def test_a_model_without_gate_raises(loss, message):
    with pytest.raises(TypeError, match=message):
        loss(lambda x: LOGITS, X, Y)
