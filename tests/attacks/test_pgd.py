import os
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from digits_net import trained_net, unseen
from hypothesis import given, settings
from hypothesis import strategies as st
from linear import Counting, Linear, random_linear, right, robust_gap
from torch import Tensor, nn

from morex.attacks import PGD, Attack, DeepFool, OfLogits, RayS, cross_entropy, frozen
from morex.core.seeding import generator_for
from morex.perturbations import L1, L2, Ball, Linf

os.environ["GIT_PYTHON_REFRESH"] = "quiet"
import foolbox

BALLS = [Linf(0.06), L2(0.35), L1(1.5)]
LINEAR_BALLS = [Linf(0.02), L2(0.15), L1(0.4)]
ATTACKS: list[Attack] = [
    PGD(Linf(0.1), steps=3),
    PGD(L2(0.5), steps=2, keep="last"),
    PGD(L1(3.0), steps=3, stop_when_fooled=True),
    PGD((Linf(0.1), L2(0.5)), steps=3),
    DeepFool(L2(0.5), steps=3),
    RayS(Linf(0.1), queries=30),
]


def margin_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Return max_{k != y} f_k - f_y, in the precision of the logits."""
    others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return others - logits.gather(1, y[:, None])[:, 0]


def loss_at(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return cross_entropy(model(x), y)


def assert_inside(ball: Ball, moved: Tensor, x: Tensor) -> None:
    assert moved.amin() >= 0
    assert moved.amax() <= 1
    assert ball.norm(moved - x).amax() <= ball.eps + 1e-6


# --- what is known exactly -----------------------------------------------------------------------


@pytest.mark.parametrize("ball", LINEAR_BALLS, ids=str)
@pytest.mark.parametrize("margin", [0.15, 0.0], ids=["free", "box-active"])
def test_pgd_finds_the_exact_robust_accuracy_of_two_class_linear_models(
    ball: Ball, margin: float
) -> None:
    model, x, y = random_linear(2, seed=3, margin=margin, count=120)
    gap = robust_gap(model, ball, x, y)
    robust = gap > 0
    assert 0.2 < robust.double().mean() < 0.9  # a test that could fail both ways
    moved = PGD(ball, steps=40, relative_step=400)(model, x, y)  # in l_1 long steps end at a corner
    clear = gap.abs() > 1e-3
    assert clear.sum() > 110
    assert torch.equal(right(model, moved, y)[clear], robust[clear])


@pytest.mark.parametrize("ball", [Linf(0.4), L2(0.4), L1(0.4)], ids=str)
def test_away_from_the_box_the_gap_is_margin_minus_eps_times_dual_norm(ball: Ball) -> None:
    model, x, y = random_linear(2, seed=5, margin=0.45)
    logits = model(x).detach()
    margin = (logits.gather(1, y[:, None]) - logits.gather(1, 1 - y[:, None])).flatten()
    v = (model.weight[1 - y] - model.weight[y]).detach().view_as(x)
    expected = margin - ball.eps * ball.dual_norm(v)
    torch.testing.assert_close(robust_gap(model, ball, x, y), expected)


@pytest.mark.parametrize("ball", LINEAR_BALLS, ids=str)
def test_pgd_never_breaks_a_certified_example_of_several_classes(ball: Ball) -> None:
    model, x, y = random_linear(5, seed=7, margin=0.0, count=200)
    gap = robust_gap(model, ball, x, y)
    moved = PGD(ball, steps=40, relative_step=5, restarts=2, loss=OfLogits(margin_loss))(
        model, x, y
    )
    survives = right(model, moved, y)
    assert survives[gap > 1e-6].all()
    assert (survives == (gap > 0)).double().mean() > 0.97


@pytest.mark.parametrize("ball", [Linf(0.03), L2(0.3)], ids=str)
def test_one_plain_step_is_the_gradient_step_of_the_norm(ball: Ball) -> None:
    net, (x, y) = trained_net(), unseen(40)
    moved = PGD(ball, steps=1, relative_step=1, random_start=False)(net, x, y)
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy(net(leaf), y).sum(), leaf)
    unit = g.sign() if isinstance(ball, Linf) else g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    if isinstance(ball, Linf):
        expected = (x + ball.eps * unit).clamp(0, 1)
    else:
        expected = ball.project(x + ball.eps * unit, x)
    better = loss_at(net, expected, y) > loss_at(net, x, y)
    assert better.sum() > 35
    torch.testing.assert_close(moved[better], expected[better], rtol=0, atol=1e-6)
    assert torch.equal(moved[~better], x[~better])


# --- a better budget is never worse --------------------------------------------------------------


@pytest.mark.parametrize("ball", [*BALLS, (Linf(0.06), L2(0.5))], ids=str)
def test_more_restarts_never_lower_the_loss_of_an_example(ball: Ball) -> None:
    net, (x, y) = trained_net(), unseen(30)
    losses = [
        loss_at(net, PGD(ball, steps=2, restarts=r)(net, x, y, generator=generator_for(1)), y)
        for r in (1, 2, 4)
    ]
    assert (losses[1] >= losses[0]).all()
    assert (losses[2] >= losses[1]).all()
    assert (losses[2] > losses[0]).any()


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_more_steps_of_the_same_length_never_lower_the_loss(ball: Ball) -> None:
    net, (x, y) = trained_net(), unseen(30)
    losses = [
        loss_at(
            net,
            PGD(ball, steps=n, relative_step=n / 4)(net, x, y, generator=generator_for(1)),
            y,
        )
        for n in (1, 2, 4, 8)
    ]
    for fewer, more in pairwise(losses):
        assert (more >= fewer).all()
    assert (losses[-1] > losses[0] + 0.1).any()


@pytest.mark.parametrize("stop", [False, True])
def test_the_last_iterate_counts(stop: bool) -> None:
    # Three Linf steps of 0.02 along the gradient; the boundary lies between the second and third.
    model = Linear(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.0, -2 * 0.55]))
    x, y = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), torch.tensor([0])
    attack = PGD(Linf(0.06), steps=3, relative_step=1, random_start=False, stop_when_fooled=stop)
    moved = attack(model, x, y)
    assert moved.item() == pytest.approx(0.56)
    assert not right(model, moved, y).any()
    assert right(model, replace(attack, steps=2, relative_step=2 / 3)(model, x, y), y).all()


def test_the_best_iterate_is_kept_and_not_the_last() -> None:
    # The loss peaks at 0.53: steps of 0.05 from 0.5 overshoot to 0.55, back to 0.5, ...
    def model(x: Tensor) -> Tensor:
        peak = -100 * (x.flatten(1) - 0.54).square()
        return torch.cat([torch.zeros_like(peak), peak], 1)

    x, y = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    attack = PGD(Linf(0.05), steps=2, relative_step=2, random_start=False)
    assert attack(model, x, y).item() == pytest.approx(0.55)
    assert replace(attack, keep="last")(model, x, y).item() == pytest.approx(0.5)


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_the_last_iterate_is_returned_without_evaluating_it(ball: Ball) -> None:
    net, (x, y) = trained_net(), unseen(30)
    attack, counting = PGD(ball, steps=3, relative_step=2, keep="last"), Counting(net)
    found = attack(counting, x, y, generator=generator_for(1))
    expected = ball.random_start(x, generator_for(1))
    for _ in range(3):
        leaf = expected.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(net(leaf), y).sum(), leaf)
        step = ball.search_step(gradient, 2 / 3 * ball.eps, expected)
        expected = ball.project(expected + step, x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert counting.calls == [30] * 3
    assert (attack.passes.forward, replace(attack, keep="best").passes.forward) == (3, 4)


@pytest.mark.parametrize("options", [{"restarts": 2}, {"stop_when_fooled": True}])
def test_keep_last_needs_one_full_run(options: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r'keep="last" needs restarts=1 and stop_when_fooled=False, got '
    ):
        PGD(Linf(0.1), keep="last", **options)
    with pytest.raises(ValueError, match="expected best or last, got 'first'"):
        PGD(Linf(0.1), keep="first")  # type: ignore[arg-type]


# --- feasible, and no trace ----------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    kind=st.sampled_from([Linf, L2, L1]),
    eps=st.floats(0, 3),
    steps=st.integers(1, 3),
    relative_step=st.floats(0.1, 50),
    random_start=st.booleans(),
    stop=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_results_are_in_ball_and_box(
    kind: type[Ball],
    eps: float,
    steps: int,
    relative_step: float,
    random_start: bool,
    stop: bool,
    seed: int,
) -> None:
    model, x, y = random_linear(3, seed=seed, margin=0.0, count=8)
    x[0], x[1] = 0, 1
    ball = kind(eps)
    attack = PGD(ball, steps, relative_step, 2, random_start, stop)
    assert_inside(ball, attack(model, x, y, generator=generator_for(seed)), x)
    assert_inside(ball, ball.random_start(x, generator_for(seed)), x)


class Fragile(nn.Module):
    """A network with BatchNorm and dropout in mixed modes, that can be made to raise."""

    def __init__(self, raise_at: int | None = None) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(1), nn.Dropout(0.5)
        self.hidden, self.last = nn.Linear(64, 16), nn.Linear(16, 10)
        self.calls, self.raise_at = 0, raise_at

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.raise_at:
            raise RuntimeError("planned failure")
        assert not any(module.training for module in self.modules())
        assert not any(p.requires_grad for p in self.parameters())
        return self.last(self.drop(self.hidden(self.norm(x).flatten(1)).relu()))


def snapshot(model: Fragile) -> dict[str, object]:
    return {
        "modes": [m.training for m in model.modules()],
        "flags": [p.requires_grad for p in model.parameters()],
        "state": {k: v.clone() for k, v in model.state_dict().items()},
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "random": torch.get_rng_state(),
    }


@pytest.mark.parametrize("raise_at", [None, 1, 2])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: type(a).__name__)
def test_attacks_leave_no_trace(attack: Attack, raise_at: int | None) -> None:
    model, (x, y) = Fragile(raise_at), unseen(12)
    model.train()
    model.norm.eval()
    model.last.weight.requires_grad_(False)
    model.hidden.weight.grad = torch.full_like(model.hidden.weight, 7.0)
    x_before, y_before, before = x.clone(), y.clone(), snapshot(model)
    if raise_at is None:
        labels = attack_labels(model, x)
        attack(model, x, labels)
        assert torch.equal(y, y_before)
    else:
        with pytest.raises(RuntimeError, match="planned failure"):
            attack(model, x, attack_labels(model, x))
    torch.testing.assert_close(snapshot(model), before, rtol=0, atol=0)
    assert torch.equal(x, x_before)


def attack_labels(model: Fragile, x: Tensor) -> Tensor:
    """Return the model's own labels, so that every attack has work to do; resets its counter."""
    kept, model.raise_at = model.raise_at, None
    with frozen(model), torch.no_grad():
        labels = model(x).argmax(1)
    model.calls, model.raise_at = 0, kept
    return labels


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: type(a).__name__)
def test_attacks_work_on_plain_callables_and_repeat_their_bits(attack: Attack) -> None:
    net, (x, y) = trained_net(), unseen(12)
    with torch.no_grad():  # callers may have switched gradients off
        first = attack(lambda z: net(z), x, y)
    assert not first.requires_grad
    assert torch.equal(first, attack(net, x, y))
    assert not torch.equal(first, x)
    assert attack(net, x[:0], y[:0]).shape == (0, 1, 8, 8)


