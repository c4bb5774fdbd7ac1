"""Every perturbation on images of one pixel and of odd sides, and with float64 as the default."""

import pytest
import torch
from torch import Tensor

from morex.perturbations import (
    L1,
    L2,
    Ball,
    Brightness,
    Chain,
    Clean,
    Contrast,
    DefocusBlur,
    Elastic,
    Fog,
    GaussianNoise,
    ImpulseNoise,
    Jpeg,
    Linf,
    MotionBlur,
    Occlusion,
    Pixelate,
    Rain,
    RotateTranslate,
    Saturation,
    Scale,
    Shear,
    ShotNoise,
    Snow,
    Transform,
    ZoomBlur,
)

CORRUPTIONS = [
    *(Brightness, Contrast, DefocusBlur, Elastic, GaussianNoise, ImpulseNoise, Jpeg, MotionBlur),
    *(Pixelate, Saturation, ShotNoise, ZoomBlur),
]
TRANSFORMS: list[Transform] = [
    *(kind(severity) for kind in CORRUPTIONS for severity in (1, 2, 3, 4, 5)),
    *(Clean(), Fog(0.5, 0.7), Snow(2.3), Rain(), Rain(1500.0, 1), Occlusion(), Occlusion(0.0)),
    *(RotateTranslate(30, 3), Scale(20), Shear(20), Chain((Fog(0.0, 1.0), Snow(1.5), Rain()))),
]
SIZES = [(1, 1), (2, 2), (3, 3), (7, 7), (8, 8), (13, 13), (1, 8), (13, 1), (2, 1), (3, 7)]
BALLS: list[Ball] = [Linf(0.1), L2(0.5), L1(2.0)]

every_transform = pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
every_ball = pytest.mark.parametrize("ball", BALLS, ids=str)


def images(size: tuple[int, int]) -> Tensor:
    drawn = torch.randint(256, (5, 3, *size), generator=torch.Generator().manual_seed(1))
    return drawn.to(torch.float32) / 255


def moved(transform: Transform, x: Tensor) -> Tensor:
    return transform(x, generator=torch.Generator().manual_seed(2))


@every_transform
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_transforms_of_every_size_are_in_range(transform: Transform, dtype: torch.dtype) -> None:
    for size in SIZES:
        x = images(size).to(dtype)
        before = x.clone()
        result = moved(transform, x)
        assert (result.shape, result.dtype) == (x.shape, dtype)
        assert result.isfinite().all()
        assert result.min() >= 0
        assert result.max() <= 1
        assert torch.equal(x, before)


@every_transform
def test_the_default_type_changes_nothing(transform: Transform) -> None:
    expected = [moved(transform, images(size)) for size in SIZES]
    torch.set_default_dtype(torch.float64)
    try:
        results = [moved(transform, images(size)) for size in SIZES]
    finally:
        torch.set_default_dtype(torch.float32)
    for result, value in zip(results, expected, strict=True):
        assert result.dtype == torch.float32
        assert torch.equal(result, value)


def walked(ball: Ball, x: Tensor) -> Tensor:
    """Return images after a random start, a steepest step and a projection."""
    generator = torch.Generator().manual_seed(3)
    start = ball.random_start(x, generator)
    return ball.project(start + ball.steepest_step(x - 0.3, ball.eps, start), x)


@every_ball
def test_the_default_type_changes_no_ball(ball: Ball) -> None:
    expected = [walked(ball, images(size)) for size in SIZES]
    torch.set_default_dtype(torch.float64)
    try:
        results = [walked(ball, images(size)) for size in SIZES]
    finally:
        torch.set_default_dtype(torch.float32)
    for result, value, size in zip(results, expected, SIZES, strict=True):
        assert result.dtype == torch.float32
        assert torch.equal(result, value)
        assert (ball.norm(result - images(size)) <= ball.eps * (1 + 1e-5)).all()


def test_defocus_of_one_pixel_changes_nothing() -> None:
    x = images((1, 1))
    for severity in (1, 2, 3, 4, 5):
        assert torch.equal(DefocusBlur(severity)(x, generator=torch.Generator()), x)


def test_defocus_of_one_row_is_that_of_equal_rows() -> None:
    x = images((1, 9))
    tall = DefocusBlur(5)(x.repeat(1, 1, 4, 1), generator=torch.Generator())
    assert torch.equal(DefocusBlur(5)(x, generator=torch.Generator()), tall[:, :, 1:2])
