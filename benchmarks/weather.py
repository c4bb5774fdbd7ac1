"""Fog and snow for a batch, against loops over images with OpenCV and numpy."""

import math
from collections.abc import Callable, Iterator
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.measuring import Measurement, ratio
from benchmarks.networks import images
from morex.perturbations import Fog, Snow

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
