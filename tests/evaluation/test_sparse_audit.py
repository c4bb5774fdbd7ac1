"""What routing hides from gradients is found: by the audit, and by the attack that transfers."""

import pytest
import torch
from routed import BALL, Strong, Weak, pictures
from torch import Tensor, nn

from morex.attacks import PGD, ExpertTransfer, GateSteering, Passes, frozen, is_right
from morex.attacks.gate_losses import EveryExpertAsked, is_sparse
from morex.data import ImageSet
from morex.evaluation.masking_audit import audit_model
from morex.evaluation.workload import most_passes
from morex.models.mixture import Mixture
from morex.models.routing import sparse


class WithHead(nn.Module):
    """An expert with a linear layer, which a mixture needs; the answer does not depend on it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.head = network, nn.Linear(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


class Rows(nn.Module):
    """Prefers the strong expert, unless every other row is brighter; it does not saturate."""

    def forward(self, x: Tensor) -> Tensor:
        contrast = x[:, :, ::2].mean((1, 2, 3)) - x[:, :, 1::2].mean((1, 2, 3))
        return torch.stack([contrast * 0 + 1, 40 * contrast], 1)


def dense() -> Mixture:
    experts = {"strong": WithHead(Strong()), "weak": WithHead(Weak())}
    return Mixture(experts, Rows()).eval()


def standing(attack, model: nn.Module) -> int:
    """Return how many pictures the model gets right under an attack."""
    x, y = pictures()
    moved = attack(model, x, y, generator=torch.Generator().manual_seed(0))
    return int(is_right(model, moved, y).sum())


def test_plain_pgd_does_not_see_past_the_expert_that_is_asked() -> None:
    model, plain = sparse(dense(), top=1), PGD(BALL, steps=20)
    assert standing(plain, dense()) == 0
    assert standing(plain, model) == 8
    assert standing(PGD(BALL, steps=20, loss=EveryExpertAsked()), model) == 0


def test_steering_and_transfer_are_not_weaker_because_of_routing() -> None:
    model = sparse(dense(), top=1)
    assert standing(GateSteering(BALL, steps=20), model) == 0
    strong = sparse(Mixture({"a": WithHead(Strong()), "b": WithHead(Weak())}, Rows()), top=1)
    assert standing(ExpertTransfer(BALL, steps=20), strong.eval()) == 0


def test_the_attack_through_all_experts_needs_a_mixture() -> None:
    x, y = pictures()
    with pytest.raises(TypeError, match="Strong sends no image to a part of its experts"):
        EveryExpertAsked()(Strong(), x, y)


def test_the_search_judges_with_the_sparse_mixture_and_climbs_on_the_dense_one() -> None:
    model, (x, y) = sparse(dense(), top=1), pictures()
    with frozen(model):
        leaf = x.clone().requires_grad_()
        logits, value = EveryExpertAsked()(model, leaf, y)
        assert torch.equal(logits, model(x))
        assert not logits.requires_grad
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        other = x.clone().requires_grad_()
        whole = nn.functional.cross_entropy(dense()(other), y, reduction="sum")
        (wanted,) = torch.autograd.grad(whole, other)
    torch.testing.assert_close(gradient, wanted)


def test_only_a_routed_mixture_is_sparse() -> None:
    assert not is_sparse(dense())
    assert not is_sparse(Strong())
    assert is_sparse(sparse(dense(), threshold=0.0))


def test_the_third_search_of_a_transfer_is_counted() -> None:
    attack = ExpertTransfer(BALL, steps=4)
    assert most_passes(attack, 2, 10) == attack.passes + Passes(forward=1)
    assert most_passes(attack, 2, 10, sparse=True) == attack.passes * 1.5 + Passes(forward=1)
    steering = GateSteering(BALL, steps=4)
    assert most_passes(steering, 2, 10, sparse=True) == most_passes(steering, 2, 10)


def test_the_audit_flags_a_gate_that_picks_one_expert() -> None:
    x, y = pictures()
    data = ImageSet((x.repeat(5, 1, 1, 1) * 255).round().byte(), y.repeat(5), ("dark", "bright"))
    found = {
        top: {f.point: f for f in audit_model(model, data, [BALL], steps=10, queries=4).findings}
        for top, model in ((1, sparse(dense(), top=1)), (2, sparse(dense(), top=2)))
    }
    assert found[1][5].verdict == "flag"
    assert "the gate picks one expert and hides the others" in found[1][5].reason
    assert "all experts lowers accuracy" in found[1][7].reason
    assert found[1][7].evidence["PGD and all experts"] == 0 < found[1][7].evidence["PGD"]
    assert "picks one expert" not in found[2][5].reason
    assert "lowers accuracy" not in found[2][7].reason
