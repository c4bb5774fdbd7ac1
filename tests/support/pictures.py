"""Class folders with random pictures."""

from pathlib import Path

import numpy as np
from PIL import Image


def pictures(folder: Path, classes: int = 3, each: int = 14) -> Path:
    """Write class folders with random pictures."""
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(classes):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for i in range(each):
                pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{i:02}.png")
    return folder
