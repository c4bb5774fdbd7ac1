"""The paper's and Hendrycks' weather for a batch, against loops over images with OpenCV."""

import math
from collections.abc import Callable, Iterator
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.measuring import Measurement, ratio, seconds
from benchmarks.networks import images
from morex.perturbations import (
    Corruption,
    Fog,
    Frost,
    GlassBlur,
    HendrycksFog,
    HendrycksSnow,
    Snow,
    Spatter,
)

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels], Pixels]

_T, _LIGHT, _DARKNESS = 0.15, 0.6, 2.5


def measure() -> Iterator[Measurement]:
    """Compare the two on 256 images of 32x32 pixels."""
    x, _ = images(256)
    generator = torch.Generator().manual_seed(0)
    fog, snow = Fog(_T, _LIGHT), Snow(_DARKNESS)
    pairs: tuple[tuple[str, Change, Callable[[], Tensor]], ...] = (
        ("fog", _foggy, lambda: fog(x)),
        ("snow", _snowy, lambda: snow(x, generator=generator)),
    )
    for name, usual, ours in pairs:
        value, about = ratio(partial(_loop, x, usual), ours, rounds=15)
        yield Measurement(
            f"loop with OpenCV / morex: {name}, batch of 256", value, 100, about=about
        )


def _loop(x: Tensor, change: Change) -> Tensor:
    """Convert every image to 8 bits and back, as code that changes images one by one does."""
    out = []
    for image in x:
        pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
        out.append(torch.from_numpy(change(pixels)).permute(2, 0, 1).float() / 255)
    return torch.stack(out)


def _foggy(image: Pixels) -> Pixels:
    """Blend every pixel with the light, at a depth of one everywhere."""
    transmission = np.exp(-np.log1p(math.exp(_T))) * np.ones(image.shape[:2])
    hazy = image / 255 * transmission[..., None] + _LIGHT * (1 - transmission[..., None])
    whole: Pixels = (hazy * 255).astype(np.uint8)
    return whole


def _snowy(image: Pixels) -> Pixels:
    hls = cv2.cvtColor(image, cv2.COLOR_RGB2HLS).astype(np.float64)
    point = np.random.uniform(255 / 3, 255 / 3 + 255 / 2)
    lightness = hls[:, :, 1]
    lightness[lightness < point] *= _DARKNESS
    lightness[lightness > 255] = 255
    return np.asarray(cv2.cvtColor(hls.astype(np.uint8), cv2.COLOR_HLS2RGB), np.uint8)


def measure_corruptions() -> Iterator[Measurement]:
    """Compare Hendrycks' weather with the published loops, on 256 images of 32x32 pixels."""
    x, _ = images(256)
    generator = torch.Generator().manual_seed(0)
    loops: dict[Corruption, Change | None] = {
        HendrycksFog(3): _patchy,
        HendrycksSnow(3): None,
        Frost(3): None,
        GlassBlur(3): _glassy,
        Spatter(3): None,
    }
    for corruption, usual in loops.items():
        ours = partial(corruption, x, generator=generator)
        if usual is None:
            spent = min(seconds(ours) for _ in range(7))
            name = f"milliseconds: {corruption.name}, batch of 256"
            yield Measurement(name, 1000 * spent, 200, most=True)
            continue
        value, about = ratio(partial(_loop, x, usual), ours, rounds=3)
        yield Measurement(
            f"published loop / morex: {corruption.name}, batch of 256", value, 2, about=about
        )


def _patchy(image: Pixels) -> Pixels:
    """Add fog whose heights are made by the vectorised loop of ``make_cifar_c.py``."""
    heights, step, wibble = np.zeros((32, 32)), 32, 100.0
    while step >= 2:
        half = step // 2

        def mean(total: NDArray[np.float64], wibble: float = wibble) -> NDArray[np.float64]:
            return total / 4 + wibble * np.random.uniform(-wibble, wibble, total.shape)

        corners = heights[::step, ::step]
        both = corners + np.roll(corners, -1, 0)
        centres = heights[half::step, half::step] = mean(both + np.roll(both, -1, 1))
        up = centres + np.roll(centres, 1, 0) + corners + np.roll(corners, -1, 1)
        left = centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 0)
        heights[::step, half::step], heights[half::step, ::step] = mean(up), mean(left)
        step, wibble = half, wibble / 2.5
    fog = (heights - heights.min()) / np.ptp(heights)
    most = image.max() / 255
    whole: Pixels = ((image / 255 + 0.75 * fog[..., None]) * most / (most + 0.75) * 255).astype(
        np.uint8
    )
    return whole


def _glassy(image: Pixels) -> Pixels:
    """Blur, displace pixel by pixel, and blur again."""
    moved = cv2.GaussianBlur(image, (5, 5), 0.4)
    for row in range(31, 1, -1):
        for column in range(31, 1, -1):
            right, down = np.random.randint(-1, 1, 2)
            moved[row, column] = moved[row + down, column + right]
    return np.asarray(cv2.GaussianBlur(moved, (5, 5), 0.4), np.uint8)
