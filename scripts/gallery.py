"""Draw the gallery of the README: test images under attack, and the predictions of a mixture.

    python scripts/gallery.py --data FOLDER
    MOREX_DATA=FOLDER python scripts/gallery.py docs/images/gallery.png --images 3

The model is the shipped ``cifar10-small``, MoRE+ (all). The images are the first test images of
CIFAR-10 that it classifies correctly when they are clean; none are picked by hand. Attacks are on
the whole mixture, with the strengths of the recipe.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import morex
from morex.attacks import PGD, Attack, WorstOfDraws
from morex.core.seeding import generator_for
from morex.data import ImageSet
from morex.models import Mixture
from morex.perturbations import L2, Clean, Fog, Linf, Snow

ATTACKS: Mapping[str, Attack] = {
    "clean": WorstOfDraws(Clean()),
    "fog": WorstOfDraws(Fog(t=0.15, light=0.6)),
    "snow": WorstOfDraws(Snow(darkness=2.5)),
    "PGD, Linf 8/255": PGD(Linf(8 / 255), steps=20, restarts=3, relative_step=5),
    "PGD, L2 1": PGD(L2(1.0), steps=20, restarts=3, relative_step=5),
}
"""What the columns show, with the strengths and budgets of the recipe ``cifar10-small``."""

SCALE = 2
SIDE, ACROSS, LINE, LEFT, TOP = 160, 178, 17, 16, 34
INK, GREY, RIGHT, WRONG, BAR = "#1f2328", "#6e7781", "#1a7f37", "#b42318", "#c8d3e0"


@dataclass(frozen=True)
class Answers:
    """One perturbed image: pixels (3, H, W), the predictions for it, and the gate's weights."""

    pixels: Tensor
    said: str
    experts: Mapping[str, tuple[str, float]]


def main() -> None:
    """Attack the images, draw them, and print where the picture is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, nargs="?", default=Path("docs/images/gallery.png"))
    parser.add_argument("--data", type=Path, help="where CIFAR-10 is; by default MOREX_DATA")
    parser.add_argument("--images", type=int, default=3, help="how many test images")
    given = parser.parse_args()
    torch.set_num_threads(1)  # more threads add in another order
    test = morex.data.load_data("cifar10", given.data).test.first(10 * given.images)
    chosen = right_when_clean(test)[: given.images]
    images = test.take(chosen)
    columns = {name: answers(images, attack) for name, attack in ATTACKS.items()}
    picture = draw(images, chosen.tolist(), columns)
    given.target.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(256, dither=Image.Dither.NONE).save(given.target, optimize=True)
    print(f"{given.target}: {given.target.stat().st_size / 1000:.0f} kB")


@torch.no_grad()
def right_when_clean(images: ImageSet) -> Tensor:
    """Return the indices of the images that the mixture classifies correctly, in order."""
    model = morex.load("cifar10-small")
    right = model(images.pixels(slice(None))).argmax(1) == images.labels
    return torch.nonzero(right).flatten()


def answers(images: ImageSet, attack: Attack) -> list[Answers]:
    """Return the predictions of the mixture and its experts for the images under an attack."""
    model = morex.load("cifar10-small")
    assert isinstance(model, Mixture)
    x, y = images.pixels(slice(None)), images.labels
    x = attack(model, x, y, generator=generator_for(0, "gallery"))
    with torch.no_grad():
        said = model(x).argmax(1).tolist()
        by_expert = model.expert_logits(x).argmax(2).tolist()
        weights = model.gate_weights(x).tolist()
    return [
        Answers(
            x[i],
            images.classes[said[i]],
            {
                name: (images.classes[by_expert[i][j]], weights[i][j])
                for j, name in enumerate(model.expert_names)
            },
        )
        for i in range(len(images))
    ]


def draw(
    images: ImageSet, places: Sequence[int], columns: Mapping[str, list[Answers]]
) -> Image.Image:
    """Return the picture: a column for every attack, a row for every image."""
    experts = len(next(iter(columns.values()))[0].experts)
    down = SIDE + (experts + 1) * LINE + 46
    size = (LEFT + len(columns) * ACROSS, TOP + len(images) * down)
    page = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), "white")
    pen = Pen(ImageDraw.Draw(page))
    for row, (place, label) in enumerate(zip(places, images.labels.tolist(), strict=True)):
        pen.write(LEFT, TOP + row * down, f"test image {place}: {images.classes[label]}", ink=GREY)
    for column, (name, shown) in enumerate(columns.items()):
        left = LEFT + column * ACROSS
        pen.write(left, 12, name, size=15)
        for row, answer in enumerate(shown):
            top = TOP + row * down + 20
            pixels = (255 * answer.pixels).round().byte().permute(1, 2, 0).numpy()
            side = (SIDE * SCALE, SIDE * SCALE)
            small = Image.fromarray(pixels).resize(side, Image.Resampling.NEAREST)
            page.paste(small, (left * SCALE, top * SCALE))
            pen.answers(left, top + SIDE + 5, answer, images.classes[int(images.labels[row])])
    return page


class Pen:
    """Writes on a page in units of a ``SCALE``-th of its pixels."""

    def __init__(self, drawing: ImageDraw.ImageDraw) -> None:
        self.drawing = drawing

    def write(self, x: int, y: int, text: str, *, ink: str = INK, size: int = 12) -> None:
        """Write a line of text with its upper left corner at (x, y)."""
        font = ImageFont.load_default(size * SCALE)
        self.drawing.text((x * SCALE, y * SCALE), text, fill=ink, font=font)

    def answers(self, x: int, y: int, answer: Answers, truth: str) -> None:
        """Write the mixture's prediction, then every expert's on a bar as long as its weight."""
        self.write(x + 3, y, "mixture", size=12)
        self.write(x + 56, y, answer.said, ink=RIGHT if answer.said == truth else WRONG, size=13)
        for line, (name, (said, weight)) in enumerate(answer.experts.items(), start=1):
            top = y + 3 + line * LINE
            box = (x, top, x + round(weight * SIDE), top + LINE - 3)
            self.drawing.rectangle([SCALE * edge for edge in box], fill=BAR)
            self.write(x + 3, top, name, ink=GREY, size=11)
            self.write(x + 56, top, said, ink=RIGHT if said == truth else WRONG, size=11)
            self.write(x + 130, top, f"{weight:.0%}", ink=GREY, size=11)


if __name__ == "__main__":
    main()
