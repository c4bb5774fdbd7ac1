"""Hendrycks' fog, snow, frost, glass blur and spatter against loops with OpenCV and scipy.

The loops follow ``make_cifar_c.py`` of the published code line by line, with the draws of morex.
"""

import math
from collections.abc import Iterator
from importlib.resources import files

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom
from sklearn.datasets import load_sample_images
from torch import Tensor

from morex.perturbations import (
    Corruption,
    Frost,
    GaussianBlur,
    GlassBlur,
    HendrycksFog,
    HendrycksSnow,
    Spatter,
    SpeckleNoise,
)
from morex.perturbations.corruptions.plasma import plasma, plasma_side
from morex.perturbations.corruptions.weather import fogged

every_severity = pytest.mark.parametrize("severity", range(1, 6))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photographs(n: int = 3, side: int = 32) -> Tensor:
    """Return parts of two photographs, (n, 3, side, side), in whole levels."""
    images = [image[::2, ::2] for image in load_sample_images().images]
    parts = [images[k % 2][20 * k :][:side, 30 * k :][:, :side] for k in range(n)]
    return torch.tensor(np.stack(parts)).permute(0, 3, 1, 2).float() / 255


def assert_near(
    moved: Tensor, expected: list[np.ndarray], share: float = 0.01, most: int = 1
) -> None:
    """Compare with images (H, W, 3) from 0 to 255, which are truncated."""
    levels = np.stack([np.clip(image, 0, 255).astype(np.uint8) for image in expected])
    off = (moved * 255).round() - torch.tensor(levels).permute(0, 3, 1, 2)
    assert off.abs().max() <= most
    assert (off != 0).float().mean() < share


def each(x: Tensor) -> list[np.ndarray]:
    return list(x.permute(0, 2, 3, 1).double().numpy())


def published_plasma(draws: Iterator[float], side: int, decay: float) -> np.ndarray:
    """Return heights in [0, 1], point by point."""
    heights, step, wibble = np.zeros((side, side)), side, 100.0

    def mean(*points: tuple[int, int]) -> float:
        near = sum(heights[row % side, column % side] for row, column in points)
        return near / 4 + wibble * wibble * next(draws)

    while step >= 2:
        half, places = step // 2, range(0, side, step)
        for r in places:
            for c in places:
                heights[r + half, c + half] = mean(
                    (r, c), (r + step, c), (r, c + step), (r + step, c + step)
                )
        for r in places:
            for c in places:
                heights[r, c + half] = mean(
                    (r, c), (r, c + step), (r + half, c + half), (r - half, c + half)
                )
        for r in places:
            for c in places:
                heights[r + half, c] = mean(
                    (r, c), (r + step, c), (r + half, c + half), (r + half, c - half)
                )
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / heights.max()


@pytest.mark.parametrize("side", [2, 8, 32])
@pytest.mark.parametrize("decay", [1.75, 3.0])
def test_plasma_is_that_of_the_published_loop(side: int, decay: float) -> None:
    draws = torch.rand((2, side**2 - 1), generator=generator()).double() * 2 - 1
    for found, drawn in zip(plasma(draws, decay), draws.tolist(), strict=True):
        np.testing.assert_allclose(found, published_plasma(iter(drawn), side, decay), atol=1e-12)


@every_severity
def test_fog(severity: int) -> None:
    density, decay = [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)][severity - 1]
    x = photographs() * torch.tensor([1.0, 0.5, 0.8]).view(3, 1, 1, 1)
    drawn = torch.rand((3, 1023), generator=generator(1)).double() * 2 - 1
    expected = []
    for image, draws in zip(each(x), drawn.tolist(), strict=True):
        fog = published_plasma(iter(draws), 32, decay)[..., None]
        most = image.max()
        expected.append((image + density * fog) * most / (most + density) * 255)
    assert_near(HendrycksFog(severity)(x, generator=generator(1)), expected)


def test_fog_has_a_gradient_in_its_draws() -> None:
    x, draws = torch.rand(2, 3, 5, 7).double(), torch.rand(2, 63).double().requires_grad_()
    assert plasma_side(5, 7) == 8
    assert torch.autograd.gradcheck(lambda d: fogged(x, d * 2 - 1, 1.0, 2.0).sum((1, 2, 3)), draws)


