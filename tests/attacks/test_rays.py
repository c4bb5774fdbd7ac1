import pytest
import torch
import torch.nn.functional as F
from digits_net import trained_net, unseen
from hypothesis import given, settings
from hypothesis import strategies as st
from linear import Counting, random_linear, right, robust_gap
from torch import Tensor

from morex.attacks import Model, RayS
from morex.attacks.rays import _Rays, _schedule
from morex.perturbations import L1, L2, Ball, Linf


def one_hot(model: Model) -> Model:
    """Return only the model's decisions, as one-hot logits without gradients."""
    return lambda x: F.one_hot(model(x).argmax(1), 10).float()


@pytest.mark.parametrize("ball", [Linf(0.12), L2(1.0)], ids=str)
def test_only_decisions_are_used(ball: Ball) -> None:
    net, (x, y) = trained_net(), unseen(40)
    attack = RayS(ball, queries=200)
    moved = attack(net, x, y)
    assert torch.equal(moved, attack(one_hot(net), x, y))
    assert 0 < (~right(net, moved, y)).sum() < 40


@pytest.mark.parametrize("queries", [1, 2, 57])
def test_the_budget_is_spent_exactly_and_never_exceeded(queries: int) -> None:
    net, (x, y) = trained_net(), unseen(40)
    counting = Counting(net)
    RayS(Linf(1e-4), queries=queries)(counting, x, y)  # nothing falls at this radius
    clean = int(right(net, x, y).sum())
    assert clean < 40
    assert counting.calls == [40] + [clean] * (queries - 1)


def test_fooled_examples_are_not_queried_again() -> None:
    net, (x, y) = trained_net(), unseen(40)
    counting = Counting(net)
    moved = RayS(Linf(0.25), queries=150)(counting, x, y)
    survivors = int(right(net, moved, y).sum())
    assert counting.calls == sorted(counting.calls, reverse=True)
    assert sum(counting.calls) < 0.5 * 40 * 150
    assert counting.calls[-1] in (survivors, survivors + 1)


def test_misclassified_images_come_back_unchanged_for_one_query() -> None:
    net, (x, _) = trained_net(), unseen(40)
    counting = Counting(net)
    wrong = (net(x).argmax(1) + 1) % 10
    assert torch.equal(RayS(L2(0.1))(counting, x, wrong), x)
    assert counting.calls == [40]


