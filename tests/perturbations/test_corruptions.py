"""Common corruptions against other libraries, distributions, and plain loops."""

import colorsys
import io
import math
from functools import cache
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates, zoom
from scipy.stats import poisson
from sklearn.datasets import load_sample_images
from torch import Tensor

from morex.perturbations import (
    Brightness,
    Contrast,
    Corruption,
    DefocusBlur,
    Elastic,
    Frost,
    GaussianBlur,
    GaussianNoise,
    GlassBlur,
    HendrycksFog,
    HendrycksSnow,
    ImpulseNoise,
    Jpeg,
    MotionBlur,
    Pixelate,
    Saturation,
    ShotNoise,
    Spatter,
    SpeckleNoise,
    ZoomBlur,
)
from morex.perturbations.corruptions.jpeg import coded
from morex.perturbations.validate import check_perturbation
from morex.recipe.components import PERTURBATIONS

WEATHER = [HendrycksFog, HendrycksSnow, Frost, Spatter]
DRAWN = [
    *(GaussianNoise, ShotNoise, ImpulseNoise, SpeckleNoise, MotionBlur, GlassBlur, Elastic),
    *WEATHER,
]
FIXED = [DefocusBlur, GaussianBlur, ZoomBlur, Brightness, Contrast, Saturation, Jpeg, Pixelate]
KINDS: list[type[Corruption]] = [*DRAWN, *FIXED]
NOT_ORDERED = (Saturation, Elastic, GlassBlur, Frost, Spatter)
SEVERITIES = range(1, 6)
every_severity = pytest.mark.parametrize("severity", SEVERITIES)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def half_photographs() -> list[Tensor]:
    return [torch.tensor(image[::2, ::2].copy()) for image in load_sample_images().images]


def photographs(n: int = 6, side: int = 32, width: int | None = None) -> Tensor:
    """Return parts of two photographs at half their resolution, in whole levels: (n, 3, H, W)."""
    halves = half_photographs()
    wide = width or side
    parts = []
    for k in range(n):
        row, column = 37 * k % 140, 53 * k % 250
        parts.append(halves[k % 2][row : row + side, column : column + wide].permute(2, 0, 1))
    return torch.stack(parts).float() / 255


def off(moved: Tensor, expected: np.ndarray) -> Tensor:
    """Return by how many levels images differ from (N, H, W, C) in [0, 1], truncated to levels."""
    levels = np.floor(np.clip(expected, 0, 1) * 255 + 1e-3)
    return (moved * 255 - torch.tensor(levels).permute(0, 3, 1, 2)).abs()


def last(x: Tensor) -> np.ndarray:
    """Return images as (N, H, W, C) in double precision."""
    return x.permute(0, 2, 3, 1).double().numpy()


@every_severity
def test_gaussian_noise_has_its_deviation(severity: int) -> None:
    deviation = [0.04, 0.06, 0.08, 0.09, 0.10][severity - 1]
    x = photographs()
    moved = GaussianNoise(severity)(x, generator=generator(1))
    noise = torch.randn(x.shape, generator=generator(1))
    assert off(moved, last(x) + deviation * last(noise)).max() <= 1
    middle = GaussianNoise(severity)(torch.full((50, 3, 32, 32), 0.5), generator=generator(2))
    assert middle.std().item() == pytest.approx(deviation, rel=0.01)


@every_severity
@pytest.mark.parametrize("value", [10, 120, 250])
def test_shot_noise_is_poisson(severity: int, value: int) -> None:
    white = [500, 250, 100, 75, 50][severity - 1]
    grey = torch.full((20, 3, 32, 32), value / 255)
    moved = ShotNoise(severity)(grey, generator=generator(3))
    found = torch.bincount((moved * 255).round().long().flatten(), minlength=256) / moved.numel()
    photons = np.arange(2 * white)
    level = np.floor(np.clip(photons / white, 0, 1) * 255 + 1e-3).astype(int)
    expected = np.bincount(level, poisson.pmf(photons, white * value / 255), minlength=256)
    assert np.abs(found.numpy() - expected).sum() < 0.08