def streaked_by_loops(layer: np.ndarray, angle: float, radius: int, deviation: float) -> np.ndarray:
    """Return levels after ImageMagick's motion blur, with repeated borders."""
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * deviation**2))
    height, width = layer.shape
    total = np.zeros(layer.shape)
    for k, weight in enumerate(weights / weights.sum()):
        rows = np.arange(height) + math.ceil(k * math.sin(angle) - 0.5)
        columns = np.arange(width) + math.ceil(k * math.cos(angle) - 0.5)
        total += weight * layer[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)]
    return np.floor(total + 0.5)


@every_severity
def test_snow(severity: int) -> None:
    mean, deviation, factor, least, radius, blur, light = [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ][severity - 1]
    x, draw = photographs(), generator(2)
    normal = torch.randn((3, 1, 32, 32), generator=draw).double().numpy()
    angles = torch.rand((3, 1, 1), generator=draw).flatten().tolist()
    expected = []
    for image, drawn, turn in zip(each(x), normal, angles, strict=True):
        kept = math.ceil(32 / factor)
        top = (32 - kept) // 2
        middle = (drawn[0] * deviation + mean)[top : top + kept, top : top + kept]
        larger = zoom(middle, factor, order=1, mode="nearest")
        trim = (len(larger) - 32) // 2
        layer = larger[trim : trim + 32, trim : trim + 32]
        layer[layer < least] = 0
        layer = (layer.clip(0, 1) * 255).astype(np.uint8).astype(float)
        streaks = streaked_by_loops(layer, math.radians(-135 + 90 * turn), radius, blur) / 255
        grey = (image @ [0.299, 0.587, 0.114])[..., None]
        sky = light * image + (1 - light) * np.maximum(image, grey * 1.5 + 0.5)
        expected.append((sky + (streaks + np.rot90(streaks, k=2))[..., None]) * 255)
    assert_near(HendrycksSnow(severity)(x, generator=generator(2)), expected)


@every_severity
def test_frost(severity: int) -> None:
    kept, ice = [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)][severity - 1]
    x = photographs(8)
    drawn = torch.rand((3, 8), generator=generator(3), dtype=torch.float64).T.tolist()
    folder, expected = files("morex.perturbations.corruptions") / "frost", []
    for image, (which, row, column) in zip(each(x), drawn, strict=True):
        name = ("frost1", "frost2", "frost2", "frost4", "frost5")[int(which * 5)]
        picture = np.array(Image.open(str(folder / f"{name}.png")))
        height, width, _ = picture.shape
        top, left = int(row * (height - 32)), int(column * (width - 32))
        part = picture[top : top + 32, left : left + 32]
        expected.append(kept * 255 * image + ice * part)
    assert_near(Frost(severity)(x, generator=generator(3)), expected)


def test_large_images_have_large_frost() -> None:
    black = torch.zeros(20, 3, 128, 96)
    frozen = Frost(5)(black, generator=generator())
    assert (frozen.amax((1, 2, 3)) > 0.2).all()
    rough = (frozen[..., 1:] - frozen[..., :-1]).abs().mean()
    small = Frost(5)(torch.zeros(20, 3, 32, 32), generator=generator())
    assert rough < 0.5 * (small[..., 1:] - small[..., :-1]).abs().mean()


@every_severity
def test_glass_blur_copies_one_pixel_after_the_other(severity: int) -> None:
    smooth, times = [(0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)][severity - 1]
    x, draw = photographs(), generator(4)
    moves = [torch.randint(-1, 1, (3, 30, 30, 2), generator=draw).numpy() for _ in range(times)]

    def blurred(image: np.ndarray) -> np.ndarray:
        return np.stack(
            [gaussian_filter(image[..., c], smooth, mode="nearest", truncate=4) for c in range(3)],
            axis=2,
        )

    expected = []
    for n, image in enumerate(each(x)):
        levels = (blurred(np.round(image * 255)) + 1e-9).astype(np.uint8)
        for move in moves:
            for h in range(31, 1, -1):
                for w in range(31, 1, -1):
                    dx, dy = move[n, h - 2, w - 2]
                    # views of the array, so this copies, as it does in the published code
                    levels[h, w], levels[h + dy, w + dx] = levels[h + dy, w + dx], levels[h, w]
        expected.append(blurred(levels.astype(float)) + 1e-9)
    assert_near(GlassBlur(severity)(x, generator=generator(4)), expected, most=2)


