from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from morex.attacks import AwayFromChoices
from morex.models.extend import regrouped, regrouped_gate
from morex.models.gates import ExtendedGate
from morex.models.mixture import Combine, Mixture
from morex.models.named import load_model
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet
from morex.models.save import save_model
from morex.training.criteria import NewExperts
from morex.training.objectives import Batch

CLASSES = 5


def network(seed: int, outputs: int = CLASSES) -> ResNet:
    config = NetworkConfig("resnet10", 2, outputs, (8, 8), (0.5,) * 3, (0.3,) * 3)
    return ResNet(config, seed=seed).eval()


def mixture(m: int = 3, combine: Combine = "logits") -> Mixture:
    parts = {f"e{i}": network(i) for i in range(m)}
    made = Mixture(parts, network(99, m), combine=combine).eval()
    with torch.no_grad():
        for i, layer in enumerate(made.last_layers()):
            layer.bias.add_(i)  # as after fine-tuning
        made.gate.head.weight.mul_(20)  # so that the gate is not undecided
    return made


def images(n: int = 6) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("combine", ["logits", "probabilities"])
def test_the_same_experts_give_the_same_model(combine: Combine) -> None:
    old, x = mixture(combine=combine), images()
    torch.testing.assert_close(regrouped(old, old.expert_names)(x), old(x), rtol=0, atol=0)


@pytest.mark.parametrize("names", [("e2", "e0", "e1"), ("e1", "e2", "e0")])
def test_the_order_of_the_experts_does_not_matter(names: Sequence[str]) -> None:
    old, x = mixture(), images()
    torch.testing.assert_close(regrouped(old, names)(x), old(x))


def test_the_weight_of_a_removed_expert_goes_to_the_others_in_proportion() -> None:
    old, x = mixture(), images()
    new = regrouped(old, ("e0", "e2"))
    kept = old.gate_weights(x)[:, [0, 2]]
    torch.testing.assert_close(new.gate_weights(x), kept / kept.sum(1, keepdim=True))
    torch.testing.assert_close(new.expert_logits(x), old.expert_logits(x)[:, [0, 2]])


def test_a_new_expert_takes_weight_equally_from_all_at_first() -> None:
    old, x = mixture(), images()
    joined = {"x": network(7), "y": network(8)}
    new = regrouped(old, ("e0", "e1", "e2", "x", "y"), joined)
    weights = new.gate_weights(x)
    torch.testing.assert_close(weights[:, :3], old.gate_weights(x) / 3)
    torch.testing.assert_close(weights[:, 3:], torch.full((6, 2), 1 / 3))
    torch.testing.assert_close(new.expert_logits(x)[:, 3], joined["x"](x))
    torch.testing.assert_close(new.expert_logits(x)[:, :3], old.expert_logits(x))


def test_the_old_mixture_stays_as_it_was() -> None:
    old, x = mixture(), images()
    before = old(x)
    new = regrouped(old, ("e0", "x"), {"x": network(7)})
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.zero_()
    torch.testing.assert_close(old(x), before, rtol=0, atol=0)


def test_only_the_gate_and_the_last_layers_learn() -> None:
    new = regrouped(mixture(), ("e0", "e1", "x"), {"x": network(7)})
    learning = {name for name, p in new.named_parameters() if p.requires_grad}
    heads = {f"experts.{i}.head.{kind}" for i in range(3) for kind in ("weight", "bias")}
    gate = {f"gate.{name}" for name, _ in new.gate.named_parameters()}
    assert learning == heads | gate


@pytest.mark.parametrize(
    ("names", "new", "message"),
    [
        (("e0", "x"), {}, "no expert 'x'"),
        (("e0", "e0"), {}, "contain an expert twice: e0, e0"),
        (("e0", "e1"), {"e1": network(7)}, "already has an expert 'e1'"),
        (("x",), {"x": network(7)}, "no expert would be left"),
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


# --- after an extension


def grown(*joined: str) -> Mixture:
    """A mixture that experts joined, and whose gate is not undecided about them."""
    new = {name: network(10 + i) for i, name in enumerate(joined)}
    made = regrouped(mixture(), ("e0", "e1", "e2", *joined), new)
    assert isinstance(made.gate, ExtendedGate)
    with torch.no_grad():
        for parameter in made.gate.joined.head.parameters():  # type: ignore[union-attr]
            parameter.copy_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4))
            )
    return made