@settings(deadline=None, max_examples=20)
@given(
    kind=st.sampled_from([Linf, L2]),
    eps=st.floats(0, 2),
    queries=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
def test_results_are_in_ball_and_box(kind: type[Ball], eps: float, queries: int, seed: int) -> None:
    model, x, y = random_linear(3, seed=seed, margin=0.0, count=8)
    x[0], x[1] = 0, 1
    ball = kind(eps)
    moved = RayS(ball, queries)(model, x, y)
    assert moved.amin() >= 0
    assert moved.amax() <= 1
    assert ball.norm(moved - x).amax() <= eps + 1e-6


@pytest.mark.parametrize("margin", [0.4, 0.0], ids=["free", "box-active"])
def test_on_linear_models_linf_rays_reach_the_boundary(margin: float) -> None:
    # The best ray is sign(w): an example falls if and only if its boundary is within eps.
    model, x, y = random_linear(2, seed=3, margin=margin, count=60)
    ball = Linf(0.02) if margin == 0.0 else Linf(0.004)
    moved = RayS(ball, 600, tolerance=1e-4)(model, x, y)
    stands = right(model, moved, y)
    assert stands[robust_gap(model, ball, x, y) > 0].all()
    assert not stands[robust_gap(model, ball.scaled(0.97), x, y) < 0].any()
    assert 10 < stands.sum() < 50


def test_on_linear_models_l2_rays_come_as_close_as_sign_vectors_can() -> None:
    # Among sign vectors the best is sign(w), which gains eps ||w||_1 / sqrt(D) and no more.
    model, x, y = random_linear(2, seed=3, margin=0.4, count=60)
    logits = model(x).detach()
    margins = (logits.gather(1, y[:, None]) - logits.gather(1, 1 - y[:, None])).flatten()
    w = (model.weight[0] - model.weight[1]).detach()
    gain = 0.03 * w.abs().sum() / len(w) ** 0.5
    stands = right(model, RayS(L2(0.03), 600, tolerance=1e-4)(model, x, y), y)
    assert torch.equal(stands[margins > gain], torch.ones_like(stands[margins > gain]))
    assert not stands[margins < 0.97 * gain].any()
    assert 10 < stands.sum() < 50


@pytest.mark.parametrize("ball", [Linf(0.03), L2(0.3)], ids=str)
def test_batching_changes_nothing(ball: Ball) -> None:
    model, x, y = random_linear(3, seed=6, margin=0.0, count=8)
    attack = RayS(ball, queries=80)
    together = attack(model, x, y)
    alone = torch.cat([attack(model, x[n : n + 1], y[n : n + 1]) for n in range(8)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    assert 0 < right(model, together, y).sum() < 8


@pytest.mark.parametrize("ball", [Linf(0.12), L2(1.0)], ids=str)
def test_more_queries_never_break_fewer(ball: Ball) -> None:
    net, (x, y) = trained_net(), unseen(40)
    stands = [right(net, RayS(ball, queries=q)(net, x, y), y) for q in (20, 60, 180)]
    assert not (stands[1] & ~stands[0]).any()
    assert not (stands[2] & ~stands[1]).any()
    assert stands[2].sum() < stands[0].sum()


def test_a_huge_radius_fools_everything() -> None:
    net, (x, y) = trained_net(), unseen(100)
    for ball in (Linf(0.7), L2(7.0)):
        assert right(net, RayS(ball, queries=500)(net, x, y), y).float().mean() <= 0.02


def test_the_planted_corner_is_found() -> None:
    # Fooled only near the corner of the ball whose signs differ in the second half of the pixels.
    x = torch.full((1, 1, 4, 4), 0.5)
    corner = torch.ones(1, 1, 4, 4)
    corner[..., 2:, :] = -1

    def model(z: Tensor) -> Tensor:
        agreeing = ((z - x) * corner).flatten(1).amin(1)
        return torch.stack([torch.zeros_like(agreeing), agreeing - 0.05], 1)

    y = torch.zeros(1, dtype=torch.int64)
    moved = RayS(Linf(0.06), queries=20, tolerance=1e-3)(model, x, y)
    assert model(moved).argmax(1).item() == 1


@pytest.mark.parametrize("ball", [Linf(8 / 255), L2(0.5)], ids=str)
def test_a_boundary_just_inside_the_ball_is_found_whatever_the_tolerance(ball: Ball) -> None:
    x = torch.rand(50, 1, 4, 4, generator=torch.Generator().manual_seed(0)) / 2

    def model(z: Tensor) -> Tensor:
        over = (z - x[: len(z)]).flatten(1).norm(dim=1) / 4 - bound
        return torch.stack([torch.zeros_like(over), over], 1)

    bound = 0.9999 * ball.eps / (1 if isinstance(ball, Linf) else 4)
    y = torch.zeros(50, dtype=torch.int64)
    moved = RayS(ball, queries=20, tolerance=0.01)(model, x, y)
    assert not (model(moved).argmax(1) == 0).any()
    assert (ball.norm(moved - x) <= ball.eps).all()


@settings(deadline=None, max_examples=30)
@given(pixels=st.integers(1, 300))
def test_every_level_of_the_schedule_covers_each_pixel_once(pixels: int) -> None:
    blocks, finest = _schedule(pixels, torch.device("cpu"))
    assert blocks[0].tolist() == [0, 0]
    assert blocks[1].tolist() == [0, pixels]
    assert blocks[finest:].tolist() == [[n, n + 1] for n in range(pixels)]
    starts = torch.nonzero(blocks[1:, 0] == 0).flatten() + 1
    for level in torch.tensor_split(blocks, starts)[1:]:
        assert level[-1, 1] == pixels
        assert torch.equal(level[1:, 0], level[:-1, 1])


def test_after_the_schedule_the_finest_level_is_repeated() -> None:
    x = torch.full((1, 1, 2, 2), 0.5)
    rays, asked = _Rays(Linf(0.1), x, 1e-3), list[int]()
    for _ in range(2 * len(rays.blocks)):
        asked.append(int(rays.block))
        rays.learn(rays.ask(), torch.tensor([False]))
    assert asked == [*range(8), *[4, 5, 6, 7] * 2]


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), radius=st.floats(0.01, 6.0), binary=st.booleans())
def test_an_l2_stride_reaches_its_radius_and_no_further(
    seed: int, radius: float, binary: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(5, 3, 4, 4, generator=generator, dtype=torch.float64)
    x = x.round() if binary else x
    ball = L2(1.0)
    rays = _Rays(ball, x, 1e-3)
    signs = torch.randn(x.shape, generator=generator).sign().double().flatten(1)
    stride = rays._stride(signs, x.new_full((5,), radius))
    moved = (x.flatten(1) + stride[:, None] * signs).clamp(0, 1).view_as(x)
    length, most = ball.norm(moved - x), ball.norm((x + signs.view_as(x)).clamp(0, 1) - x)
    goal = most.clamp(max=radius)
    assert (length <= goal * (1 + 1e-9)).all()
    assert (length >= goal * 0.97).all()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"perturbation": L1(1.0)}, "Linf or L2 ball"),
        ({"perturbation": (L2(1.0),)}, "Linf or L2 ball"),
        ({"queries": 0}, "queries >= 1"),
        ({"tolerance": 0.0}, "tolerance > 0"),
        ({"tolerance": float("nan")}, "tolerance must be a finite number, got nan"),
    ],
    ids=str,
)
def test_bad_settings_raise(bad: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RayS(**{"perturbation": L2(1.0), **bad})
