"""The wrapper around AutoAttack: the same result as the library's, and none of its side effects."""

import threading
import warnings
from copy import deepcopy
from typing import Any

import pytest
import torch
from digits_net import trained_net, unseen
from linear import Counting, random_linear, right, robust_gap
from pyautoattack import AutoAttack as Theirs
from torch import Tensor, nn

from morex.attacks import PGD, AutoAttack
from morex.attacks.gradients import FiniteGradients, watched
from morex.evaluation.feasibility import check_feasible
from morex.perturbations import L1, L2, Ball, Fog, Linf

BALLS = [Linf(0.06), L2(0.35), L1(1.5)]


@pytest.mark.parametrize("ball", [Linf(0.02), L2(0.15), L1(0.4)], ids=str)
def test_the_exact_robust_accuracy_of_a_linear_model(ball: Ball) -> None:
    model, x, y = random_linear(4, seed=3, margin=0.0, count=60)
    x, y = x.float(), y
    model = model.float()
    robust = robust_gap(model, ball, x, y) > 0
    attack = AutoAttack(ball, attacks=("apgd-ce", "apgd-t"), steps=40)
    standing = right(model, attack(model, x, y), y)
    assert 0.1 < robust.double().mean() < 0.9
    assert standing[robust].all()
    assert (standing == robust).double().mean() > 0.95


@pytest.mark.parametrize("ball", BALLS, ids=str)
def test_every_attack_finds_something_inside_the_ball(ball: Ball) -> None:
    net, (x, y) = trained_net(), unseen(30)
    for name in ("apgd-ce", "apgd-t", "fab-t", "square"):
        attack = AutoAttack(ball, attacks=(name,), steps=20, queries=200)
        moved = attack(net, x, y)
        check_feasible(ball, x, moved, name)
        assert right(net, moved, y).sum() < right(net, x, y).sum()


def test_the_result_is_the_library_s() -> None:
    net, (x, y) = trained_net(), unseen(60)
    ball = Linf(0.05)
    theirs = Theirs(net, norm="Linf", eps=ball.eps, version="custom", attacks=["apgd-ce"], seed=1)
    theirs.apgd.n_restarts, theirs.apgd.n_iter = 1, 20
    with torch.random.fork_rng(devices=[]):
        moved, _ = theirs.run_standard_evaluation(x, y)
    ours = AutoAttack(ball, attacks=("apgd-ce",), steps=20)(net, x, y)
    gap = right(net, ours, y).sum() - right(net, moved, y).sum()
    assert abs(int(gap)) <= 1  # another seed


