"""Sparse mixtures: which experts are asked, and what comes out of those that are."""

import pytest
import torch
from scores import Scores
from torch import Tensor, nn

from morex.models import ModelError, Routing, load_model, save_model, sparse
from morex.models.extend import regrouped
from morex.models.gates import ExtendedGate
from morex.models.mixture import MeanOfExperts, Mixture
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet

WEIGHTS = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.3, 0.4, 0.3], [0.45, 0.45, 0.1]])
TINY = NetworkConfig("resnet10", 4, 3, (8, 8))


class Counted(nn.Module):
    """A network that notes how many images it was given in every call."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.network = ResNet(TINY, seed=seed)
        self.head = self.network.head
        self.given: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.given.append(len(x))
        return self.network(x)


class Channels(nn.Module):
    """Gate scores: the mean of every channel, times 20."""

    def forward(self, x: Tensor) -> Tensor:
        return 20 * x.mean((2, 3))


def mixture(combine: str = "logits", gate: nn.Module | None = None) -> Mixture:
    experts = {f"e{i}": Counted(i) for i in range(3)}
    return Mixture(experts, gate or Channels(), combine=combine).eval()  # type: ignore[arg-type]


def coloured() -> Tensor:
    """Images of which the first two are red, one is green, and one has no colour."""
    x = 0.2 * torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x[:2, 0] += 0.7
    x[2, 1] += 0.7
    return x


def calls(model: Mixture) -> list[list[int]]:
    return [expert.given for expert in model.experts]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("routing", "asked"),
    [
        (Routing(threshold=0), [[1, 1, 1]] * 4),
        (Routing(threshold=0.2), [[1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 0]]),
        (Routing(threshold=0.35), [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 1, 0]]),
        (Routing(threshold=0.9), [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]),
        (Routing(top=1), [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]),
        (Routing(top=2), [[1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 1, 0]]),
        (Routing(top=3), [[1, 1, 1]] * 4),
    ],
)
def test_the_weights_decide_who_is_asked(routing: Routing, asked: list[list[int]]) -> None:
    assert routing.asked(WEIGHTS).int().tolist() == asked


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({}, "expected either a threshold or top, got threshold None and top None"),
        ({"threshold": 0.1, "top": 1}, "expected either"),
        ({"threshold": 1.0}, r"threshold must be in \[0, 1\), got 1.0"),
        ({"threshold": -0.1}, r"threshold must be in \[0, 1\)"),
        ({"threshold": float("nan")}, "threshold must be"),
        ({"top": 0}, "top must be at least 1, got 0"),
        ({"top": 1.5}, "top must be"),
    ],
)
def test_a_routing_needs_one_number_in_its_range(numbers: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Routing(**numbers)


@pytest.mark.parametrize("combine", ["logits", "probabilities"])
@pytest.mark.parametrize("numbers", [{"threshold": 0}, {"top": 3}])
def test_with_all_experts_it_is_the_dense_mixture_to_the_last_bit(combine, numbers) -> None:
    dense, x = mixture(combine), coloured()
    assert torch.equal(sparse(dense, **numbers)(x), dense(x))
    leaf, other = (x.clone().requires_grad_() for _ in range(2))
    sparse(dense, **numbers)(leaf).square().sum().backward()
    dense(other).square().sum().backward()
    torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("combine", ["logits", "probabilities"])
def test_experts_that_are_asked_share_the_weight(combine: str) -> None:
    dense, x = mixture(combine), coloured()
    model = sparse(dense, top=2)
    with torch.no_grad():
        answers, weights = dense.expert_logits(x), dense.gate_weights(x)
        found, shares = model(x), model.routed_weights(x)
    kept = weights * model.routing.asked(weights)
    wanted = kept / kept.sum(1, keepdim=True)
    torch.testing.assert_close(shares, wanted)
    if combine == "logits":
        right = (wanted[..., None] * answers).sum(1)
    else:
        right = (wanted[..., None] * answers.softmax(2)).sum(1).log()
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


def test_each_expert_gets_its_images_at_once_and_one_without_images_is_not_called() -> None:
    model, x = sparse(mixture(), threshold=0.3), coloured()[:3]
    model(x)
    assert calls(model) == [[2], [1], []]


def test_the_mixture_stays_dense_and_shares_its_networks() -> None:
    dense = mixture()
    model = sparse(dense, top=1)
    dense(coloured())
    assert calls(dense) == [[4], [4], [4]]
    assert dense.routing is None
    assert model.gate is dense.gate
    assert [*model.experts] == [*dense.experts]


def test_an_image_gets_the_same_answer_in_any_batch() -> None:
    model, x = sparse(mixture(), threshold=0.2), coloured()
    alone = torch.cat([model(part) for part in x.split(1)])
    torch.testing.assert_close(model(x), alone, rtol=1e-4, atol=1e-5)


def test_a_model_without_a_gate_cannot_be_sparse() -> None:
    with pytest.raises(ModelError, match=r"expected a mixture with a gate, .* got a ResNet"):
        sparse(ResNet(TINY), top=1)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="got a MeanOfExperts"):
        sparse(MeanOfExperts({"a": ResNet(TINY)}), top=1)  # type: ignore[arg-type]


def test_no_more_experts_can_be_asked_than_there_are() -> None:
    with pytest.raises(ValueError, match="top must be at most 3, the number of experts, got 4"):
        sparse(mixture(), top=4)


def test_a_sparse_mixture_is_saved_and_extended_with_its_routing(tmp_path) -> None:
    experts = {f"e{i}": ResNet(TINY, seed=i) for i in range(3)}
    dense = Mixture(experts, ResNet(TINY, seed=9)).eval()
    model = sparse(dense, threshold=0.34)
    save_model(model, tmp_path)
    loaded, x = load_model(tmp_path), coloured()
    assert loaded.routing == Routing(threshold=0.34)
    assert torch.equal(loaded(x), model(x))
    grown = regrouped(model, ("e0", "e1", "e2", "new"), {"new": ResNet(TINY, seed=5)})
    assert isinstance(grown.gate, ExtendedGate)
    assert grown.eval().routing == model.routing
    torch.testing.assert_close(grown.routed_weights(x).sum(1), torch.ones(4))


def test_hooks_of_the_one_are_not_those_of_the_other(tmp_path) -> None:
    model = mixture(gate=Scores(0.0, 1.0, 2.0))
    other = sparse(model, top=1)
    seen: list[int] = []
    other.register_forward_pre_hook(lambda module, x: seen.append(1))
    model(coloured())
    assert seen == []