@every_severity
def test_impulses_are_black_and_white_values(severity: int) -> None:
    share = [0.01, 0.02, 0.03, 0.05, 0.07][severity - 1]
    x = torch.full((200, 3, 32, 32), 100 / 255)
    moved = ImpulseNoise(severity)(x, generator=generator(4))
    for value in (0, 1):
        assert (moved == value).float().mean().item() == pytest.approx(share / 2, rel=0.05)
    kept = (moved > 0) & (moved < 1)
    assert torch.equal(moved[kept], x[kept])
    whole_pixels = (~kept).all(1).float().mean().item()
    assert whole_pixels == pytest.approx(share**3, abs=2e-4)  # channels by themselves


@every_severity
@pytest.mark.parametrize("side", [32, 8])
def test_defocus_is_a_disk_by_opencv(severity: int, side: int) -> None:
    radius, smooth = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)][severity - 1]
    place = np.arange(-8, 9)
    disk = (place[:, None] ** 2 + place**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), (3, 3), smooth)
    x = photographs(side=side)
    expected = np.stack([cv2.filter2D(image, -1, kernel) for image in last(x)])
    difference = off(DefocusBlur(severity)(x, generator=generator()), expected)
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.03


@every_severity
def test_motion_is_summed_pixel_by_pixel(severity: int) -> None:
    radius, deviation = [(6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)][severity - 1]
    x = photographs(3, 16, 20)
    moved = MotionBlur(severity)(x, generator=generator(5))
    angles = (torch.rand((3, 1, 1), generator=generator(5)).double().flatten() * 2 - 1) * 45
    weights = [math.exp(-(k**2) / (2 * deviation**2)) for k in range(2 * radius + 1)]
    images, expected = last(x), np.zeros((3, 16, 20, 3))
    for n, row, column in np.ndindex(3, 16, 20):
        angle = math.radians(angles[n])
        for k, weight in enumerate(weights):
            down = min(max(row + math.ceil(k * math.sin(angle) - 0.5), 0), 15)
            right = min(column + math.ceil(k * math.cos(angle) - 0.5), 19)
            expected[n, row, column] += images[n, down, right] * weight / sum(weights)
    difference = off(moved, expected)
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.05


@every_severity
@pytest.mark.parametrize("side", [32, 8, 20])
def test_zoom_is_that_of_scipy(severity: int, side: int) -> None:
    x = photographs(3, side)
    images, total = last(x), last(x)
    factors = np.arange(1, [1.06, 1.11, 1.16, 1.21, 1.26][severity - 1], 0.01)
    for factor in factors:
        kept = math.ceil(side / factor)
        top = (side - kept) // 2
        middle = images[:, top : top + kept, top : top + kept]
        larger = zoom(middle, (1, factor, factor, 1), order=1, mode="nearest")
        trim = (larger.shape[1] - side) // 2
        total = total + larger[:, trim : trim + side, trim : trim + side]
    difference = off(ZoomBlur(severity)(x, generator=generator()), total / (len(factors) + 1))
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.02


def by_hsv(x: Tensor, change) -> np.ndarray:
    """Return images whose pixels are changed in hue, saturation and value, one by one."""
    pixels = [colorsys.rgb_to_hsv(*pixel) for pixel in last(x).reshape(-1, 3)]
    back = [colorsys.hsv_to_rgb(*change(*pixel)) for pixel in pixels]
    return np.array(back).reshape(len(x), *x.shape[2:], 3)


def colours() -> Tensor:
    x = photographs(2, 16)
    x[0, :, 0], x[0, :, 1] = 0, 1  # black and white
    x[0, :, 2], x[1, 1:, 0] = 0.2, 0  # grey and pure red
    return x


@every_severity
def test_brightness_is_the_value_of_hsv(severity: int) -> None:
    more = [0.05, 0.1, 0.15, 0.2, 0.3][severity - 1]
    expected = by_hsv(colours(), lambda h, s, v: (h, s, min(1, v + more)))
    difference = off(Brightness(severity)(colours(), generator=generator()), expected)
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.02


@every_severity
def test_saturation_is_that_of_hsv(severity: int) -> None:
    factor, more = [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)][severity - 1]
    expected = by_hsv(colours(), lambda h, s, v: (h, min(1, s * factor + more), v))
    difference = off(Saturation(severity)(colours(), generator=generator()), expected)
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.02


@every_severity
def test_contrast_shrinks_about_the_mean_of_each_channel(severity: int) -> None:
    factor = [0.75, 0.5, 0.4, 0.3, 0.15][severity - 1]
    images = last(photographs())
    mean = images.mean((1, 2), keepdims=True)
    difference = off(
        Contrast(severity)(photographs(), generator=generator()), mean + factor * (images - mean)
    )
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.02