def test_the_weights_are_the_odds_of_each_new_expert_against_all_known_ones() -> None:
    made, x = grown("x", "y"), images()
    assert isinstance(made.gate, ExtendedGate)
    odds = made.gate.joined(x).exp()
    rest = 1 / (1 + odds.sum(1, keepdim=True))
    expected = torch.cat([rest * mixture().gate_weights(x), rest * odds], 1)
    torch.testing.assert_close(made.gate_weights(x), expected)


def test_a_further_expert_leaves_the_others_their_weights_in_proportion() -> None:
    old, x = grown("x"), images()
    new = regrouped(old, ("e0", "e1", "e2", "x", "y"), {"y": network(7)})
    weights = new.gate_weights(x)
    torch.testing.assert_close(weights[:, :4] / weights[:, :4].sum(1, True), old.gate_weights(x))
    torch.testing.assert_close(weights[:, 4], weights[:, :3].sum(1))


@pytest.mark.parametrize("kept", [("e0", "e1", "e2", "y"), ("x", "y"), ("x",)])
def test_the_weight_of_a_removed_new_expert_goes_to_all_others(
    kept: tuple[str, ...],
) -> None:
    old, x = grown("x", "y"), images()
    weights = old.gate_weights(x)[:, [old.expert_names.index(name) for name in kept]]
    new = regrouped(old, kept)
    torch.testing.assert_close(new.gate_weights(x), weights / weights.sum(1, keepdim=True))
    assert isinstance(new.gate, ExtendedGate if "e0" in kept else ResNet)


def test_the_weight_of_a_removed_known_expert_goes_to_the_other_known_ones() -> None:
    old, x = grown("x", "y"), images()
    before, after = old.gate_weights(x), regrouped(old, ("e0", "e2", "x", "y")).gate_weights(x)
    torch.testing.assert_close(after[:, 2:], before[:, 3:])
    torch.testing.assert_close(after[:, 0] / after[:, 1], before[:, 0] / before[:, 2])


def test_the_old_gate_is_left_when_all_new_experts_are_removed() -> None:
    x, new = images(), regrouped(grown("x", "y"), ("e0", "e1", "e2"))
    torch.testing.assert_close(new.gate_weights(x), mixture().gate_weights(x), rtol=0, atol=0)
    assert isinstance(new.gate, ResNet)


def test_an_expert_that_joins_before_one_that_was_known_raises() -> None:
    with pytest.raises(
        ValueError, match="expected first the experts that the gate knew, e0, e1, then those"
    ):
        regrouped(mixture(), ("e0", "x", "e1"), {"x": network(7)})


def test_an_extended_mixture_comes_back_from_its_folder(tmp_path: Path) -> None:
    made, x = grown("x", "y"), images()
    save_model(made, tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, Mixture)
    torch.testing.assert_close(again.gate_weights(x), made.gate_weights(x), rtol=0, atol=0)


def test_the_known_experts_together_and_each_new_one_have_choice_weights() -> None:
    made, x = grown("x", "y"), images()
    weights = made.gate_weights(x)
    expected = torch.cat([weights[:, :3].sum(1, keepdim=True), weights[:, 3:]], 1)
    torch.testing.assert_close(made.choice_weights(x), expected)
    torch.testing.assert_close(mixture().choice_weights(x), mixture().gate_weights(x))


def test_an_attack_on_the_choices_evaluates_only_the_network_beside_the_gate() -> None:
    made, x = grown("x", "y"), images()
    y, weights = torch.zeros(6, dtype=torch.int64), made.gate_weights(x)
    made.experts = torch.nn.ModuleList()  # so that running them raises
    made.gate.known = None
    _, loss = AwayFromChoices((1,))(made, x, y)
    torch.testing.assert_close(loss, -weights[:, 3].log())
    _, known = AwayFromChoices((0,))(made, x, y)
    torch.testing.assert_close(known, -weights[:, :3].sum(1).log())
    with pytest.raises(TypeError, match="has no choice_weights"):
        AwayFromChoices((0,))(network(0), x, y)


