import itertools

import pytest
import torch
from torch.nn import functional as F

from morex.core.seeding import generator_for
from morex.data import Augment


def images(n: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    """Images without a zero pixel, all different."""
    return torch.randint(1, 256, (n, 3, 5, 7), generator=generator_for(1, "images")).to(dtype)


def placements(x: torch.Tensor, augment: Augment) -> dict[bytes, tuple[int, int, bool]]:
    """All images that ``augment`` may make of one image, by their bytes."""
    padded = F.pad(x, [augment.crop] * 4)
    offsets = range(2 * augment.crop + 1)
    results = {}
    for top, left, flip in itertools.product(offsets, offsets, (False, True)):
        window = padded[:, top : top + x.shape[1], left : left + x.shape[2]]
        window = window.flip(2) if flip else window
        results[window.contiguous().numpy().tobytes()] = (top, left, flip)
    return results


def drawn(x: torch.Tensor, augment: Augment, seed: int = 0) -> list[tuple[int, int, bool]]:
    """What ``augment`` did to each image of a batch; fails if it is not a crop and flip."""
    results = augment(x, generator_for(seed, "augment"))
    assert results.shape == x.shape
    assert results.dtype == x.dtype
    return [
        placements(before, augment)[after.contiguous().numpy().tobytes()]
        for before, after in zip(x, results, strict=True)
    ]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(("crop", "flip"), [(2, True), (2, False), (0, True), (4, True)])
def test_every_image_is_a_crop_of_its_padded_self(crop, flip, dtype):
    what = drawn(images(40, dtype), Augment(crop, flip))
    assert {mirrored for *_, mirrored in what} == ({False, True} if flip else {False})


def test_offsets_and_flips_are_uniform():
    copies = images(1).expand(3600, -1, -1, -1)
    augment = Augment(crop=1, flip=True)
    what = drawn(copies, augment)  # one image many times: 18 equally likely results
    counts = torch.tensor([what.count(kind) for kind in set(what)])
    assert len(counts) == 18
    chi_squared = ((counts - 200) ** 2 / 200).sum()
    assert chi_squared < 45  # 17 degrees of freedom: exceeded once in 4,000 correct programs


def test_images_are_drawn_independently():
    what = drawn(images(1).expand(400, -1, -1, -1), Augment(crop=2, flip=True))
    repeats = sum(a == b for a, b in itertools.pairwise(what))
    assert repeats < 40  # 400 / 50 expected
    top, left, flip = torch.tensor(what, dtype=torch.float64).T
    correlations = torch.corrcoef(torch.stack([top, left, flip]))
    assert (correlations - torch.eye(3)).abs().max() < 0.2


def test_the_generator_decides_and_nothing_else():
    x, augment = images(50), Augment(2, True)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    once = augment(x, generator_for(3))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(augment(x, generator_for(3)), once)
    assert not torch.equal(augment(x, generator_for(4)), once)


def test_the_input_stays_and_nothing_is_nothing():
    x = images(20)
    before = x.clone()
    Augment(2, True)(x, generator_for(0))
    assert torch.equal(x, before)
    assert torch.equal(Augment()(x, generator_for(0)), before)


def test_bad_padding_is_refused():
    with pytest.raises(ValueError, match="got -1"):
        Augment(crop=-1)
    with pytest.raises(ValueError, match="got 5 for 5x7"):
        Augment(crop=5)(images(1), generator_for(0))
