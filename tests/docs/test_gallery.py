"""The gallery of the README: a column for every attack, a row for every image."""

import gallery
import torch
from pages import ROOT

from morex.data import ImageSet
from morex.perturbations import Clean

CLASSES = tuple("abcdefghij")


def test_it_shows_what_the_models_say() -> None:
    pixels = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    images = ImageSet(pixels.to(torch.uint8), torch.tensor([0, 1]), CLASSES)
    shown = gallery.answers(images, gallery.WorstOfDraws(Clean()))
    assert [answer.said in CLASSES for answer in shown] == [True, True]
    assert torch.equal(shown[1].pixels, images.pixels(slice(None))[1])
    for answer in shown:
        assert [*answer.experts] == ["M2", "MAX", "MSD", "AVG (all)"]
        assert abs(sum(weight for _, weight in answer.experts.values()) - 1) < 1e-5

    picture = gallery.draw(images, [3, 5], {"one": shown, "two": shown, "three": shown})
    narrow = gallery.draw(images.first(1), [3], {"one": shown[:1]})
    assert (picture.width - narrow.width) == 2 * gallery.ACROSS * gallery.SCALE
    left, top = gallery.LEFT * gallery.SCALE, (gallery.TOP + 20) * gallery.SCALE
    corner = tuple(int(value) for value in images.images[0, :, 0, 0])
    assert picture.getpixel((left, top)) == corner


def test_only_images_that_are_right_when_clean_are_shown() -> None:
    pixels = torch.randint(256, (12, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    every = [ImageSet(pixels.to(torch.uint8), torch.full((12,), k), CLASSES) for k in range(10)]
    places = [place for images in every for place in gallery.right_when_clean(images).tolist()]
    assert sorted(places) == [*range(12)]  # each image is right for exactly one label


def test_the_picture_of_the_readme_is_small() -> None:
    assert (ROOT / "docs" / "images" / "gallery.png").stat().st_size < 200_000