# --- what its gate learns


def _grown() -> tuple[Mixture, NewExperts]:
    return regrouped(mixture(), ("e0", "e1", "e2", "x"), {"x": network(7)}), NewExperts(
        ((0,), (1,))
    )


def _dark_is_new() -> Batch:
    member = torch.tensor([0, 1] * 4)
    x = images(8) * (1 - 0.9 * member).view(-1, 1, 1, 1)
    return Batch(x, torch.zeros_like(member), member)


def _learn(grown: nn.Module, criterion: NewExperts, steps: int = 60) -> None:
    batch = _dark_is_new()
    optimizer = torch.optim.Adam(criterion.parameters(grown), 0.01)
    for _ in range(steps):
        grown.train()  # as the loop does
        optimizer.zero_grad()
        criterion.loss(grown, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    grown.eval()


def test_the_loss_is_that_of_the_weight_of_the_right_choices() -> None:
    grown, criterion = _grown()
    batch = _dark_is_new()
    weights = grown.gate_weights(batch.x).double()
    rows = [w[3] if new else w[:3].sum() for w, new in zip(weights, batch.member, strict=True)]
    expected = -torch.stack(rows).log().mean()
    torch.testing.assert_close(
        criterion.loss(grown, batch).double(), expected, rtol=1e-5, atol=1e-6
    )


def test_it_learns_to_name_the_new_expert() -> None:
    grown, criterion = _grown()
    first = criterion.loss(grown, _dark_is_new())
    assert not criterion.hits(grown, _dark_is_new()).all()
    _learn(grown, criterion)
    assert criterion.loss(grown, _dark_is_new()) < first / 2
    assert criterion.hits(grown, _dark_is_new()).all()


def test_a_gate_learns_the_same_before_the_experts_are_there() -> None:
    grown, criterion = _grown()
    gate = regrouped_gate(mixture(), grown.expert_names)
    for model in (grown, gate):
        _learn(model, criterion)
    after = regrouped(mixture(), grown.expert_names, {"x": network(7)}, gate=gate)
    assert after.gate is gate
    for name, value in grown.state_dict().items():
        assert torch.equal(after.state_dict()[name], value), name


def test_a_gate_alone_is_attacked_as_in_the_mixture() -> None:
    grown, _ = _grown()
    x, y = images(), torch.zeros(6, dtype=torch.int64)
    loss = AwayFromChoices((1,))
    for a, b in zip(loss(grown, x, y), loss(grown.gate, x, y), strict=True):
        assert torch.equal(a, b)


def test_on_every_image_the_known_experts_share_their_weight_as_before() -> None:
    grown, criterion = _grown()
    _learn(grown, criterion)
    for x in (images(), 1 - images(50)):  # also images that are unlike those it was trained on
        weights = grown.gate_weights(x)[:, :3]
        torch.testing.assert_close(
            weights / weights.sum(1, keepdim=True), mixture().gate_weights(x), rtol=1e-4, atol=1e-6
        )


def test_only_the_network_beside_the_gate_learns() -> None:
    grown, criterion = _grown()
    before = {name: t.clone() for name, t in grown.state_dict().items()}
    _learn(grown, criterion)
    after = grown.state_dict()
    changed = {name for name, t in after.items() if not torch.equal(t, before[name])}
    assert changed == {name for name in after if name.startswith("gate.joined.")} - {
        "gate.joined.mean",
        "gate.joined.std",
    }


@pytest.mark.parametrize("right", [(2,), (-1,), ()])
def test_an_expert_that_did_not_join_raises(right: tuple[int, ...]) -> None:
    grown, _ = _grown()
    with pytest.raises(ValueError, match="chooses among 2: expected indices below that"):
        NewExperts(((0,), right)).loss(grown, _dark_is_new())


def test_a_mixture_that_no_expert_joined_raises() -> None:
    with pytest.raises(TypeError, match="no expert joined this mixture: its gate is a ResNet"):
        NewExperts(((0,),)).parameters(mixture())
    with pytest.raises(TypeError, match="only a Mixture has a gate"):
        NewExperts(((0,),)).parameters(network(1))
