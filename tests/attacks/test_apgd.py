"""APGD of our own: exact on linear models, and as strong as the library's, example by example."""

import pytest
import torch
from digits_net import trained_net, unseen
from linear import Counting, random_linear, right, robust_gap
from torch import Tensor

from morex.attacks import APGD, PGD, AutoAttack, Targeted
from morex.attacks.apgd import _checks
from morex.attacks.standing import ByHalves, leaving
from morex.attacks.targeted import TowardsTargets
from morex.core.seeding import generator_for
from morex.evaluation.feasibility import check_feasible
from morex.perturbations import L1, L2, Ball, Linf


@pytest.mark.parametrize("ball", [Linf(0.02), L2(0.15)], ids=str)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_exact_robust_accuracy_of_a_linear_model(ball: Ball, classes: int) -> None:
    model, x, y = random_linear(classes, seed=3, margin=0.0, count=60)
    model, x = model.float(), x.float()
    robust = robust_gap(model, ball, x, y) > 0
    for attack in (APGD(ball, steps=40, targets=1), APGD(ball, steps=40, restarts=0, targets=3)):
        moved = attack(model, x, y)
        check_feasible(ball, x, moved, "apgd")
        standing = right(model, moved, y)
        assert standing[robust].all()
        assert (standing == robust).double().mean() > 0.95
    assert 0 < robust.double().mean() < 1


@pytest.mark.parametrize("ball", [Linf(0.06), L2(0.35)], ids=str)
@pytest.mark.parametrize(
    ("names", "runs"), [(("apgd-ce",), (1, 0)), (("apgd-t",), (0, 9))], ids=("ce", "t")
)
def test_as_strong_as_the_library_example_by_example(
    ball: Ball, names: tuple, runs: tuple[int, int]
) -> None:
    net, (x, y) = trained_net(), unseen(40)
    theirs = right(net, AutoAttack(ball, names, steps=20)(net, x, y), y)
    ours = right(net, APGD(ball, 20, *runs)(net, x, y), y)
    assert 0 < theirs.double().mean() < 0.9
    assert (ours & ~theirs).sum() <= 1  # another start
    assert ours.sum() <= theirs.sum() + 1


def wavy(z: Tensor) -> Tensor:
    """Return the logits of a bumpy network in double precision, which always answers 0."""
    draws = generator_for(7, "wavy")
    first, last = (torch.randn(s, generator=draws, dtype=z.dtype) for s in ((48, 40), (40, 5)))
    bumps = 1.4 * torch.sin(3 * z.flatten(1) @ first) @ (last / last.abs().sum(0))
    return bumps + torch.tensor([3.0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("ball", "steps"),
    [*((Linf(0.05), steps) for steps in (2, 3, 12, 22)), *((L2(0.3), steps) for steps in (3, 12))],
)
def test_the_iterates_are_those_of_the_library(
    ball: Ball, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("pyautoattack.autopgd_base")
    x = torch.rand(40, 3, 4, 4, generator=generator_for(7), dtype=torch.float64)
    x, y = 0.3 + 0.4 * x, torch.zeros(40, dtype=torch.int64)  # away from the edges of the box
    start = ball.random_start(x, generator_for(0))
    monkeypatch.setattr(type(ball), "random_start", lambda self, x, generator: start)
    norm = type(ball).__name__
    search = library.APGDAttack(wavy, n_iter=steps, norm=norm, eps=ball.eps, device="cpu")
    search.init_hyperparam(x)
    theirs, stands, _, _ = search.attack_single_run(x, y, x_init=start)
    ours = APGD(ball, steps, targets=0)(wavy, x, y)
    assert stands.all()
    # at its first check the library takes the first step for a rise, whatever it did
    same = (ours - theirs).abs().amax((1, 2, 3)) < 1e-6
    assert same.double().mean() > 0.8


def test_fooled_examples_leave_the_search() -> None:
    net, (x, y) = Counting(trained_net()), unseen(40)
    attack = APGD(Linf(0.3), steps=50)
    assert not right(net, attack(net, x, y), y).any()
    assert sum(net.calls) < 40 * 25


def test_the_checks_are_those_of_autoattack() -> None:
    checks = _checks(100)
    assert [*checks][:4] == [22, 41, 57, 70]
    assert [*checks.values()] == [22, 19, 16, 13, 10, 7, 6, 6]
    assert _checks(1) == {}


def test_examples_may_leave_by_halves() -> None:
    net, (x, y) = trained_net(), unseen(40)
    with leaving(ByHalves(every=2, least=4)):
        by_halves = right(net, APGD(Linf(0.06), 20, targets=2)(net, x, y), y)
    at_once = right(net, APGD(Linf(0.06), 20, targets=2)(net, x, y), y)
    assert abs(int(by_halves.sum()) - int(at_once.sum())) <= 2


def test_the_scaled_margin_is_the_difference_of_logits_ratio() -> None:
    logits = torch.tensor([[4.0, 1.0, 3.0, -2.0, 0.0]])
    y, target = torch.tensor([0]), torch.tensor([1])
    loss = TowardsTargets(target, scaled=True)
    for scaled in (logits, 100 * logits):
        _, value = loss(torch.clone, scaled, y)
        assert value.item() == pytest.approx((1 - 4) / (4 - (1 + 0) / 2))
    _, few = loss(torch.clone, logits[:, :3], y)
    assert few.item() == -3


def test_two_classes_have_one_target() -> None:
    model, x, y = random_linear(2, seed=3, margin=0.0, count=30)
    attack = Targeted(PGD(Linf(0.03), 20), rank=9)
    standing = right(model.float(), attack(model.float(), x.float(), y), y)
    robust = robust_gap(model.float(), Linf(0.03), x.float(), y) > 0
    assert torch.equal(standing, robust)


def test_wrong_budgets() -> None:
    with pytest.raises(ValueError, match="APGD needs an Linf or L2 ball, got L1"):
        APGD(L1(1.0))
    for wrong in ({"steps": 0}, {"targets": -1}, {"restarts": 0, "targets": 0}):
        with pytest.raises(ValueError, match="restarts or targets above 0"):
            APGD(Linf(0.1), **wrong)
