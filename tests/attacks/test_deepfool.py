import os

import pytest
import torch
from digits_net import trained_net, unseen
from linear import Counting, random_linear, right, robust_gap
from torch import Tensor, nn

from morex.attacks import DeepFool
from morex.perturbations import L1, L2, Ball, Linf

os.environ["GIT_PYTHON_REFRESH"] = "quiet"
import foolbox

NUDGE = 1e-4


def linear_distance(model: nn.Module, ball: Ball, x: Tensor, y: Tensor) -> Tensor:
    """Return min over k != y of (f_y - f_k) / ||w_k - w_y||_*, away from the box."""
    logits, distances = model(x).detach(), []
    for k in range(logits.shape[1]):
        v = (model.weight[k] - model.weight[y]).detach().view_as(x)
        gap = logits.gather(1, y[:, None])[:, 0] - logits[:, k]
        distances.append(torch.where(y == k, torch.inf, gap / ball.dual_norm(v)))
    return torch.stack(distances).amin(0)


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.1)], ids=str)
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("overshoot", [0.02, 0.5])
def test_on_linear_models_the_distance_is_exact(ball: Ball, classes: int, overshoot: float) -> None:
    model, x, y = random_linear(classes, seed=1, margin=0.4)
    end = DeepFool(ball, overshoot=overshoot).nearest(model, x, y)
    assert not right(model, end, y).any()
    exact = linear_distance(model, ball, x, y)
    assert exact.amax() < 0.25  # the walks end before the box
    expected = (1 + overshoot) * (exact + NUDGE)
    torch.testing.assert_close(ball.norm(end - x), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", [Linf, L2])
@pytest.mark.parametrize("classes", [2, 5])
def test_at_eps_it_breaks_exactly_the_linear_examples_within_eps(
    kind: type[Ball], classes: int
) -> None:
    model, x, y = random_linear(classes, seed=2, margin=0.4, count=200)
    ball = kind(float(linear_distance(model, kind(1.0), x, y).quantile(0.4)))
    gap = robust_gap(model, ball, x, y)
    assert (gap > 0).sum() == 120
    moved = DeepFool(ball)(model, x, y)
    assert torch.equal(right(model, moved, y), gap > 0)
    assert ball.norm(moved - x).amax() <= ball.eps + 1e-6
    assert moved.amin() >= 0
    assert moved.amax() <= 1


@pytest.mark.parametrize(
    ("ball", "oracle"),
    [
        (L2(0.5), foolbox.attacks.L2DeepFoolAttack),
        (Linf(0.06), foolbox.attacks.LinfDeepFoolAttack),
    ],
    ids=["l2", "linf"],
)
@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_decisions_agree_with_an_independent_one(ball: Ball, oracle: type, kind: str) -> None:
    if kind == "conv":
        net, (x, y) = trained_net(), unseen(297)
    else:
        net, x, y = random_linear(12, seed=4, margin=0.0, count=200)
        net, x = net.float().eval(), x.float()
        ball = ball.scaled(0.25)
        net.register_forward_hook(lambda _, __, out: out.float())
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    theirs = oracle(steps=50, candidates=10, overshoot=0.02, loss="logits")
    raw, _, fooled = theirs(model, x, y, epsilons=ball.eps)
    attack = DeepFool(ball, steps=50, candidates=10, overshoot=0.02)
    broken = ~right(net, attack(net, x, y), y)
    assert 0.2 < fooled.float().mean() < 0.9
    assert (broken == fooled).float().mean() >= 0.995
    close = (attack.nearest(net, x, y) - raw).abs().amax((1, 2, 3)) < 1e-3
    assert close.float().mean() >= 0.97


def test_misclassified_images_come_back_unchanged_after_one_query() -> None:
    net, (x, y) = trained_net(), unseen(40)
    counting = Counting(net)
    wrong = (net(x).argmax(1) + 1) % 10
    assert torch.equal(DeepFool(L2(0.1))(counting, x, wrong), x)
    assert counting.calls == [40]
    y[:20] = wrong[:20]
    moved = DeepFool(Linf(0.1))(net, x, y)
    assert torch.equal(moved[:20], x[:20])
    assert not torch.equal(moved[20:], x[20:])


def test_only_standing_examples_are_walked() -> None:
    net, (x, y) = trained_net(), unseen(60)
    counting = Counting(net)
    DeepFool(L2(0.5), steps=10).nearest(counting, x, y)
    assert counting.calls[0] == 60
    assert counting.calls[1] == int(right(net, x, y).sum())
    assert counting.calls == sorted(counting.calls, reverse=True)
    assert counting.calls[-1] < 10


def test_batching_changes_nothing() -> None:
    net, (x, y) = trained_net(), unseen(12)
    attack = DeepFool(L2(0.5))
    alone = torch.cat([attack.nearest(net, x[n : n + 1], y[n : n + 1]) for n in range(12)])
    torch.testing.assert_close(attack.nearest(net, x, y), alone, rtol=0, atol=1e-4)


def test_fewer_candidates_look_at_the_most_likely_classes_only() -> None:
    model, x, y = random_linear(6, seed=8, margin=0.4)
    second = model(x).detach().scatter(1, y[:, None], -torch.inf).argmax(1)
    two = DeepFool(L2(1.0), candidates=2).nearest(model, x, y)
    v = (model.weight[second] - model.weight[y]).detach().view_as(x)
    cosine = torch.cosine_similarity((two - x).flatten(1), v.flatten(1))
    torch.testing.assert_close(cosine, torch.ones_like(cosine))
    every, many = (DeepFool(L2(1.0), candidates=c).nearest(model, x, y) for c in (None, 50))
    assert torch.equal(every, many)
    ball = L2(1.0)
    assert (ball.norm(two - x) >= ball.norm(every - x) - 1e-9).all()
    assert (ball.norm(two - x) > ball.norm(every - x) + 1e-3).any()


def test_a_model_without_gradient_leaves_the_image_where_it_is() -> None:
    def flat(x: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0]) + 0 * x.flatten(1)[:, :2]

    x = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    moved = DeepFool(L2(0.5), steps=3)(flat, x, torch.zeros(3, dtype=torch.int64))
    assert torch.equal(moved, x)


def test_a_huge_radius_fools_everything() -> None:
    net, (x, y) = trained_net(), unseen(100)
    for ball in (Linf(1.0), L2(8.0)):
        assert not right(net, DeepFool(ball)(net, x, y), y).any()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"perturbation": L1(1.0)}, "Linf or L2 ball"),
        ({"perturbation": (L2(1.0),)}, "Linf or L2 ball"),
        ({"steps": 0}, "steps >= 1"),
        ({"overshoot": -0.1}, "overshoot >= 0"),
        ({"overshoot": float("nan")}, "overshoot must be a finite number, got nan"),
        ({"candidates": 1}, "candidates >= 2"),
    ],
    ids=str,
)
def test_bad_settings_raise(bad: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeepFool(**{"perturbation": L2(1.0), **bad})