def test_only_the_generator_decides_the_start() -> None:
    net, (x, y) = trained_net(), unseen(12)
    attack = PGD(Linf(0.2), steps=1, relative_step=0.1)
    a, b, c = (attack(net, x, y, generator=generator_for(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


# --- unions: MSD ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_msd_over_one_ball_is_pgd(ball: Ball) -> None:
    net, (x, y) = trained_net(), unseen(20)
    alone, union = PGD(ball, steps=4, restarts=2), PGD((ball,), steps=4, restarts=2)
    results = [attack(net, x, y, generator=generator_for(3)) for attack in (alone, union)]
    assert torch.equal(*results)


def test_one_step_of_msd_takes_each_examples_worst_member() -> None:
    net, (x, y) = trained_net(), unseen(60)
    balls = (Linf(0.06), L2(0.4))
    union = PGD(balls, steps=1, relative_step=1, random_start=False)(net, x, y)
    members = [PGD(b, steps=1, relative_step=1, random_start=False)(net, x, y) for b in balls]
    losses = torch.stack([loss_at(net, m, y) for m in members])
    assert len(losses.argmax(0).unique()) == 2  # each member is the worst somewhere
    torch.testing.assert_close(loss_at(net, union, y), losses.amax(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("random_start", [False, True])
def test_msd_ends_inside_at_least_one_member(random_start: bool) -> None:
    net, (x, y) = trained_net(), unseen(60)
    balls = (Linf(0.06), L2(0.4), L1(2.0))
    moved = PGD(balls, steps=5, random_start=random_start)(net, x, y)
    inside = torch.stack([ball.norm(moved - x) <= ball.eps + 1e-6 for ball in balls])
    assert inside.any(0).all()
    assert not inside.all(0).all()


def test_msd_is_a_useful_attack_on_the_union() -> None:
    net, (x, y) = trained_net(), unseen(100)
    balls = (Linf(0.06), L2(0.4))
    union = right(net, PGD(balls, steps=15)(net, x, y), y)
    members = torch.stack([right(net, PGD(b, steps=15)(net, x, y), y) for b in balls])
    assert union.float().mean() <= members.all(0).float().mean() + 0.05


# --- stopping early ------------------------------------------------------------------------------


@pytest.mark.parametrize("ball", [*BALLS, (Linf(0.06), L2(0.4))], ids=str)
def test_stopping_early_loses_no_decision(ball: Ball) -> None:
    net, (x, y) = trained_net(), unseen(80)
    kept, stopped = (
        right(net, PGD(ball, steps=8, stop_when_fooled=s)(net, x, y), y) for s in (False, True)
    )
    assert kept.any()
    assert not kept.all()
    assert not (stopped & ~kept).any()


def test_stopping_early_evaluates_only_the_remaining_examples() -> None:
    net, (x, y) = trained_net(), unseen(80)
    attack = PGD(Linf(0.08), steps=8, restarts=2, random_start=False, stop_when_fooled=True)
    counting = Counting(net)
    moved = attack(counting, x, y)
    clean, survivors = int(right(net, x, y).sum()), int(right(net, moved, y).sum())
    first, second = counting.calls[:9], counting.calls[9:]
    assert first[:2] == [80, clean]
    assert first == sorted(first, reverse=True)
    assert second == [survivors] * 9  # without random starts nothing new can fall
    counting.calls.clear()
    replace(attack, stop_when_fooled=False)(counting, x, y)
    assert counting.calls == [80] * 18


def test_the_model_is_not_called_once_all_are_fooled() -> None:
    net, (x, y) = trained_net(), unseen(10)
    counting = Counting(net)
    wrong = (net(x).argmax(1) + 1) % 10
    moved = PGD(Linf(0.0), steps=5, restarts=3, stop_when_fooled=True)(counting, x, wrong)
    assert counting.calls == [10]
    torch.testing.assert_close(moved, x, rtol=0, atol=1e-7)
    assert y.shape == (10,)


# --- strength ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ball", [Linf(0.6), L2(8.0), L1(60.0)], ids=str)
def test_a_huge_radius_fools_everything(ball: Ball) -> None:
    net, (x, y) = trained_net(), unseen(100)
    assert right(net, PGD(ball, steps=20)(net, x, y), y).float().mean() <= 0.01


def test_a_network_that_resists_few_pixels_does_not_resist_l1() -> None:
    # A pixel that moves by over 0.2 gains nothing more: it takes many pixels to fool this model.
    x = torch.full((4, 3, 32, 32), 0.5)
    weights = 1 + torch.rand(x[0].shape, generator=torch.Generator().manual_seed(0)) / 10

    def model(z: Tensor) -> Tensor:
        gain = ((z - 0.5).clamp(-0.2, 0.2) + (z - 0.5) / 1000) * weights
        return torch.stack([torch.zeros(len(z)), gain.flatten(1).sum(1) - 11], 1)

    y = torch.zeros(4, dtype=torch.long)
    attack = PGD(L1(12), steps=4, relative_step=2)
    assert not right(model, attack(model, x, y), y).any()


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.6), L1(3.0)], ids=str)
def test_a_planted_region_is_found(ball: Ball) -> None:
    generator = torch.Generator().manual_seed(0)
    x = 0.2 + 0.6 * torch.rand(16, 3, 4, 4, generator=generator)
    direction = torch.randn(x.shape, generator=generator)
    target = ball.project(x + ball.steepest_step(direction, 0.9 * ball.eps, x), x)
    reach = 0.15 * (target - x).flatten(1).norm(dim=1)

    def model(z: Tensor) -> Tensor:
        far = (z - target).flatten(1).norm(dim=1)
        return torch.stack([torch.zeros_like(far), reach - far], 1)

    y = torch.zeros(16, dtype=torch.int64)
    assert (model(x).argmax(1) == 0).all()
    assert (model(ball.random_start(x, generator)).argmax(1) == 0).all()
    moved = PGD(ball, steps=100, relative_step=5, random_start=False)(model, x, y)
    assert (model(moved).argmax(1) == 1).all()


@pytest.mark.parametrize(
    ("ball", "oracle"),
    [(Linf(0.08), foolbox.attacks.LinfPGD), (L2(0.5), foolbox.attacks.L2PGD)],
    ids=["linf", "l2"],
)
def test_pgd_agrees_with_an_independent_one(ball: Ball, oracle: type) -> None:
    net, (x, y) = trained_net(), unseen(200)
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    theirs = oracle(rel_stepsize=0.25, steps=10, random_start=False)
    _, expected, fooled = theirs(model, x, y, epsilons=ball.eps)
    moved = PGD(ball, steps=10, random_start=False)(net, x, y)
    assert 0.2 < fooled.float().mean() < 0.95
    weaker = fooled & right(net, moved, y)
    assert weaker.sum() <= 1
    assert (fooled == ~right(net, moved, y)).float().mean() >= 0.98
    if isinstance(ball, Linf):  # the same iterates, of which ours returns the best
        assert (loss_at(net, moved, y) >= loss_at(net, expected, y) - 1e-4).all()


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((2, 1, 8, 8), 1.5), r"expected values in \[0, 1\]"),
        (torch.full((2, 1, 8, 8), -0.1), r"expected values in \[0, 1\]"),
        (torch.full((2, 1, 8, 8), torch.nan), r"expected values in \[0, 1\]"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "expected floats"),
        (torch.zeros(2, 8, 8), "expected floats of shape"),
    ],
)
def test_bad_images_raise(x: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PGD(Linf(0.1))(trained_net(), x, torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(
    "y", [torch.zeros(3).long(), torch.zeros(2), torch.zeros(2, 1).long(), torch.zeros(2).int()]
)
def test_bad_labels_raise(y: Tensor) -> None:
    with pytest.raises(ValueError, match="labels: expected int64"):
        PGD(Linf(0.1))(trained_net(), torch.zeros(2, 1, 8, 8), y)


@pytest.mark.parametrize(
    "bad",
    [{"steps": 0}, {"restarts": 0}, {"relative_step": 0.0}, {"perturbation": ()}],
    ids=str,
)
def test_bad_budgets_raise(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"PGD (needs|searches)"):
        PGD(**{"perturbation": Linf(0.1), **bad})
