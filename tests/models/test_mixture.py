from copy import deepcopy
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from morex.artifacts.class_words import NOT_ASKED
from morex.models.answers import expert_answers, logits_and_answers
from morex.models.mixture import Ensemble, LargestLogit, MeanOfExperts, Mixture
from morex.models.routing import sparse

CLASSES = 3


class Expert(nn.Module):
    """A small network with BatchNorm and a last layer called ``head``."""

    def __init__(self, seed: int, outputs: int = CLASSES) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
            self.head = nn.Linear(4 * 2 * 2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


class Constant(nn.Module):
    """Logits that do not depend on the image."""

    def __init__(self, *rows: list[float]) -> None:
        super().__init__()
        self.register_buffer("rows", torch.tensor(rows))
        self.head = nn.Linear(1, len(rows[0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.rows.expand(len(x), -1) if len(self.rows) == 1 else self.rows


class Brightness(nn.Module):
    """Gate scores (s, -s) with s = 4 (mean brightness - 1/2)."""

    def forward(self, x: Tensor) -> Tensor:
        s = 4 * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([s, -s], 1)


def images(n: int = 6) -> Tensor:
    return torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(n))


def experts(m: int = 3) -> dict[str, nn.Module]:
    return {f"e{i}": Expert(i).eval() for i in range(m)}


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in module.state_dict().items()}


def test_the_mixture_is_the_weighted_sum_of_the_formula() -> None:
    parts, gate, x = experts(), Expert(9, outputs=3).eval(), images()
    found = Mixture(parts, gate)(x)
    weights = torch.exp(gate(x))
    for n in range(len(x)):
        expected = sum(
            weights[n, i] / weights[n].sum() * expert(x[n : n + 1])[0]
            for i, expert in enumerate(parts.values())
        )
        torch.testing.assert_close(found[n], expected)


def test_gate_weights_and_expert_logits_are_what_they_say() -> None:
    parts, gate, x = experts(), Expert(9, outputs=3).eval(), images()
    mixture = Mixture(parts, gate)
    torch.testing.assert_close(mixture.gate_weights(x), gate(x).softmax(1))
    assert mixture.expert_names == ("e0", "e1", "e2")
    assert mixture.classes == CLASSES
    for i, expert in enumerate(parts.values()):
        assert torch.equal(mixture.expert_logits(x)[:, i], expert(x))


def test_an_expert_that_was_put_in_training_mode_goes_back_with_the_mixture() -> None:
    mixture = Mixture(experts(), Expert(9, outputs=3))
    mixture.experts[1].train()
    mixture.train()
    assert mixture.gate.training
    assert not any(module.training for module in mixture.experts.modules())


@pytest.mark.parametrize("chosen", range(3))
def test_a_one_hot_gate_gives_exactly_that_expert(chosen: int) -> None:
    parts, x = experts(), images()
    scores = [0.0, 0.0, 0.0]
    scores[chosen] = 1e4
    mixture = Mixture(parts, Constant(scores))
    assert torch.equal(mixture(x), parts[f"e{chosen}"](x))


@settings(deadline=None, max_examples=10)
@given(st.permutations(range(4)))
def test_permuting_experts_and_gate_together_changes_nothing(order: list[int]) -> None:
    parts, gate, x = experts(4), Expert(9, outputs=4).eval(), images()
    permuted = deepcopy(gate)
    permuted.head.weight.data = gate.head.weight.data[order]
    permuted.head.bias.data = gate.head.bias.data[order]
    names = list(parts)
    shuffled = Mixture({names[i]: parts[names[i]] for i in order}, permuted)
    torch.testing.assert_close(shuffled(x), Mixture(parts, gate)(x))
    if order != sorted(order):
        crossed = Mixture({names[i]: parts[names[i]] for i in order}, gate)
        assert not torch.allclose(crossed(x), Mixture(parts, gate)(x))


def test_the_gradient_reaches_the_image_through_the_gate() -> None:
    mixture = Mixture({"a": Constant([1.0, 0.0]), "b": Constant([0.0, 3.0])}, Brightness())
    x = images(2).requires_grad_()
    (gradient,) = torch.autograd.grad(mixture(x)[:, 1].sum(), x)
    # d/ds 3 sigmoid(-2s) = -6 w (1 - w), and ds/dpixel = 4 / 48
    w = mixture.gate_weights(x)[:, 0].view(-1, 1, 1, 1)
    torch.testing.assert_close(gradient, (-6 * w * (1 - w) / 12).expand_as(x))


def test_the_gradient_reaches_the_image_through_the_experts() -> None:
    parts, x = experts(2), images(2).requires_grad_()
    (gradient,) = torch.autograd.grad(Mixture(parts, Constant([0.0, 0.0]))(x).sum(), x)
    (each,) = torch.autograd.grad(sum(e(x).sum() / 2 for e in parts.values()), x)
    torch.testing.assert_close(gradient, each)


def test_fine_tuning_changes_gate_and_last_layers_and_nothing_else() -> None:
    parts, gate = experts(), Expert(9, outputs=3)
    mixture = Mixture(parts, gate)
    originals = {name: state(expert) for name, expert in parts.items()}
    before = state(mixture)
    optimizer = torch.optim.SGD(
        [p for p in mixture.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1
    )
    for _ in range(3):
        mixture.train()
        optimizer.zero_grad()
        F.cross_entropy(mixture(images()), torch.arange(6) % CLASSES).backward()
        optimizer.step()
    for name, tensor in mixture.state_dict().items():
        learns = name.startswith("gate.") or ".head." in name
        assert torch.equal(tensor, before[name]) != learns, name
    for name, expert in parts.items():
        assert all(torch.equal(t, originals[name][k]) for k, t in expert.state_dict().items())


def test_building_a_mixture_leaves_the_experts_alone() -> None:
    expert = Expert(0).train()
    Mixture({"a": expert}, Constant([0.0]))
    assert expert.training
    assert all(p.requires_grad for p in expert.parameters())


def test_only_gate_and_last_layers_ask_for_gradients() -> None:
    mixture = Mixture(experts(2), Expert(9, outputs=2))
    learn = {name for name, p in mixture.named_parameters() if p.requires_grad}
    gate = {f"gate.{name}" for name, _ in mixture.gate.named_parameters()}
    heads = {f"experts.{i}.head.{part}" for i in range(2) for part in ("weight", "bias")}
    assert learn == gate | heads


@pytest.mark.parametrize("mode", [True, False])
def test_experts_stay_in_evaluation_mode(mode: bool) -> None:
    parts = {name: expert.train() for name, expert in experts(2).items()}
    mixture = Mixture(parts, Expert(9, outputs=2).train(mode))
    assert not any(m.training for m in mixture.experts.modules())
    assert mixture.training == mixture.gate.body[1].training == mode
    for again in (True, False, True):
        assert mixture.train(again) is mixture
        assert mixture.training == mixture.gate.body[1].training == again
        assert not any(m.training for m in mixture.experts.modules())
    assert not mixture.eval().gate.training


@pytest.mark.parametrize("kind", [MeanOfExperts, LargestLogit])
def test_experts_of_ungated_mixtures_stay_in_evaluation_mode(kind: type[Ensemble]) -> None:
    mixture = kind({name: expert.train() for name, expert in experts(2).items()})
    assert not any(m.training for m in mixture.experts.modules())
    mixture.train()
    assert not any(m.training for m in mixture.experts.modules())


def test_autocast_combines_in_single_precision() -> None:
    mixture, x = Mixture(experts(), Expert(9, outputs=3).eval()), images()
    with torch.autocast("cpu", torch.bfloat16):
        found, weights, logits = mixture(x), mixture.gate_weights(x), mixture.expert_logits(x)
        scores, choices = mixture.gate(x), mixture.choices(x)
    assert logits.dtype == scores.dtype == torch.bfloat16  # the passes run in bfloat16
    assert choices.dtype == torch.float32
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, (weights[:, :, None] * logits.float()).sum(1))


def test_mean_of_experts_by_hand() -> None:
    mean = MeanOfExperts(
        {"a": Constant([1.0, 2.0]), "b": Constant([3.0, -4.0]), "c": Constant([5.0, 5.0])}
    )
    assert mean(images(2)).tolist() == [[3.0, 1.0]] * 2


def test_largest_logit_by_hand() -> None:
    a = Constant([1.0, 2.0], [9.0, 0.0], [-1.0, -2.0])
    b = Constant([3.0, -4.0], [8.0, 8.5], [-3.0, -9.0])  # large below zero is not large
    found = LargestLogit({"a": a, "b": b})(images(3))
    assert found.tolist() == [[3.0, -4.0], [9.0, 0.0], [-1.0, -2.0]]


@pytest.mark.parametrize("kind", [MeanOfExperts, LargestLogit])
@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_the_order_of_experts_does_not_matter_without_a_gate(
    kind: type[Ensemble], order: tuple[int, ...]
) -> None:
    parts, x = list(experts().values()), images()
    torch.testing.assert_close(
        kind({str(i): parts[i] for i in order})(x), kind(dict(enumerate(parts)))(x)
    )


def test_the_answers_of_experts_and_gate_by_hand() -> None:
    a, b, gate = Constant([1.0, 2.0, 0.0]), Constant([3.0, -4.0, 0.0]), Constant([0.0, 1.0])
    found = expert_answers(Mixture({"a": a, "b": b}, gate), images(2))
    assert found.names == ("a", "b")
    assert found.classes.tolist() == [[1, 0]] * 2
    assert found.weights is not None
    weights = torch.tensor([[0.0, 1.0]] * 2).softmax(1)
    torch.testing.assert_close(found.weights, weights)
    found = expert_answers(MeanOfExperts({"a": a, "b": b}), images(2))
    assert found.classes.tolist() == [[1, 0]] * 2
    assert found.weights is None
    found = expert_answers(Expert(0), images(2))
    assert found.names == ()
    assert found.classes.shape == (2, 0)
    assert found.weights is None


def test_foreign_experts_name_their_last_layers() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, CLASSES)).eval()
    own, x = Expert(0).eval(), images()
    mixture = Mixture(
        {"flat": flat, "own": own}, Constant([0.0, 0.0]), last_layers={"flat": "2", "own": "head"}
    )
    torch.testing.assert_close(mixture(x), (flat(x) + own(x)) / 2)
    assert mixture.experts[0][2].weight.requires_grad
    assert not mixture.experts[0][1].weight.requires_grad
    same = MeanOfExperts({"flat": flat}, last_layers="2")
    assert torch.equal(same(x), flat(x))


