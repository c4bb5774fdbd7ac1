"""Evaluations in parts: done in any order, interrupted or not, they are the whole evaluation."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from contrast import Contrast, with_contrasts
from torch import Tensor

from morex.artifacts.outcomes import Outcomes
from morex.artifacts.pieces import Piece, Pieces
from morex.attacks import PGD, Attack, Model, Passes, RayS
from morex.data import ImageSet
from morex.evaluation import Part, Row, evaluate, evaluate_part
from morex.evaluation.attacked import Answers
from morex.evaluation.batches import _parts, batches_of
from morex.perturbations import Clean, Linf, Perturbation

WRONG = torch.arange(60) % 5 == 3
_IMAGES = with_contrasts(*((-1) ** n * (0.05, 0.3, 0.5)[n % 3] for n in range(60)))
DATA = ImageSet(_IMAGES.images, _IMAGES.labels ^ WRONG, _IMAGES.classes)


@dataclass(frozen=True)
class Lottery(Attack):
    """Turns half of the images of a batch into their negatives, which the model gets wrong."""

    perturbation: Perturbation

    @property
    def passes(self) -> Passes:
        return Passes()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.rand(len(x), generator=generator) < 0.5
        return torch.where(drawn[:, None, None, None], 1 - x, x)


SUITE = (
    Row("drawn", Lottery(Clean())),
    Row("pgd", PGD(Linf(0.03), steps=3)),
    Row("ball", Lottery(Linf(1.0))),
    Row("rays", RayS(Linf(0.03), queries=6), 40),
)
SIZE = {"batch_size": 8}


class Odd(Contrast):
    """Not finite on images of medium contrast, and blind on those of large contrast."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        strong = logits.detach().abs().amax(1, keepdim=True) > 8
        logits = torch.where(strong, logits.detach(), logits)
        brightest = x.detach().amax((1, 2, 3))
        return logits.where(((brightest - 0.65).abs() > 0.04)[:, None], torch.nan)


MODEL = Odd()


def whole(parts: Iterable[Pieces] = ()) -> Outcomes:
    return evaluate(MODEL, DATA, SUITE, parts=parts, **SIZE)


def part(number: int, of: int, begun: Pieces | None = None, stop_after: int = 99) -> Pieces:
    """Do a part, which is interrupted after some batches."""
    kept: list[Pieces] = [Pieces("none")]

    def keep(found: Pieces, share: float) -> None:
        kept.append(found)
        if len(kept) > stop_after:
            raise InterruptedError

    try:
        return evaluate_part(MODEL, DATA, SUITE, Part(number, of), begun=begun, keep=keep, **SIZE)
    except InterruptedError:
        return kept[-1]


def assert_same(found: Outcomes, expected: Outcomes) -> None:
    assert found.rows == expected.rows
    for row in expected.rows:
        assert np.array_equal(found.right[row], expected.right[row])
    assert (found.notes, found.origins) == (expected.notes, expected.origins)


@pytest.mark.parametrize("of", [1, 3, 4, 40])
def test_parts_in_any_order_are_the_whole(of: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = whole()
    assert len({note.what for note in expected.notes}) > 1  # the test is about notes as well
    assert all(0 < right.mean() < 1 for right in expected.right.values())
    parts = [part(number, of) for number in range(of, 0, -1)]
    assert sum(len(p.found) for p in parts) == len({key for p in parts for key in p.found})
    monkeypatch.setattr(sys.modules["morex.evaluation.evaluate"], "attack_batch", _refuse)
    assert_same(whole(parts), expected)


def _refuse(*_: object) -> Piece:
    raise AssertionError("this batch is known")


def test_interrupted_parts_go_on_and_lost_parts_are_done_by_the_whole(tmp_path: Path) -> None:
    one, three = part(1, 4, stop_after=2), part(3, 4, stop_after=1)
    assert (len(one.found), len(three.found)) == (2, 1)
    one.save(tmp_path / "part.npz")
    before = Pieces.load(tmp_path / "part.npz")
    again = part(1, 4, begun=before)
    assert again.found.keys() == part(1, 4).found.keys()
    assert again.seconds > before.seconds > 0
    assert all(again.found[key] is piece for key, piece in before.found.items())
    assert_same(whole([again, three, part(4, 4)]), whole())  # the second part is not there


def test_what_another_part_has_is_not_attacked_again() -> None:
    other = part(1, 2)
    found = evaluate_part(MODEL, DATA, SUITE, Part(1, 4), known=[other], **SIZE)
    assert not found.found


def test_rows_that_are_known_in_part_go_on_in_parts() -> None:
    expected = whole()
    done = {"drawn": expected.right["drawn"], "pgd": expected.right["pgd"][:20]}
    parts = [evaluate_part(MODEL, DATA, SUITE, Part(i, 3), done=done, **SIZE) for i in (1, 2, 3)]
    keys = {key for p in parts for key in p.found}
    assert "drawn" not in {row for row, _ in keys}
    assert ("pgd", 0) not in keys
    found = evaluate(MODEL, DATA, SUITE, done=done, parts=parts, **SIZE)
    assert all(np.array_equal(found.right[row], expected.right[row]) for row in expected.rows)


def test_a_part_of_other_batches_is_not_used() -> None:
    foreign = part(1, 1)
    foreign.batches = "made where the model is right on other images"
    foreign.found = {key: Piece(p.start, ~p.right, {}) for key, p in foreign.found.items()}
    assert_same(whole([foreign]), whole())


def test_batches_cover_all_images_of_a_row() -> None:
    clean = Answers(~WRONG, torch.ones(60, dtype=torch.bool))
    batches = batches_of(SUITE[3], clean, 8)
    assert [len(b.images) for b in batches] == [8, 8, 8, 8]
    assert (batches[0].start, batches[-1].end) == (0, 40)
    assert all(a.end == b.start for a, b in pairwise(batches))


def test_parts_have_about_the_same_work() -> None:
    assert _parts([1.0] * 8, 4) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert _parts([6.0, 1, 1, 1, 1, 1, 1], 2) == [1, 2, 2, 2, 2, 2, 2]
    assert _parts([0.0, 0.0], 2) == [1, 1]


def test_a_damaged_file_of_a_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.npz"
    part(1, 2).save(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="not a readable part"):
        Pieces.load(path)


@pytest.mark.parametrize("number", [0, 3])
def test_a_part_that_does_not_exist_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"a part from 1 to 2, got {number}"):
        Part(number, 2)