def by_pillow(x: Tensor, change) -> Tensor:
    """Return images as changed by Pillow, in whole levels."""
    images = (x * 255).round().byte().permute(0, 2, 3, 1).squeeze(3).numpy()
    changed = [np.array(change(Image.fromarray(image))) for image in images]
    return torch.tensor(np.stack(changed)).view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)


def saved_as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


@every_severity
@pytest.mark.parametrize("size", [(32, 32), (8, 8), (21, 37), (6, 5)])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_pillow(severity: int, size: tuple[int, int], channels: int) -> None:
    quality = [80, 65, 58, 50, 40][severity - 1]
    x = photographs(20, *size)[:, :channels]
    before = by_pillow(x, lambda image: saved_as_jpeg(image, 75)).float() / 255  # twice JPEG: ties
    for images in (x, before):
        moved = Jpeg(severity)(images, generator=generator())
        expected = by_pillow(images, lambda image: saved_as_jpeg(image, quality))
        assert torch.equal(moved, expected.float() / 255)


@pytest.mark.parametrize("quality", [1, 25, 95, 100])
def test_jpeg_of_any_quality_and_of_noise_is_that_of_pillow(quality: int) -> None:
    x = torch.randint(256, (20, 3, 16, 16), generator=generator()) / 255
    expected = by_pillow(x, lambda image: saved_as_jpeg(image, quality))
    assert torch.equal(coded((x * 255).round(), quality), expected.float())


def pixelated_by_pillow(image: Image.Image, share: float) -> Image.Image:
    """Return an image there and back; columns first, as every Pillow does where both shrink alike.

    Pillow 13 takes rows first where the height shrinks much more than the width.
    """
    width, height = image.size
    fewer = [max(1, int(side * share)) for side in image.size]
    for size in ((fewer[0], height), fewer, (width, height)):
        image = image.resize(size, Image.Resampling.BOX)
    return image


@every_severity
@pytest.mark.parametrize("size", [(32, 32), (8, 8), (64, 48), (1, 9), (2, 3), (66, 13)])
def test_pixelate_is_the_box_filter_of_pillow(severity: int, size: tuple[int, int]) -> None:
    share = [0.95, 0.9, 0.85, 0.75, 0.65][severity - 1]
    x = photographs(6, *size)
    expected = by_pillow(x, lambda image: pixelated_by_pillow(image, share))
    moved = Pixelate(severity)(x, generator=generator())
    assert torch.equal(moved, expected.float() / 255)


@every_severity
def test_pixelate_is_the_box_filter_of_pillow_for_every_side(severity: int) -> None:
    share = [0.95, 0.9, 0.85, 0.75, 0.65][severity - 1]
    for side in range(1, 305):
        x = torch.randint(256, (1, 1, 3, side), generator=generator(side)) / 255
        expected = by_pillow(x, lambda image: pixelated_by_pillow(image, share))
        moved = Pixelate(severity)(x, generator=generator())
        assert torch.equal(moved, expected.float() / 255), side


@every_severity
@pytest.mark.parametrize("side", [32, 20])
def test_elastic_is_that_of_opencv_and_scipy(severity: int, side: int) -> None:
    shares = [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05)]
    size, smooth, corners = (side * c for c in [*shares, (0.1, 0.03, 0.03)][severity - 1])
    x, draw = photographs(4, side), generator(6)
    moved = Elastic(severity)(x, generator=generator(6))
    shifts = corners * (torch.rand((4, 3, 2), generator=draw) * 2 - 1).numpy()
    noise = (torch.rand((4, 2, side, side), generator=draw) * 2 - 1).double().numpy()
    centre, third = side // 2, side // 3
    before = np.float32(
        [[centre + third] * 2, [centre + third, centre - third], [centre - third] * 2]
    )
    row, column = np.mgrid[:side, :side]
    expected = np.zeros((4, side, side, 3))
    for n, image in enumerate(last(x).astype(np.float32)):
        matrix = cv2.getAffineTransform(before, before + shifts[n])
        mapped = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
        down, right = (
            gaussian_filter(field, smooth, mode="reflect", truncate=3) * size for field in noise[n]
        )
        for c in range(3):
            expected[n, :, :, c] = map_coordinates(
                mapped[:, :, c], (row + down, column + right), order=1, mode="reflect"
            )
    difference = off(moved, expected)
    assert difference.mean() < 0.6  # OpenCV takes places to a 32nd of a pixel
    assert difference.max() < 12


