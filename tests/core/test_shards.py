"""Draws of shards are those of the whole batch."""

import torch
from torch import Tensor

from morex.core.seeding import generator_for
from morex.core.shards import Shard, drawn_for_all, images_at, of_shard

WHOLE = 7
SHARDS = (Shard(range(4), WHOLE), Shard(range(4, 7), WHOLE))


def drawn(*draws: object, shard: Shard) -> list[Tensor]:
    n, generator = len(shard.rows), generator_for(0, "draws")
    with of_shard(shard), drawn_for_all(n):
        return [
            torch.rand((n, 2), generator=generator),
            torch.rand(n, 1, generator=generator),
            torch.randn((5, n), generator=generator, dtype=torch.float64),
            torch.randint(9, (n,), generator=generator),
            torch.randint(-3, 9, size=(1, n), generator=generator),
            torch.empty(n, 3).normal_(generator=generator),
            torch.rand((6,), generator=generator),
        ]


def test_rows_of_the_whole_batch_are_drawn() -> None:
    whole = drawn(shard=Shard(range(WHOLE), WHOLE))
    first, second = (drawn(shard=shard) for shard in SHARDS)
    for dimension, *tensors in zip((0, 0, 1, 0, 1, 0), whole, first, second, strict=False):
        expected, *parts = tensors
        assert torch.equal(torch.cat(parts, dimension), expected)
    assert torch.equal(whole[-1], first[-1])  # it has no dimension for the images


def test_scattered_rows() -> None:
    scattered = drawn(shard=Shard([1, 2, 6], WHOLE))
    whole = drawn(shard=Shard(range(WHOLE), WHOLE))
    assert torch.equal(scattered[0], whole[0][[1, 2, 6]])
    assert torch.equal(scattered[5], whole[5][[1, 2, 6]])


def test_the_dimension_of_the_images_may_be_named() -> None:
    def both(shard: Shard) -> tuple[Tensor, ...]:
        n, generator = len(shard.rows), generator_for(0)
        with of_shard(shard), drawn_for_all(n), images_at(1):
            made = torch.rand((4, n), generator=generator)
            return made, torch.empty(4, n).normal_(generator=generator)

    whole = both(Shard(range(WHOLE), WHOLE))
    for expected, *parts in zip(whole, *map(both, SHARDS), strict=True):
        assert torch.equal(torch.cat(parts, 1), expected)


def test_without_a_shard_nothing_changes() -> None:
    with drawn_for_all(4):
        found = torch.rand(4, generator=generator_for(0))
    assert torch.equal(found, torch.rand(4, generator=generator_for(0)))


def test_what_has_no_rows_is_drawn_by_each_process() -> None:
    found, after = [], []
    for shard in (*SHARDS, SHARDS[0]):
        generator = generator_for(0)
        with of_shard(shard), drawn_for_all(len(shard.rows)):
            found.append(torch.poisson(torch.full((3,), 50.0), generator=generator))
        after.append(torch.rand(3, generator=generator))
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert torch.equal(after[0], after[1])  # their common generator goes on alike


def test_images_for_which_a_search_goes_on_are_no_shard() -> None:
    found = []
    for shard in SHARDS:
        with of_shard(shard), drawn_for_all(2):
            found.append(torch.rand(2, generator=generator_for(0)))
    assert not torch.equal(*found)


def test_strided_shards_are_the_rows_of_a_slot() -> None:
    place = Shard(range(4, 9), 11).strided([1, 0], 3)  # slots 1, 4, 7, 10 and 0, 3, 6, 9
    assert place == Shard([1, 2, 6], 8)
