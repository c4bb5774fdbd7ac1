"""Hue, lightness and saturation in 8 bits, rounded as OpenCV rounds them.

Planes are float32 tensors of one shape that hold whole numbers: red, green, blue, lightness and
saturation from 0 to 255, hue from 0 to 180 in steps of two degrees. The arithmetic follows
OpenCV's ``COLOR_RGB2HLS`` and ``COLOR_HLS2RGB`` in float32, because half of all colours have a
lightness of k + 1/2 and only the float error decides which way it is rounded.
"""

import torch
from torch import Tensor

_HALF_A_LEVEL = 0.5 / 255
"""Less than any difference of two levels; replaces the zero differences of grey as divisor."""


def rgb_to_hls(red: Tensor, green: Tensor, blue: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hue, lightness and saturation; grey has hue 0 and saturation 0.

    With M and m the largest and the smallest of r, g, b in [0, 1]: lightness is (M + m) / 2,
    saturation (M - m) / min(M + m, 2 - M - m), and hue 60 degrees times (g - b) / (M - m),
    2 + (b - r) / (M - m) or 4 + (r - g) / (M - m), if M is r, g or b respectively.
    """
    r, g, b = (plane * (1 / 255) for plane in (red, green, blue))
    high, low = torch.maximum(torch.maximum(r, g), b), torch.minimum(torch.minimum(r, g), b)
    spread, total = high - low, high + low
    lightness = (total * 0.5).mul_(255).round_()
    saturation = spread / torch.minimum(total, 2 - total).clamp_(min=_HALF_A_LEVEL)
    not_red, not_green = (high - r).sign_(), (high - g).sign_()
    of_green_or_blue = torch.lerp(b - r, r - g, not_green)  # weights 0 and 1: lerp just selects,
    difference = torch.lerp(g - b, of_green_or_blue, not_red)  # many times faster than torch.where
    # A tensor of 60: torch computes the division of a plain number as 60 * (1 / spread).
    hue = difference.mul_(spread.new_full((), 60) / spread.clamp_(min=_HALF_A_LEVEL))
    hue.add_(not_green.add_(1).mul_(not_red), alpha=120)
    hue.sub_(hue.sign().clamp_(max=0), alpha=360)
    return hue.mul_(0.5).round_(), lightness, saturation.mul_(255).round_()


def hls_to_rgb(hue: Tensor, lightness: Tensor, saturation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return red, green and blue.

    A channel is lightness + a t, with the amplitude a = saturation * min(lightness, 1 - lightness)
    and t in [-1, 1] a trapezium in the hue: red +1 within 60 degrees of 0, and -1 within 60 degrees
    of 180. Green and blue have the same shape, 120 and 240 degrees later.
    """
    amplitude = torch.minimum(lightness, 255 - lightness).mul_(saturation).mul_(1 / (255 * 15))

    def channel(centre: int, sign: int) -> Tensor:
        trapezium = (hue - centre).abs_().sub_(45).clamp_(-15, 15)  # 15 steps are 30 degrees
        return torch.addcmul(lightness, trapezium, amplitude, value=sign).round_()

    return channel(90, 1), channel(60, -1), channel(120, -1)