@every_kind
@every_severity
def test_each_keeps_the_rules_of_transforms(kind: type[Corruption], severity: int) -> None:
    check_perturbation(kind(severity))


@every_kind
@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (3, 3, 8, 8), (2, 3, 64, 48), (1, 3, 9, 5)])
def test_images_of_any_size_in_any_precision(
    kind: type[Corruption], shape: tuple[int, ...]
) -> None:
    if kind is Saturation and shape[1] == 1:
        return
    x = torch.rand(shape, generator=generator())
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        moved = kind(4)(x.to(dtype), generator=generator(1))
        assert moved.shape == x.shape
        assert moved.dtype == dtype
        assert 0 <= moved.amin() <= moved.amax() <= 1
    assert kind(4)(x[:0], generator=generator()).shape == x[:0].shape


@every_kind
@every_severity
def test_the_result_is_in_whole_levels_and_black_and_white_stay_so(
    kind: type[Corruption], severity: int
) -> None:
    levels = kind(severity)(photographs(), generator=generator()) * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    changed = (GaussianNoise, ImpulseNoise, ShotNoise, SpeckleNoise, Brightness, Saturation, Jpeg)
    if kind not in (*changed, *WEATHER):
        flat = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 16, 16)
        assert torch.equal(kind(severity)(flat, generator=generator()), flat)


@pytest.mark.parametrize("kind", DRAWN)
def test_draws_differ_from_image_to_image(kind: type[Corruption]) -> None:
    moved = kind(3)(photographs(1).repeat(3, 1, 1, 1), generator=generator())
    assert not torch.equal(moved[0], moved[1])
    assert not torch.equal(moved[1], moved[2])


@pytest.mark.parametrize("kind", FIXED)
def test_corruptions_without_draws_treat_each_image_independently(kind: type[Corruption]) -> None:
    x, draw = photographs(), generator()
    before = draw.get_state()
    alone = torch.cat([kind(3)(image[None], generator=draw) for image in x])
    assert torch.equal(kind(3)(x, generator=draw), alone)
    assert torch.equal(draw.get_state(), before)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NOT_ORDERED])
def test_a_higher_severity_changes_more(kind: type[Corruption]) -> None:
    x = photographs(12)
    changes = [(kind(s)(x, generator=generator()) - x).abs().mean() for s in range(6)]
    assert changes[0] == 0
    assert all(one <= next_one for one, next_one in pairwise(changes))
    assert changes[1] < changes[5]


@every_kind
def test_autocast_changes_nothing(kind: type[Corruption]) -> None:
    x = photographs().to(memory_format=torch.channels_last).requires_grad_()
    plain = kind(3)(photographs(), generator=generator())
    with torch.autocast("cpu", torch.bfloat16):
        moved = kind(3)(x, generator=generator())
    assert torch.equal(moved, plain)
    assert not moved.requires_grad


def test_scaled_goes_to_the_nearest_severity() -> None:
    assert [Jpeg(3).scaled(f) for f in (0, 0.25, 0.75, 1, 1.6)] == [
        *(Jpeg(0), Jpeg(1), Jpeg(2), Jpeg(3), Jpeg(5))
    ]
    with pytest.raises(ValueError, match=r"Jpeg: severity must be .* got 6"):
        Jpeg(3).scaled(2)


@every_kind
@pytest.mark.parametrize("severity", [-1, 6, 2.5, True, "3"])
def test_other_severities_are_refused(kind: type[Corruption], severity) -> None:
    with pytest.raises(ValueError, match=rf"{kind.__name__}: severity must be a whole number"):
        kind(severity)


@pytest.mark.parametrize("kind", [Saturation, Jpeg])
def test_colours_need_channels(kind: type[Corruption]) -> None:
    with pytest.raises(ValueError, match=r"RGB images.*got \(1, 2, 8, 8\)"):
        kind(1)(torch.rand(1, 2, 8, 8), generator=generator())


def test_all_have_a_name_in_recipes() -> None:
    assert {kind.name for kind in KINDS} <= {*PERTURBATIONS}
    assert all(PERTURBATIONS[kind.name] is kind for kind in KINDS)
