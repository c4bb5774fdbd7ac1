from pathlib import Path

import pytest
import torch
from torch import Tensor

from morex.attacks import PGD, AwayFromChoices
from morex.models.extend import regrouped
from morex.models.gates import Committees
from morex.models.mixture import Mixture
from morex.models.named import load_model
from morex.models.resnet import NetworkConfig, ResNet
from morex.models.save import save_model
from morex.perturbations import Linf
from morex.training.criteria import ExpertForMember
from morex.training.objectives import Batch

NAMES = ("e0", "e1", "e2")
SHARES = ((1, 3, 0), (0, 1, 1))


def network(seed: int, outputs: int = 4) -> ResNet:
    config = NetworkConfig("resnet10", 2, outputs, (8, 8), (0.5,) * 3, (0.3,) * 3)
    return ResNet(config, seed=seed).eval()


def mixture(scale: float = 20) -> Mixture:
    gate = Committees(network(99, 2), SHARES)
    with torch.no_grad():
        gate.network.head.weight.mul_(scale)  # so that the gate has an opinion
    return Mixture({name: network(i) for i, name in enumerate(NAMES)}, gate).eval()


def images(n: int = 6) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_weights_are_those_of_the_formula() -> None:
    made, x = mixture(), images()
    committees = made.gate.network(x).softmax(1)
    shares = torch.tensor([[0.25, 0.75, 0], [0, 0.5, 0.5]])
    torch.testing.assert_close(made.gate_weights(x), committees @ shares)
    torch.testing.assert_close(made.choice_weights(x), committees)
    expected = (made.gate_weights(x)[..., None] * made.expert_logits(x)).sum(1)
    torch.testing.assert_close(made(x), expected)


def test_no_image_gives_an_expert_more_than_its_largest_share() -> None:
    made, x = mixture(scale=1e4), images(50)
    weights = made.gate_weights(x)
    bounds = torch.tensor([0.25, 0.75, 0.5])
    assert (weights <= bounds + 1e-6).all()
    assert (weights.amax(0) > bounds - 1e-3).all()  # an opinion so strong reaches them


def test_a_bounded_expert_cannot_overrule_the_others() -> None:
    made = mixture(scale=1e4)
    made.combine = "probabilities"
    x = images(50)
    with torch.no_grad():
        for name, layer in zip(NAMES, made.last_layers(), strict=True):
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor([9.0, 0, 0, 0]) if name == "e1" else layer.bias * 0)
        loud = made.last_layers()[0]
        loud.bias.copy_(torch.tensor([0, 1e6, 0, 0]))
    assert (made(x).argmax(1) == 0).all()  # a quarter of the votes against three
    made.combine = "logits"
    assert (made(x).argmax(1) == 1).any()  # here it shouts


def test_gradients_reach_the_image_through_the_gate() -> None:
    made, x = mixture(), images().requires_grad_()
    (gradient,) = torch.autograd.grad(made.gate_weights(x)[:, 0].sum(), x)
    assert gradient.isfinite().all()
    assert (gradient.abs().sum((1, 2, 3)) > 0).all()


def test_a_warm_up_names_committees_and_its_attack_leads_away_from_them() -> None:
    made, x = mixture(), images()
    batch = Batch(x, torch.zeros(6, dtype=torch.int64), torch.tensor([0, 1] * 3))
    target = ExpertForMember(((1,), (0,)))
    logs = made.gate.network(x).log_softmax(1)
    right = torch.tensor([1, 0] * 3)
    expected = torch.nn.functional.nll_loss(logs, right)
    torch.testing.assert_close(target.loss(made, batch), expected)
    with pytest.raises(ValueError, match="chooses among 2"):
        ExpertForMember(((2,), (0,))).loss(made, batch)
    moved = PGD(Linf(0.2), steps=5, loss=AwayFromChoices((0,)))(made, x, batch.y)
    assert (made.choice_weights(moved)[:, 0] < made.choice_weights(x)[:, 0]).all()


def test_it_comes_back_from_its_folder(tmp_path: Path) -> None:
    made, x = mixture(), images()
    save_model(made, tmp_path)
    torch.testing.assert_close(load_model(tmp_path)(x), made(x), rtol=0, atol=0)


def test_an_expert_that_goes_leaves_its_share_to_its_committee() -> None:
    made, x = mixture(), images()
    committees = made.choice_weights(x)
    left = regrouped(made, ("e0", "e2"))
    torch.testing.assert_close(left.gate_weights(x), committees)
    alone = regrouped(made, ("e2", "e1"))  # of the first committee one is left
    shares = torch.tensor([[0, 1], [0.5, 0.5]])
    torch.testing.assert_close(alone.gate_weights(x), committees @ shares)
    torch.testing.assert_close(regrouped(made, ("e0",)).gate_weights(x), torch.ones(6, 1))


def test_an_expert_joins_beside_the_committees() -> None:
    made, x = mixture(), images()
    grown = regrouped(made, (*NAMES, "new"), {"new": network(7)})
    torch.testing.assert_close(grown.gate_weights(x)[:, :3], made.gate_weights(x) / 2)
    torch.testing.assert_close(regrouped(grown, NAMES)(x), made(x))


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((), "one share per expert each"),
        (((1, 1), (1,)), "one share per expert each"),
        (((1, -1, 1),), "expected shares >= 0"),
        (((1, 0), (1, 0)), "every expert in one"),
        (((1, 1), (0, 0)), "an expert in every committee"),
    ],
)
def test_shares_that_divide_up_nothing_raise(
    shares: tuple[tuple[float, ...], ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Committees(network(0, 2), shares)


def test_a_network_without_a_score_for_each_committee_raises() -> None:
    with pytest.raises(ValueError, match="a gate over 2 committees returned"):
        Committees(network(0, 3), SHARES)(images())
