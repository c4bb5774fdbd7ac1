"""Balls against slow oracles in float64, linear programs and closed forms."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from scipy.stats import kstest
from torch import Tensor

from morex.core.asking import as_on_an_accelerator
from morex.perturbations import L1, L2, Ball, Linf

BALLS: list[type[Ball]] = [Linf, L2, L1]
ORDER = {Linf: np.inf, L2: 2, L1: 1}
DUAL = {Linf: 1, L2: 2, L1: np.inf}

each_ball = pytest.mark.parametrize("kind", BALLS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 8, side: int = 6, seed: int = 0) -> Tensor:
    """Images with many pixels at and near the faces of the box, where projections are hard."""
    x = torch.rand(n, 3, side, side, generator=seeded(seed)) * 1.6 - 0.3
    return x.clamp(0, 1)


def vector(*values: float) -> Tensor:
    """Return one image that is a row of pixels."""
    return torch.tensor(values).view(1, 1, 1, -1)


def oracle(kind: type[Ball], moved: Tensor, x: Tensor, eps: float) -> np.ndarray:
    """Project one image in float64 by 200 halvings of the dual variable."""
    centre, d = x.double().numpy(), (moved.double() - x.double()).numpy()

    def candidate(multiplier: float) -> np.ndarray:
        if kind is Linf:
            kept = np.clip(d, -eps, eps)
        elif kind is L2:
            kept = d / (1 + multiplier)
        else:
            kept = np.sign(d) * np.maximum(np.abs(d) - multiplier, 0)
        return np.clip(centre + kept, 0, 1)

    def fits(multiplier: float) -> bool:
        moves = np.abs(candidate(multiplier) - centre)
        return bool((moves.sum() if kind is L1 else np.sqrt((moves**2).sum())) <= eps)

    if kind is Linf or fits(0):
        return candidate(0)
    low, high = 0.0, 1e12
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return candidate(high)


def assert_inside(ball: Ball, z: Tensor, x: Tensor) -> None:
    assert z.min() >= 0
    assert z.max() <= 1
    reach = np.linalg.norm((z.double() - x.double()).flatten(1), ORDER[type(ball)], axis=1)
    # Pixels of float32 are rounded by up to 3e-8; in l_1 these errors add up, as a random walk.
    rounding = 1e-7 * (math.sqrt(x[0].numel()) if isinstance(ball, L1) else 1)
    assert (reach <= ball.eps * (1 + 1e-6) + rounding).all()


@each_ball
@pytest.mark.parametrize("eps", [1e-3, 8 / 255, 0.5, 3.0, 30.0])
@pytest.mark.parametrize("spread", [1e-3, 0.1, 3.0, 1000.0])
def test_projection_is_the_nearest_feasible_point(
    kind: type[Ball], eps: float, spread: float
) -> None:
    ball, x = kind(eps), images()
    moved = x + spread * torch.randn(x.shape, generator=seeded(1))
    z = ball.project(moved, x)
    assert_inside(ball, z, x)
    for n in range(len(x)):
        # 1000 away, distance and cut are only known to 6e-5 each in float32.
        np.testing.assert_allclose(
            z[n], oracle(kind, moved[n], x[n], eps), atol=3e-6 + 2e-7 * spread
        )
    again = ball.project(z, x)
    torch.testing.assert_close(again, z, atol=1e-6, rtol=0)
    wide = ball.project(moved.double(), x.double())
    for n in range(len(x)):
        expected = oracle(kind, moved[n], x[n], eps)
        np.testing.assert_allclose(wide[n], expected, atol=1e-6 * max(1, eps), rtol=0)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), eps=st.floats(0.01, 2), kind=st.sampled_from([L2, L1]))
def test_projection_agrees_with_a_general_solver(seed: int, eps: float, kind: type[Ball]) -> None:
    rng = np.random.default_rng(seed)
    n = 4
    x, moved = rng.choice([0, 0.1, 0.5, 0.95, 1], n), rng.normal(0.5, 1, n)

    # z = x + up - down makes the l_1 norm linear.
    def move(v: np.ndarray) -> np.ndarray:
        return v[:n] - v[n:]

    def slack(v: np.ndarray) -> float:
        return eps - v.sum() if kind is L1 else eps**2 - (move(v) ** 2).sum()

    found = minimize(
        lambda v: ((x + move(v) - moved) ** 2).sum(),
        np.full(2 * n, 1e-3),
        bounds=[(0, 1 - a) for a in x] + [(0, a) for a in x],
        constraints={"type": "ineq", "fun": slack},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    as_images = [torch.from_numpy(v).view(1, 1, 1, n) for v in (moved, x)]
    z = kind(eps).project(*as_images).flatten().numpy()
    assert ((z - moved) ** 2).sum() <= found.fun + 1e-6
    np.testing.assert_allclose(z, x + move(found.x), atol=2e-3)


def test_projections_by_hand() -> None:
    x = vector(0.5, 0.5, 1.0)
    moved = vector(0.8, 0.1, 2.0)  # the last pixel has no room
    torch.testing.assert_close(Linf(0.2).project(moved, x), vector(0.7, 0.3, 1.0))
    torch.testing.assert_close(L2(0.25).project(moved, x), vector(0.65, 0.3, 1.0))
    torch.testing.assert_close(L1(0.3).project(moved, x), vector(0.6, 0.3, 1.0))
    # Projecting on the ball alone would spend all of eps = 0.3 on the last pixel, which then clips.


@each_ball
def test_points_inside_stay_to_the_last_bit(kind: type[Ball]) -> None:
    x, ball = images(), kind(0.5)
    inside = (x + 0.5 / 108 * (2 * torch.rand(x.shape, generator=seeded(2)) - 1)).clamp(0, 1)
    assert torch.equal(ball.project(inside, x), inside)
    anywhere = torch.rand(x.shape, generator=seeded(3))
    assert torch.equal(kind(200.0).project(anywhere, x), anywhere)


@each_ball
def test_wild_points_are_projected_into_the_ball(kind: type[Ball]) -> None:
    x = images()
    for eps in (1e-6, 0.1, 5.0):
        for scale in (1e-30, 1e10, 1e30, 3e38):
            uneven = torch.linspace(-40, 0, x[0].numel()).exp().view(x[0].shape)
            sign = torch.randn(x.shape, generator=seeded(3)).sign()
            assert_inside(kind(eps), kind(eps).project(x + scale * uneven * sign, x), x)


@each_ball
def test_norms_are_numpys(kind: type[Ball]) -> None:
    delta = torch.randn(5, 3, 4, 4, generator=seeded())
    for scale in (1.0, 1e-30, 1e30):
        flat = (delta * scale).double().flatten(1).numpy()
        for norm, order in ((kind(1.0).norm, ORDER[kind]), (kind(1.0).dual_norm, DUAL[kind])):
            expected = np.linalg.norm(flat, order, axis=1)
            np.testing.assert_allclose(norm(delta * scale), expected, rtol=1e-5)
    assert kind(1.0).norm(torch.zeros(2, 3, 4, 4)).tolist() == [0, 0]


DIRECTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda u: torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6)),
    "uniform": lambda u: 2 * u - 1,
    "Cauchy": lambda u: torch.tan(math.pi * (u - 0.5)),
    "ten decades": lambda u: torch.where(u > 0.5, 1.0, -1.0) * 10 ** (-10 * (2 * u).frac()),
    "one in fifty": lambda u: (2 * u - 1) * ((1000 * u).frac() < 0.02),
    "all alike": lambda u: torch.where(u > 0.5, 1.0, -1.0),
}
PICTURES: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda u: u,
    "black and white": lambda u: u.round(),
    "mostly black": lambda u: u**8,
    "half of it at its limits": lambda u: (2 * u - 0.5).clamp(0, 1),
    "near its limits": lambda u: 0.02 * u + 0.98 * u.round(),
}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("picture", PICTURES)
def test_on_an_accelerator_few_newton_steps_find_the_same_projection(
    direction: str, picture: str
) -> None:
    for seed, side in enumerate((8, 16, 32)):
        uniform = torch.rand(2, 4, 3, side, side, generator=seeded(seed))
        x, moves = PICTURES[picture](uniform[0]), DIRECTIONS[direction](uniform[1])
        for share in (0.002, 0.01, 0.03, 0.05):  # of the diagonal of the box
            ball = L2(share * math.sqrt(3) * side)
            exact = ball.project(x + moves, x)
            with as_on_an_accelerator():
                few = ball.project(x + moves, x)
            assert torch.allclose(few, exact, rtol=0, atol=1e-5), (side, share)
            assert (ball.norm(few - x) <= ball.eps * (1 + 1e-5)).all()


@each_ball
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30, 1e-40])
def test_steepest_step_attains_the_dual_norm(kind: type[Ball], scale: float) -> None:
    ball, at = kind(1.0), torch.full((6, 3, 4, 4), 0.5)
    gradient = torch.randn(at.shape, generator=seeded()) * scale
    step = ball.steepest_step(gradient, 0.4, at)
    np.testing.assert_allclose(ball.norm(step), 0.4, rtol=1e-5)
    gain = (gradient.double() * step.double()).sum((1, 2, 3))
    np.testing.assert_allclose(gain, 0.4 * ball.dual_norm(gradient.double()), rtol=1e-4)


@each_ball
def test_flat_images_get_no_step(kind: type[Ball]) -> None:
    gradient = torch.randn(3, 3, 4, 4, generator=seeded())
    gradient[1] = 0
    step = kind(1.0).steepest_step(gradient, 0.4, images(3, 4))
    assert not step[1].any()
    assert step[0].any()
    assert not kind(1.0).steepest_step(gradient, 0.0, images(3, 4)).any()


def test_steepest_steps_by_hand() -> None:
    gradient, at = vector(3.0, 0.0, -4.0), vector(0.5, 0.5, 0.5)
    torch.testing.assert_close(Linf(1.0).steepest_step(gradient, 0.1, at), vector(0.1, 0, -0.1))
    torch.testing.assert_close(L2(1.0).steepest_step(gradient, 1.0, at), vector(0.6, 0, -0.8))
    torch.testing.assert_close(L1(1.0).steepest_step(gradient, 0.3, at), vector(0, 0, -0.3))
    torch.testing.assert_close(L1(1.0).steepest_step(gradient, 0.8, at), vector(0.3, 0, -0.5))
    torch.testing.assert_close(L1(1.0).steepest_step(gradient, 9.0, at), vector(0.5, 0, -0.5))
    tied = L1(1.0).steepest_step(vector(2.0, 1.0, -1.0), 1.0, at)
    torch.testing.assert_close(tied, vector(0.5, 0.25, -0.25))


@pytest.mark.parametrize("size", [0.01, 0.3, 2.0, 100.0])
def test_l1_step_solves_the_linear_program(size: float) -> None:
    gradient, at = torch.randn(6, 3, 2, 2, generator=seeded(4)).round(decimals=1), images(6, 2)
    step = L1(1.0).steepest_step(gradient, size, at)
    assert (at + step).min() >= 0
    assert (at + step).max() <= 1
    assert L1(1.0).norm(step).max() <= size * (1 + 1e-6)
    for g, a, d in zip(gradient.flatten(1), at.flatten(1), step.flatten(1), strict=True):
        cost = torch.cat([-g, g]).double().numpy()
        bounds = [(0, 1 - v) for v in a.tolist()] + [(0, v) for v in a.tolist()]
        best = linprog(cost, A_ub=np.ones((1, len(cost))), b_ub=[size], bounds=bounds)
        assert float(g @ d) == pytest.approx(-best.fun, abs=1e-5)


@pytest.mark.parametrize(("eps", "length"), [(16.0, 2.0), (1.0, 8.0), (0.25, 8.0)])
def test_a_step_of_a_search_in_l1_is_the_steepest_in_l2(eps: float, length: float) -> None:
    gradient = torch.randn(2, 3, 4, 4, generator=seeded())
    step = L1(eps).search_step(gradient, 8.0, images(2))
    unit = gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(step, length * unit)


def test_a_step_of_a_radius_in_l1_reaches_the_farthest_points_of_ball_and_box() -> None:
    ball, x = L1(4.0), torch.zeros(1, 1, 3, 3)
    gradient = torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0, 0]).view_as(x)
    torch.testing.assert_close(x + ball.search_step(gradient, 4.0, x), gradient)
    far = ball.project(5 * torch.randn(99, 1, 3, 3, generator=seeded()), x)
    assert L2(0).norm(far - x).max() <= 2 * (1 + 1e-6)


@each_ball
def test_random_starts_are_uniform_in_the_ball(kind: type[Ball]) -> None:
    # Far from the faces of the box: U = (norm / eps)^n is uniform, and so is the direction.
    x = torch.full((4000, 1, 2, 3), 0.5)
    ball = kind(0.3)
    delta = ball.random_start(x, seeded()) - x
    radius = ball.norm(delta) / ball.eps
    assert radius.max() <= 1 + 1e-6
    assert kstest(radius.double().numpy() ** 6, "uniform").pvalue > 0.01
    standard_error = delta.std() / math.sqrt(len(x))
    assert delta.mean(0).abs().max() < 4 * standard_error
    signs = (delta.flatten(1) > 0).int() @ (2 ** torch.arange(6)).int()
    counts = torch.bincount(signs, minlength=64)  # every orthant as often
    assert ((counts - 62.5) ** 2 / 62.5).sum() < 104  # chi-square, 63 degrees, p = 0.001
    # One pixel's marginal has the density (1 - v)^5 (l_1), (1 - v^2)^2.5 (l_2), 1 (l_inf).
    power = {Linf: 1 / 3, L2: 1 / 8, L1: 2 / 56}[kind]  # E (v / eps)^2
    assert (delta / ball.eps).square().mean() == pytest.approx(power, rel=0.05)


@each_ball
def test_random_starts_stay_in_ball_and_box(kind: type[Ball]) -> None:
    x = images(16)
    for eps in (0.0, 8 / 255, 0.5, 20.0):
        start = kind(eps).random_start(x, seeded())
        assert_inside(kind(eps), start, x)
        assert torch.equal(start, kind(eps).random_start(x, seeded()))
        assert torch.equal(start, x) == (eps == 0)
    assert not torch.equal(start, kind(eps).random_start(x, seeded(1)))
    assert not torch.equal(start[0] - x[0], start[1] - x[1])


@each_ball
def test_a_ball_without_radius_is_its_centre(kind: type[Ball]) -> None:
    x = images()
    assert torch.equal(kind(0.0).project(torch.randn(x.shape, generator=seeded()), x), x)


@each_ball
def test_empty_batches_are_allowed(kind: type[Ball]) -> None:
    ball, none = kind(0.5), torch.zeros(0, 3, 4, 4)
    assert ball.project(none, none).shape == none.shape
    assert ball.steepest_step(none, 0.1, none).shape == none.shape
    assert ball.search_step(none, 0.1, none).shape == none.shape
    assert ball.random_start(none, seeded()).shape == none.shape
    assert ball.norm(none).shape == ball.dual_norm(none).shape == (0,)


@each_ball
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_shape_and_dtype_are_kept(
    kind: type[Ball], dtype: torch.dtype, layout: torch.memory_format
) -> None:
    ball = kind(0.5)
    x = images().to(dtype).to(memory_format=layout)
    moved = (x + torch.randn(x.shape, generator=seeded()).to(dtype)).to(memory_format=layout)
    kept = x.clone(), moved.clone()
    results = {
        "project": ball.project(moved, x),
        "step": ball.steepest_step(moved, 0.1, x),
        "search": ball.search_step(moved, 0.1, x),
        "start": ball.random_start(x, seeded()),
    }
    assert torch.equal(x, kept[0])
    assert torch.equal(moved, kept[1])
    for name, result in results.items():
        assert (result.shape, result.dtype) == (x.shape, dtype), name
        assert result.is_contiguous(memory_format=layout), name
    plain = ball.project(moved.contiguous(), x.contiguous())
    torch.testing.assert_close(results["project"], plain)
    assert torch.equal(results["start"], ball.random_start(x.contiguous(), seeded()))
    rounding = torch.finfo(dtype).eps * 108 if dtype.itemsize == 2 else 1e-6
    assert ball.norm(results["project"].double() - x.double()).max() <= 0.5 + rounding


@each_ball
def test_images_of_a_batch_do_not_mix(kind: type[Ball]) -> None:
    ball, x = kind(0.4), images()
    moved = x + torch.randn(x.shape, generator=seeded())
    alone = torch.cat([ball.project(moved[n : n + 1], x[n : n + 1]) for n in range(len(x))])
    torch.testing.assert_close(ball.project(moved, x), alone, atol=1e-6, rtol=0)
    alone = torch.cat(
        [ball.steepest_step(moved[n : n + 1], 1.0, x[n : n + 1]) for n in range(len(x))]
    )
    torch.testing.assert_close(ball.steepest_step(moved, 1.0, x), alone)


@pytest.mark.parametrize(
    ("ball", "text"),
    [
        (Linf(8 / 255), "Linf(eps=8/255)"),
        (Linf(0.03), "Linf(eps=0.03)"),
        (Linf(0.0), "Linf(eps=0)"),
        (L2(0.5), "L2(eps=0.5)"),
        (L2(0.2), "L2(eps=0.2)"),
        (L2(1.0), "L2(eps=1)"),
        (L1(12), "L1(eps=12)"),
        (L1(1e-9), "L1(eps=1e-09)"),
    ],
)
def test_printed_form(ball: Ball, text: str) -> None:
    assert str(ball) == text


@each_ball
def test_scaling_and_bad_radii(kind: type[Ball]) -> None:
    assert kind(0.5).scaled(2) == kind(1.0)
    with pytest.raises(
        ValueError, match=rf"{kind.__name__}: eps must be finite and >= 0, got -0\.1"
    ):
        kind(-0.1)
    for eps in (math.inf, math.nan):
        with pytest.raises(
            ValueError, match=f"{kind.__name__}: eps must be a finite number, got {eps}"
        ):
            kind(eps)
    with pytest.raises(ValueError, match=r"eps must be finite and >= 0, got -0\.5"):
        kind(0.5).scaled(-1)
