from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from morex.mixture import Mixture
from morex.networks import NetworkConfig, ResNet
from morex.objectives import Batch
from morex.regrouping import regrouped
from morex.targets import NewExperts

CLASSES = 5


def network(seed: int, outputs: int = CLASSES) -> ResNet:
    config = NetworkConfig("resnet10", 2, outputs, (8, 8), (0.5,) * 3, (0.3,) * 3)
    return ResNet(config, seed=seed).eval()


def mixture(m: int = 3) -> Mixture:
    made = Mixture({f"e{i}": network(i) for i in range(m)}, network(99, m)).eval()
    with torch.no_grad():
        for i, layer in enumerate(made.last_layers()):
            layer.bias.add_(i)  # as fine-tuning does: no longer those of the networks
        made.gate.head.weight.mul_(20)  # so that the gate has an opinion
    return made


def images(n: int = 6) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_same_experts_give_the_same_model() -> None:
    old, x = mixture(), images()
    torch.testing.assert_close(regrouped(old, old.expert_names)(x), old(x), rtol=0, atol=0)


@pytest.mark.parametrize("names", [("e2", "e0", "e1"), ("e1", "e2", "e0")])
def test_the_order_of_the_experts_does_not_matter(names: Sequence[str]) -> None:
    old, x = mixture(), images()
    torch.testing.assert_close(regrouped(old, names)(x), old(x))


def test_taking_an_expert_away_hands_its_weight_to_the_others_in_proportion() -> None:
    old, x = mixture(), images()
    new = regrouped(old, ("e0", "e2"))
    kept = old.gate_weights(x)[:, [0, 2]]
    torch.testing.assert_close(new.gate_weights(x), kept / kept.sum(1, keepdim=True))
    torch.testing.assert_close(new.expert_logits(x), old.expert_logits(x)[:, [0, 2]])


def test_a_new_expert_gets_the_geometric_mean_of_the_weights_and_takes_equally_from_all() -> None:
    old, x = mixture(), images()
    new = regrouped(old, ("e0", "e1", "e2", "x"), {"x": network(7)})
    before, weights = old.gate_weights(x), new.gate_weights(x)
    of_old = weights[:, :3].sum(1, keepdim=True)
    torch.testing.assert_close(weights[:, :3] / of_old, before)
    torch.testing.assert_close(weights[:, 3:] / of_old, before.log().mean(1, keepdim=True).exp())
    assert (weights[:, 3:] / of_old <= 1 / 3 + 1e-6).all()
    torch.testing.assert_close(new.expert_logits(x)[:, 3], network(7)(x))
    torch.testing.assert_close(new.expert_logits(x)[:, :3], old.expert_logits(x))


def test_the_old_mixture_stays_as_it_was() -> None:
    old, x = mixture(), images()
    before = old(x)
    new = regrouped(old, ("e0", "x"), {"x": network(7)})
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.zero_()
    torch.testing.assert_close(old(x), before, rtol=0, atol=0)


def test_what_learns_is_the_gate_and_the_last_layers_of_all_experts() -> None:
    new = regrouped(mixture(), ("e0", "e1", "x"), {"x": network(7)})
    learning = {name for name, p in new.named_parameters() if p.requires_grad}
    heads = {f"experts.{i}.head.{kind}" for i in range(3) for kind in ("weight", "bias")}
    gate = {f"gate.{name}" for name, _ in new.gate.named_parameters()}
    assert learning == heads | gate


@pytest.mark.parametrize(
    ("names", "new", "message"),
    [
        (("e0", "x"), {}, "no expert 'x'"),
        (("e0", "e0"), {}, "twice"),
        (("e0", "e1"), {"e1": network(7)}, "has an expert 'e1' already"),
        (("x",), {"x": network(7)}, "nothing would be left"),
        (("e0", "x"), {"x": network(7, 4)}, "has 4 classes"),
    ],
)
def test_bad_regroupings_raise(
    names: Sequence[str], new: dict[str, nn.Module], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        regrouped(mixture(), names, new)


def test_a_gate_whose_last_layer_is_not_named_raises() -> None:
    with pytest.raises(ValueError, match="is a Sequential, expected"):
        regrouped(mixture(), ("e0", "e1"), gate_layer="body")


# --- what its gate learns


def _grown() -> tuple[Mixture, NewExperts]:
    new = regrouped(mixture(), ("e0", "e1", "e2", "x"), {"x": network(7)})
    return new, NewExperts(network_copy(new), (None, 3))


def network_copy(grown: Mixture) -> nn.Module:
    copy = network(0, len(grown.expert_names))
    copy.load_state_dict(grown.gate.state_dict())
    return copy


def test_the_gate_should_say_what_it_said_and_name_the_new_expert() -> None:
    grown, target = _grown()
    x, member = images(4), torch.tensor([0, 1, 0, 1])
    _, wanted = target.answers(grown, Batch(x, torch.zeros(4, dtype=torch.int64), member))
    before = mixture().gate_weights(x)
    torch.testing.assert_close(wanted[[0, 2], :3], before[[0, 2]])
    assert (wanted[[0, 2], 3] == 0).all()
    torch.testing.assert_close(wanted[[1, 3]], torch.tensor([[0.0, 0.0, 0.0, 1.0]] * 2))


def test_what_it_should_say_does_not_move_with_the_gate() -> None:
    grown, target = _grown()
    batch = Batch(images(4), torch.zeros(4, dtype=torch.int64), torch.tensor([0, 1, 0, 1]))
    _, before = target.answers(grown, batch)
    with torch.no_grad():
        for parameter in grown.gate.parameters():
            parameter.add_(0.1)
    _, after = target.answers(grown, batch)
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_only_the_gate_learns_and_it_learns() -> None:
    grown, target = _grown()
    assert {id(p) for p in target.parameters(grown)} == {id(p) for p in grown.gate.parameters()}
    member = torch.tensor([0, 1] * 4)
    x = images(8) * (1 - 0.9 * member).view(-1, 1, 1, 1)  # the new kind is dark
    batch = Batch(x, torch.zeros_like(member), member)
    optimizer = torch.optim.Adam(target.parameters(grown), 0.01)
    first = target.loss(grown, batch)
    for _ in range(60):
        optimizer.zero_grad()
        target.loss(grown, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert target.loss(grown, batch) < first / 2
    assert target.hits(grown, batch)[member == 1].all()


def test_an_expert_that_is_not_there_raises() -> None:
    grown, _ = _grown()
    with pytest.raises(ValueError, match="expected indices"):
        NewExperts(network_copy(grown), (None, 4)).parameters(grown)
