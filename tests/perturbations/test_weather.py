"""Fog against integer arithmetic, snow against OpenCV, one image at a time."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from morex.perturbations import Fog, Snow
from morex.perturbations.color import hls_to_rgb, rgb_to_hls

FOGS = [Fog(t=0.13, light=0.8), Fog(t=0.15, light=0.6), Fog(t=-1.0, light=0.0), Fog(2.0, 1.0)]
GREYS = torch.arange(256).view(1, 1, 16, 16) / 255


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(n: int = 16, side: int = 16) -> Tensor:
    levels = torch.randint(256, (n, 3, side, side), generator=seeded(1))
    return levels / 255


def structured_images() -> Tensor:
    """Greys, saturated colours at every brightness, and black and white checks."""
    ramp = (torch.arange(256) / 255).view(16, 16)
    one, zero = torch.ones_like(ramp), torch.zeros_like(ramp)
    checks = (torch.arange(256).view(16, 16) % 2).float()
    pictures = [(ramp, ramp, ramp), (checks, checks, checks), (zero, zero, zero), (one, one, one)]
    pictures += [(ramp, zero, zero), (zero, ramp, zero), (zero, zero, ramp), (ramp, ramp, zero)]
    pictures += [(one, ramp, ramp), (ramp, one, ramp), (ramp, ramp, one), (one, ramp, zero)]
    pictures += [(ramp, one, zero), (zero, ramp, one), (one, zero, ramp), (ramp, 1 - ramp, one)]
    return torch.stack([torch.stack(p) for p in pictures])


def bytes_of(image: Tensor) -> np.ndarray:
    """Return (H, W, 3) uint8."""
    return (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def opencv_snow(image: Tensor, point: float, darkness: float) -> np.ndarray:
    """The published algorithm on one image, as its authors wrote it: (H, W, 3) uint8."""
    hls = cv2.cvtColor(bytes_of(image), cv2.COLOR_RGB2HLS).astype(np.float64)
    dark = hls[:, :, 1] < point
    hls[:, :, 1][dark] *= darkness
    hls[:, :, 1][hls[:, :, 1] > 255] = 255
    return cv2.cvtColor(hls.astype(np.uint8), cv2.COLOR_HLS2RGB)


@pytest.mark.parametrize("fog", FOGS, ids=str)
def test_fog_is_the_truncated_affine_map(fog: Fog) -> None:
    # The real number k (1 - w) + 255 w light, truncated, for every level k.
    w = 1 / (1 + math.exp(-fog.t))
    expected = np.floor(np.arange(256) * (1 - w) + 255 * w * fog.light + 1e-9)
    assert np.array_equal(fog(GREYS).mul(255).round().flatten().numpy(), expected)


def test_transmission_of_the_paper() -> None:
    assert 1 - Fog(t=0.15, light=0.6).haze == pytest.approx(0.4626, abs=5e-5)


def test_fog_thins_out_to_the_identity_on_8_bit_images() -> None:
    assert torch.equal(Fog(t=-math.inf, light=0.6)(GREYS), GREYS)
    assert torch.equal(Fog(t=-50.0, light=0.6)(GREYS), GREYS)  # computed, not skipped
    assert torch.equal(Fog(t=-50.0, light=1.0)(GREYS.double()).float(), GREYS)
    assert torch.equal(Fog(t=math.inf, light=0.6)(GREYS), torch.full_like(GREYS, 153 / 255))


def test_fog_passes_the_gradient_of_the_affine_map() -> None:
    fog, x = Fog(t=0.15, light=0.6), random_images(2).requires_grad_()
    out = fog(x)
    out.sum().backward()
    assert torch.allclose(x.grad, torch.full_like(x, 0.46257), atol=1e-5)
    assert torch.equal(out.detach(), fog(x.detach()))


@pytest.mark.parametrize("darkness", [1.3, 2.0, 2.3, 2.5, 1e9])
@pytest.mark.parametrize("images", [random_images(), structured_images()], ids=["random", "made"])
def test_snow_agrees_with_opencv(images: Tensor, darkness: float) -> None:
    # Hue may be rounded the other way where it is half a step: one colour in 10,000, which moves
    # a channel by at most 255 / 30 levels (one step of hue is 1/30 of the way between corners).
    out = Snow(darkness=darkness)(images, generator=seeded(5))
    points = 85 + 127.5 * torch.rand(len(images), generator=seeded(5))
    for image, snowed, point in zip(images, out, points.tolist(), strict=True):
        difference = np.abs(bytes_of(snowed).astype(int) - opencv_snow(image, point, darkness))
        assert difference.max() <= 9
        assert (difference > 0).mean() < 0.005
    assert torch.equal(out, (out * 255).round() / 255)


def test_colour_conversions_agree_with_opencv_on_a_grid_of_colours() -> None:
    k = np.arange(0, 256, 5, dtype=np.uint8)
    grid = np.stack(np.meshgrid(k, k, k, indexing="ij"), -1).reshape(len(k), -1, 3)
    planes = [torch.from_numpy(grid[..., i]).float() for i in range(3)]
    hls = torch.stack(rgb_to_hls(*planes), -1).numpy()
    there = cv2.cvtColor(grid, cv2.COLOR_RGB2HLS)
    assert np.abs(hls - there).max() <= 1
    assert (hls != there).mean() < 1e-3
    grid[..., 0] = np.minimum(grid[..., 0], 180)
    planes = [torch.from_numpy(grid[..., i]).float() for i in range(3)]
    rgb = torch.stack(hls_to_rgb(*planes), -1).numpy()
    back = cv2.cvtColor(grid, cv2.COLOR_HLS2RGB)
    assert np.abs(rgb - back).max() <= 1
    assert (rgb != back).mean() < 1e-3


def test_snow_brightens_dark_pixels_only() -> None:
    grey = GREYS.expand(64, 3, 16, 16)
    out = Snow(darkness=2.0)(grey, generator=seeded())
    levels = (out[:, 0] * 255).round().flatten(1)
    k = torch.arange(256.0).expand_as(levels)
    assert torch.equal(levels[:, :85], (2 * k)[:, :85])  # below the lowest snow point
    assert torch.equal(levels[:, 213:], k[:, 213:])  # above the highest
    changed = (levels != k).sum(1)
    assert changed.min() < 100  # snow points reach both ends of their range
    assert changed.max() > 195
    assert len(changed.unique()) > 30  # and every image has its own


def test_snow_without_darkness_does_nothing_but_draws() -> None:
    x, generator = random_images(), seeded()
    assert torch.equal(Snow(darkness=1.0)(x, generator=generator), x)
    assert torch.equal(Snow(darkness=2.0).scaled(0)(x, generator=seeded()), x)
    following = torch.rand(1, generator=generator)
    fresh = seeded()
    torch.rand(len(x), generator=fresh)
    assert torch.equal(following, torch.rand(1, generator=fresh))


def test_seed_decides_snow_and_other_images_do_not() -> None:
    snow, x = Snow(darkness=2.5), random_images()
    first = snow(x, generator=seeded(3))
    assert torch.equal(first, snow(x, generator=seeded(3)))
    assert not torch.equal(first, snow(x, generator=seeded(4)))
    others = torch.cat([x[:5].flip(0), x[5:6], torch.zeros_like(x[6:])])
    assert torch.equal(snow(others, generator=seeded(3))[5], first[5])
    same = snow(x[:1].expand(32, -1, -1, -1), generator=seeded(3))
    assert len({image.numpy().tobytes() for image in same}) > 10


@pytest.mark.parametrize("weather", [Fog(0.15, 0.6), Snow(2.5)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_shape_and_dtype_are_kept(
    weather: Fog | Snow, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    x = random_images().to(dtype).to(memory_format=layout)
    before = x.clone()
    out = weather(x, generator=seeded())
    assert (out.shape, out.dtype, out.device) == (x.shape, x.dtype, x.device)
    assert out.is_contiguous(memory_format=layout)
    assert torch.equal(x, before)
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(out, weather(x.contiguous(), generator=seeded()))
    assert weather(x[:0], generator=seeded()).shape == (0, 3, 16, 16)


@settings(deadline=None, max_examples=30)
@given(
    t=st.floats(-30, 30), light=st.floats(0, 1), darkness=st.floats(1, 10), seed=st.integers(0, 99)
)
def test_any_strength_stays_in_the_box(t: float, light: float, darkness: float, seed: int) -> None:
    x = torch.rand(2, 3, 4, 4, generator=seeded(seed))  # not 8-bit
    for out in (Fog(t, light)(x), Snow(darkness)(x, generator=seeded(seed))):
        assert out.min() >= 0
        assert out.max() <= 1


def test_fog_takes_any_number_of_channels_and_snow_only_three() -> None:
    for channels in (1, 2, 4):
        x = torch.rand(2, channels, 4, 4, generator=seeded())
        assert Fog(0.15, 0.6)(x).shape == x.shape
        with pytest.raises(ValueError, match=rf"\(N, 3, H, W\), got \(2, {channels}, 4, 4\)"):
            Snow(2.0)(x, generator=seeded())


def test_scaling_is_linear_in_haze_and_in_darkness() -> None:
    fog = Fog(t=0.15, light=0.6)
    assert fog.scaled(0.5).haze == pytest.approx(fog.haze / 2)
    assert fog.scaled(0) == Fog(t=-math.inf, light=0.6)
    assert fog.scaled(1) == fog
    assert Snow(darkness=2.5).scaled(2) == Snow(darkness=4.0)
    with pytest.raises(ValueError, match=r"weight of 1\.07"):
        fog.scaled(2)
    with pytest.raises(ValueError, match="weight of -0"):
        fog.scaled(-1)
    with pytest.raises(ValueError, match="darkness must be finite and >= 1"):
        Snow(darkness=2.5).scaled(-1)


@pytest.mark.parametrize(("t", "light"), [(0.1, -0.1), (0.1, 1.1)])
def test_bad_fog_is_refused(t: float, light: float) -> None:
    with pytest.raises(ValueError, match=r"light in \[0, 1\], got"):
        Fog(t=t, light=light)


@pytest.mark.parametrize(
    ("name", "value"), [("t", math.nan), ("light", math.nan), ("light", math.inf)]
)
def test_fog_is_finite_but_for_t(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"Fog: {name} must be a finite number, got {value}"):
        Fog(**{"t": 0.1, "light": 0.5, name: value})
    assert Fog(t=-math.inf, light=0.5).haze == 0
    assert Fog(t=math.inf, light=0.5).haze == 1


@pytest.mark.parametrize("darkness", [0.99, math.inf, math.nan])
def test_bad_snow_is_refused(darkness: float) -> None:
    with pytest.raises(
        ValueError,
        match=r"darkness must be (finite and >= 1, got 0\.99|a finite number, got (inf|nan))",
    ):
        Snow(darkness=darkness)
