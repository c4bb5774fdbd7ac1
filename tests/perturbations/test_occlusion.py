"""Rain and occlusion, drop by drop and pixel by pixel."""

import math

import pytest
import torch
from torch import Tensor

from morex.perturbations import Occlusion, Rain, Transform

BOTH = [Rain(), Rain(drops=1500, length=1), Occlusion(), Occlusion(1.0)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 4, size: tuple[int, int] = (16, 20)) -> Tensor:
    return torch.rand(n, 3, *size, generator=generator(n))


@pytest.mark.parametrize("transform", BOTH, ids=str)
def test_draws_differ_repeat_and_stay_in_range(transform: Transform) -> None:
    x = images(1).repeat(4, 1, 1, 1)
    moved = transform(x, generator=generator(1))
    assert moved.shape == x.shape
    assert moved.dtype == x.dtype
    assert 0 <= moved.amin() <= moved.amax() <= 1
    assert not torch.equal(moved[0], moved[1])
    assert torch.equal(moved, transform(x, generator=generator(1)))
    assert transform(x[:0], generator=generator()).shape == x[:0].shape


def test_no_strength_is_no_change() -> None:
    x = images()
    for transform in BOTH:
        torch.testing.assert_close(transform.scaled(0)(x, generator=generator()), x)


def test_rain_is_drawn_streak_by_streak() -> None:
    rain, x = Rain(drops=12, length=5, grey=0.8, brightness=0.5), images(3, (32, 32))
    moved = rain(x, generator=generator(2))
    again = generator(2)
    top, left = torch.rand((2, 3, 12), generator=again)
    slant = torch.randint(-1, 1, (3, 1), generator=again)
    assert slant.unique().tolist() == [-1, 0]
    expected = x.clone()
    for n in range(3):
        for drop in range(12):
            for k in range(5):
                row = int(top[n, drop] * 32) + k
                column = int(left[n, drop] * 32) + math.floor(int(slant[n]) * k / 5)
                if row < 32 and column >= 0:
                    expected[n, :, row, column] = 0.8
    torch.testing.assert_close(moved, expected * 0.5)


def test_larger_images_get_more_drops() -> None:
    rain = Rain(drops=20, length=1, grey=1.0, brightness=1.0)
    small, large = (rain(torch.zeros(50, 3, s, s), generator=generator()) for s in (32, 64))
    ratio = large[:, 0].sum() / small[:, 0].sum()
    assert 3.8 < ratio < 4.3


def test_occlusion_is_an_ellipse() -> None:
    x = torch.ones(200, 3, 24, 30)
    moved = Occlusion(0.5)(x, generator=generator(3))
    middle_row, middle_column, angle, tall, wide = torch.rand((5, 200), generator=generator(3))
    hidden = 0
    for n in range(0, 200, 20):
        a, b = 1 + float(tall[n]) * 11, 1 + float(wide[n]) * 14
        turn = float(angle[n]) * math.pi
        for row in range(24):
            for column in range(30):
                r = row + 0.5 - float(middle_row[n]) * 24
                c = column + 0.5 - float(middle_column[n]) * 30
                along = (r * math.cos(turn) + c * math.sin(turn)) / a
                across = (c * math.cos(turn) - r * math.sin(turn)) / b
                inside = along**2 + across**2
                if abs(inside - 1) > 1e-3:
                    assert moved[n, 0, row, column] == (0 if inside < 1 else 1)
                    hidden += inside < 1
    assert hidden > 100


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rain(drops=-1), "drops >= 0"),
        (lambda: Rain(length=0), "length >= 1"),
        (lambda: Rain(grey=2), "grey and brightness"),
        (lambda: Rain(brightness=-0.1), "grey and brightness"),
        (lambda: Occlusion(1.5), r"share must be in \[0, 1\]"),
    ],
)
def test_bad_strengths_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