def test_bad_experts_raise() -> None:
    gate = Constant([0.0])
    with pytest.raises(ValueError, match="at least one expert"):
        Mixture({}, gate)
    with pytest.raises(ValueError, match=r"'a' has no layer 'fc' .*children are body, head"):
        Mixture({"a": Expert(0)}, gate, last_layers="fc")
    with pytest.raises(ValueError, match=r"'body' of expert 'a' is a Sequential, expected nn\.Lin"):
        Mixture({"a": Expert(0)}, gate, last_layers="body")
    with pytest.raises(ValueError, match="no layer for expert 'b'"):
        Mixture(experts(1) | {"b": Expert(1)}, gate, last_layers={"e0": "head"})
    with pytest.raises(ValueError, match="'b' has 4 classes, but 'e0' has 3"):
        Mixture(experts(1) | {"b": Expert(1, outputs=4)}, gate)


def test_a_gate_of_another_number_of_experts_raises() -> None:
    mixture = Mixture(experts(3), Constant([0.0, 0.0]))
    with pytest.raises(
        ValueError, match=r"returned \(6, 2\) for 6 images; .*each of the 3 experts"
    ):
        mixture(images())


# --- probabilities instead of logits


def test_probabilities_are_weighted_and_answered_as_logarithms() -> None:
    x, parts = images(), experts()
    mixture = Mixture(parts, Expert(9, outputs=3), combine="probabilities").eval()
    weights = mixture.gate_weights(x)
    expected = sum(
        weights[:, i, None] * part(x).softmax(1) for i, part in enumerate(parts.values())
    )
    torch.testing.assert_close(mixture(x).exp(), expected)
    torch.testing.assert_close(mixture(x).exp().sum(1), torch.ones(len(x)))