def test_blind_searches_are_counted_and_not_only_warned_of() -> None:
    weights = torch.randn(48, 5, generator=torch.Generator().manual_seed(0))

    def steps(x: Tensor) -> Tensor:  # no gradient anywhere where the first pixel is dark
        seen = torch.where(x[:, :1, :1, :1] > 0.5, x, (8 * x).round() / 8)
        return seen.flatten(1) @ weights

    x = torch.rand(30, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    blind = x[:, 0, 0, 0] < 0.5
    x[:, 0, 0, 0] = torch.where(blind, 0.3, 0.7)
    y = steps(x).argmax(1)
    y[:3] = (y[:3] + 1) % 5  # not searched at all
    for names in (("apgd-ce",), ("apgd-t",)):
        with watched(x) as watch, warnings.catch_warnings():
            warnings.simplefilter("error")
            AutoAttack(Linf(0.01), names, steps=3)(steps, x, y)
        expected = blind.clone()
        expected[:3] = False
        assert torch.equal(watch.zero, expected)


def test_a_search_that_is_over_is_not_called_blind() -> None:
    weights = torch.randn(48, 5, generator=torch.Generator().manual_seed(0))

    def flat_beyond(x: Tensor) -> Tensor:  # no gradient where another class is clearly ahead
        logits = x.flatten(1) @ weights
        lead = logits[:, 1:].amax(1) - logits[:, 0]
        return torch.where(lead[:, None] > 0.01, logits.detach(), logits)

    x = torch.rand(200, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    x = x[flat_beyond(x).argmax(1) == 0]
    y = torch.zeros(len(x), dtype=torch.int64)
    for names in (("apgd-ce",), ("apgd-t",)):
        with watched(x) as watch:
            moved = AutoAttack(Linf(0.2), names, steps=10)(flat_beyond, x, y)
        assert not right(flat_beyond, moved, y).any()
        assert not watch.zero.any()


def test_gradients_are_noted_from_whichever_thread_computes_them() -> None:
    x, y = torch.rand(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64)
    with watched(x) as watch:
        gradients = FiniteGradients(y)
        leaf = x.clone().requires_grad_()
        seen = gradients.of(leaf).flatten(1)
        factors = torch.tensor([[1.0], [0.0], [torch.inf], [0.0]])
        logits = torch.stack([seen.sum(1), seen.sum(1) - torch.tensor([1, 1, 1, -1])], 1)
        gradients.answered(x, logits)
        thread = threading.Thread(target=(factors * seen).sum().backward)
        thread.start()
        thread.join()
    assert watch.zero.tolist() == [False, True, False, False]  # the last is wrong already
    assert watch.not_finite.tolist() == [False, False, True, False]
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_few_classes_are_enough(classes: int) -> None:
    model, x, y = random_linear(classes, seed=5, margin=0.0, count=30)
    model = model.float()
    attack = AutoAttack(Linf(0.03), steps=10, queries=50)
    moved = attack(model, x.float(), y)
    assert right(model, moved, y).sum() < right(model, x.float(), y).sum()


def test_random_state_weights_and_gradients_stay_the_same() -> None:
    net, (x, y) = deepcopy(trained_net()), unseen(20)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    torch.manual_seed(4)
    before = torch.get_rng_state(), {n: p.clone() for n, p in net.state_dict().items()}
    AutoAttack(L2(0.3), steps=5, queries=20)(net, x, y)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(torch.equal(t, before[1][n]) for n, t in net.state_dict().items())
    assert all((p.grad == 1).all() for p in net.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in net.parameters())


def test_the_seed_decides() -> None:
    net, (x, y) = trained_net(), unseen(20)
    attack = AutoAttack(Linf(0.15), attacks=("square",), queries=60)
    first, again = (attack(net, x, y, generator=torch.Generator().manual_seed(3)) for _ in "ab")
    other = attack(net, x, y, generator=torch.Generator().manual_seed(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_fallen_examples_are_not_attacked_again() -> None:
    net, (x, y) = trained_net(), unseen(40)
    model = Counting(net)
    AutoAttack(Linf(0.5), attacks=("apgd-ce", "square"), steps=20, queries=5000)(model, x, y)
    assert len(model.calls) < 100


def test_it_is_at_least_as_strong_as_pgd() -> None:
    net, (x, y) = trained_net(), unseen(100)
    ball = Linf(0.06)
    strong = AutoAttack(ball, attacks=("apgd-ce", "apgd-t"), steps=30)(net, x, y)
    plain = PGD(ball, steps=20)(net, x, y)
    assert right(net, strong, y).sum() <= right(net, plain, y).sum()


@pytest.mark.parametrize("count", [0, 1])
def test_one_or_no_image(count: int) -> None:
    net, (x, y) = trained_net(), unseen(1)
    moved = AutoAttack(Linf(0.05), steps=3, queries=5)(net, x[:count], y[:count])
    assert moved.shape == x[:count].shape


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), 10) + 0 * x.sum((1, 2, 3))[:, None]


def test_images_that_are_wrong_stay() -> None:
    _, (x, _) = trained_net(), unseen(6)
    moved = AutoAttack(Linf(0.05), steps=3, queries=5)(Constant(), x, torch.full((6,), 3))
    assert torch.equal(moved, x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AutoAttack(Fog(0.1, 0.5)), "needs an Linf, L2 or L1 ball"),
        (lambda: AutoAttack(Linf(0.1), attacks=("apgd",)), "AutoAttack knows apgd-ce"),
        (lambda: AutoAttack(Linf(0.1), attacks=()), "AutoAttack knows"),
        (lambda: AutoAttack(Linf(0.1), attacks=("fab-t", "fab-t")), "AutoAttack knows"),
        (lambda: AutoAttack(Linf(0.1), steps=0), "steps and queries >= 1"),
    ],
)
def test_bad_configurations_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("ball", [Linf(8 / 255), L2(0.5), L1(12.0)], ids=str)
def test_budgets_are_those_of_the_standard_version(ball: Ball) -> None:
    """In L1: five targets, five restarts of the cross-entropy, and the schedule of large radii."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 10))
    attack = AutoAttack(ball)
    theirs = Theirs(net, norm=attack.norm, eps=ball.eps, version="standard", seed=0)
    parts = {"apgd-ce": "apgd", "apgd-t": "apgd_targeted", "fab-t": "fab", "square": "square"}

    def numbers(made: Any) -> dict[str, Any]:
        kept = {k: v for k, v in vars(made).items() if isinstance(v, int | float | str)}
        return {k: v for k, v in kept.items() if k not in ("device", "targeted")}  # set at its run

    for name, part in parts.items():
        made: Any = attack._perturb(name, net, 10, torch.device("cpu"), 0)
        assert numbers(made.__self__) == numbers(getattr(theirs, part)), name
