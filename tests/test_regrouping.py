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
    return new, NewExperts(new.gate, (None, 3))


def _dark_is_new() -> Batch:
    member = torch.tensor([0, 1] * 4)
    x = images(8) * (1 - 0.9 * member).view(-1, 1, 1, 1)
    return Batch(x, torch.zeros_like(member), member)


def _learn(grown: Mixture, target: NewExperts, steps: int = 200) -> None:
    batch = _dark_is_new()
    optimizer = torch.optim.Adam(target.parameters(grown), 0.1)
    for _ in range(steps):
        grown.train()  # as the loop does
        optimizer.zero_grad()
        target.loss(grown, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    grown.eval()


def test_the_gate_says_what_the_mixture_says_and_should_name_the_new_expert_or_any_old_one() -> (
    None
):
    grown, target = _grown()
    x, member = images(4), torch.tensor([0, 1, 0, 1])
    scores, right = target.answers(grown, Batch(x, torch.zeros(4, dtype=torch.int64), member))
    torch.testing.assert_close(scores.softmax(1), grown.gate_weights(x))
    assert right[0].tolist() == right[2].tolist() == [True, True, True, False]
    assert right[1].tolist() == right[3].tolist() == [False, False, False, True]


def test_the_loss_is_that_of_the_weight_of_those_that_are_right() -> None:
    grown, target = _grown()
    batch = _dark_is_new()
    weights = grown.gate_weights(batch.x).double()
    rows = [w[3] if new else w[:3].sum() for w, new in zip(weights, batch.member, strict=True)]
    expected = -torch.stack(rows).log().mean()
    torch.testing.assert_close(target.loss(grown, batch).double(), expected, rtol=1e-5, atol=1e-6)


def test_it_learns_to_name_the_new_expert() -> None:
    grown, target = _grown()
    first = target.loss(grown, _dark_is_new())
    _learn(grown, target)
    assert target.loss(grown, _dark_is_new()) < first / 2
    assert target.hits(grown, _dark_is_new()).all()


def test_on_every_image_the_old_experts_share_their_weight_as_before() -> None:
    grown, target = _grown()
    _learn(grown, target)
    for x in (images(), 1 - images(50)):  # also images unlike all that it learnt on
        weights = grown.gate_weights(x)[:, :3]
        torch.testing.assert_close(
            weights / weights.sum(1, keepdim=True), mixture().gate_weights(x), rtol=1e-4, atol=1e-6
        )


def test_nothing_of_the_gate_learns_but_its_outputs_for_new_experts() -> None:
    grown, target = _grown()
    before = {name: t.clone() for name, t in grown.state_dict().items()}
    _learn(grown, target)
    after = grown.state_dict()
    changed = {name for name, t in after.items() if not torch.equal(t, before[name])}
    assert changed == {"gate.head.weight", "gate.head.bias"}
    assert torch.equal(after["gate.head.weight"][:3], before["gate.head.weight"][:3])
    assert torch.equal(after["gate.head.bias"][:3], before["gate.head.bias"][:3])


def test_an_expert_that_is_not_there_raises() -> None:
    grown, _ = _grown()
    with pytest.raises(ValueError, match="expected indices"):
        NewExperts(grown.gate, (None, 4)).parameters(grown)