def test_no_expert_can_outweigh_the_others() -> None:
    quiet, loud = Constant([2.0, 0.0, 0.0]), Constant([-1e6, 1e6, 0.0])
    gate = Constant([0.0, -2.0])
    logits, probabilities = (
        Mixture({"quiet": quiet, "loud": loud}, gate, combine=c).eval()(images())
        for c in ("logits", "probabilities")
    )
    assert (logits.argmax(1) == 1).all()
    assert (probabilities.argmax(1) == 0).all()
    assert probabilities.isfinite().all()


def test_gradients_reach_gate_and_experts_even_if_they_are_certain() -> None:
    x = images().requires_grad_()
    mixture = Mixture(experts(), Expert(9, outputs=3), combine="probabilities").eval()
    with torch.no_grad():
        mixture.last_layers()[0].weight.mul_(1e4)
    F.cross_entropy(mixture(x), torch.zeros(len(x), dtype=torch.int64)).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0


def test_an_unknown_combine_raises() -> None:
    with pytest.raises(ValueError, match="expected logits or probabilities, got 'votes'"):
        Mixture(experts(), Expert(9, outputs=3), combine="votes")


@pytest.mark.parametrize("combine", ["logits", "probabilities"])
def test_in_parts_a_mixture_gives_the_same_bits_and_asks_each_network_once(combine):
    experts = {"a": Expert(0), "b": Expert(1)}
    mixture = Mixture(experts, Expert(2, outputs=2), combine=combine).eval()
    x = images(5)
    expected = mixture(x), mixture.gate_weights(x), mixture.expert_logits(x)
    asked = []
    for network in (*mixture.experts, mixture.gate):
        network.register_forward_hook(lambda module, *_: asked.append(module))
    found, answers = logits_and_answers(mixture, x)
    assert len(asked) == len({*asked}) == 3
    assert torch.equal(found, expected[0])
    assert torch.equal(answers.weights, expected[1])
    assert torch.equal(answers.classes, expected[2].argmax(2))


def test_experts_that_a_sparse_mixture_does_not_ask_say_nothing():
    mixture = Mixture({"a": Expert(0), "b": Expert(1)}, Expert(2, outputs=2)).eval()
    cheap = sparse(mixture, top=1)
    x = images(9)
    found, answers = logits_and_answers(cheap, x)
    assert torch.equal(found, cheap(x))
    weights = mixture.gate_weights(x)
    assert torch.equal(answers.weights, weights)
    asked = torch.nn.functional.one_hot(weights.argmax(1), 2).bool()
    said = mixture.expert_logits(x).argmax(2)
    assert torch.equal(answers.classes, torch.where(asked, said, NOT_ASKED))
