"""Random crops and flips of whole batches, on the device of the images."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augment:
    """Shift each image by up to ``crop`` pixels, fill up with zeros, and mirror half of the images.

    A shift is a random crop of the zero-padded image: offsets are uniform on {0, ..., 2 crop}^2,
    an image is mirrored left to right with probability 1/2, and images are independent.

    Raises:
        ValueError: if ``crop`` is negative.
    """

    crop: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        """Check the padding."""
        if self.crop < 0:
            raise ValueError(f"crop: expected pixels >= 0, got {self.crop}")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the augmented images, of the same shape and type; ``x`` itself without any option.

        Args:
            x: (N, C, H, W), bytes or floats; 0 is the colour of the padding.
            generator: the source of all randomness, on the device of ``x``.

        Raises:
            ValueError: if ``crop`` is not below height and width: images could vanish.
        """
        height, width = x.shape[2:]
        if self.crop >= min(height, width):
            raise ValueError(
                f"crop: expected fewer pixels than the image has, got {self.crop} for "
                f"{height}x{width}"
            )
        if self.crop:
            x = _shifted(x, self.crop, generator)
        if self.flip:
            mirrored = torch.randint(2, (len(x), 1, 1, 1), generator=generator, device=x.device)
            x = torch.where(mirrored == 1, x.flip(3), x)
        return x


def _shifted(x: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Return one random window of every zero-padded image."""
    n, _, height, width = x.shape
    top, left = torch.randint(2 * padding + 1, (2, n), generator=generator, device=x.device)
    padded = F.pad(x, [padding] * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (N, C, top, left, H, W)
    return windows[torch.arange(n, device=x.device), :, top, left]