@every_severity
def test_spatter(severity: int) -> None:
    mean, deviation, smooth, least, strength = [
        (0.62, 0.1, 0.7, 0.7, 0.5),
        (0.65, 0.1, 0.8, 0.7, 0.5),
        (0.65, 0.3, 1, 0.69, 0.5),
        (0.65, 0.1, 0.7, 0.69, 0.6),
        (0.65, 0.1, 0.5, 0.68, 0.6),
    ][severity - 1]
    x = photographs(6)
    normal = torch.randn((6, 1, 32, 32), generator=generator(5))[:, 0].numpy()
    expected = []
    for image, drawn in zip(each(x), normal, strict=True):
        liquid = gaussian_filter(drawn * deviation + mean, smooth, mode="nearest", truncate=4)
        spattered = _water if severity < 4 else _mud
        expected.append(spattered(image, liquid.astype(np.float32), least, strength) * 255)
    assert_near(Spatter(severity)(x, generator=generator(5)), expected)


def _water(image: np.ndarray, liquid: np.ndarray, least: float, strength: float) -> np.ndarray:
    liquid = np.where(liquid < least, 0, liquid)
    levels = (liquid * 255).astype(np.uint8)
    depth = cv2.distanceTransform(255 - cv2.Canny(levels, 50, 150), cv2.DIST_L2, 5)
    _, depth = cv2.threshold(depth, 20, 20, cv2.THRESH_TRUNC)
    relief = cv2.equalizeHist(cv2.blur(depth, (3, 3)).astype(np.uint8))
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    relief = cv2.blur(cv2.filter2D(relief, cv2.CV_8U, emboss), (3, 3)).astype(np.float32)
    water = levels * relief
    return image + (water / water.max() * strength)[..., None] * np.array([175, 238, 238]) / 255


def _mud(image: np.ndarray, liquid: np.ndarray, least: float, smooth: float) -> np.ndarray:
    mud = gaussian_filter((liquid > least).astype(float), smooth, mode="nearest", truncate=4)
    mud = np.where(mud < 0.8, 0, mud)[..., None]
    return image * (1 - mud) + mud * np.array([63, 42, 20]) / 255


@every_severity
def test_gaussian_blur_and_speckles(severity: int) -> None:
    smooth = [0.4, 0.6, 0.7, 0.8, 1][severity - 1]
    deviation = [0.06, 0.1, 0.12, 0.16, 0.2][severity - 1]
    x = photographs()
    sigma = (smooth, smooth, 0)
    blurred = [gaussian_filter(i, sigma, mode="nearest", truncate=4) * 255 for i in each(x)]
    assert_near(GaussianBlur(severity)(x, generator=generator()), blurred, share=0.02)
    noise = each(torch.randn(x.shape, generator=generator(6)))
    noisy = [(i + i * z * deviation) * 255 for i, z in zip(each(x), noise, strict=True)]
    assert_near(SpeckleNoise(severity)(x, generator=generator(6)), noisy)


@pytest.mark.parametrize("kind", [HendrycksFog, HendrycksSnow, Frost, Spatter])
def test_grey_images_are_those_of_equal_channels(kind: type[Corruption]) -> None:
    grey = photographs()[:, :1] * 0.4  # nothing is clipped
    alone = kind(3)(grey, generator=generator())
    coloured = kind(3)(grey.expand(-1, 3, -1, -1), generator=generator())
    if kind in (Frost, Spatter):  # ice and water are bluish
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        coloured = (coloured * weights).sum(1, keepdim=True)
    assert (alone - coloured[:, :1]).abs().max() <= 1.5 / 255 + 1e-6
