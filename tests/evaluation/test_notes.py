"""What an evaluation notices about odd models, and that nothing of it is lost."""

import numpy as np
import pytest
import torch
from odd_models import brightness, grey
from torch import Tensor

from morex.artifacts.notes import Note, NoteBook, sentences
from morex.attacks import PGD, AutoAttack, DeepFool, Targeted, WorstOfDraws
from morex.data import ImageSet
from morex.evaluation import Row, evaluate
from morex.perturbations import L2, Clean, Linf

BALL = Linf(0.01)
CLEAN, STOPPING = Row("clean", WorstOfDraws(Clean())), PGD(BALL, steps=3, stop_when_fooled=True)


def shades(*levels: int) -> ImageSet:
    images = torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    return ImageSet(images.clone(), torch.zeros(len(levels)).long(), ("a", "b"))


def sane(x: Tensor) -> Tensor:
    m = brightness(x)
    return torch.cat([2 - m, m], 1)


def nothing_when_dark(x: Tensor) -> Tensor:
    return sane(x).masked_fill(brightness(x) < 0.3, torch.nan)


def test_a_sane_model_leaves_no_notes():
    rows = (CLEAN, Row("pgd", STOPPING), Row("deepfool", DeepFool(BALL, steps=2)))
    assert evaluate(sane, grey(3), rows).notes == ()


def test_answers_that_are_not_finite_are_counted_in_every_row():
    rows = (CLEAN, Row("pgd", STOPPING), Row("few", STOPPING, examples=2))
    found = evaluate(nothing_when_dark, shades(10, 200, 20, 30), rows, batch_size=2)
    assert found.notes == (
        Note("clean", "answers not finite", 3, 4),
        Note("pgd", "answers not finite", 3, 4),
        Note("few", "answers not finite", 1, 2),
    )
    assert sentences(found.notes) == [
        "clean, pgd: the answers to 3 of 4 images were not finite; they count as wrong",
        "few: the answers to 1 of 2 images were not finite; they count as wrong",
    ]


def test_an_attack_that_ends_where_the_answer_is_not_finite_is_noted():
    def model(x: Tensor) -> Tensor:
        return sane(x).masked_fill(brightness(x) > 0.5025, torch.inf)

    found = evaluate(model, grey(3), (CLEAN, Row("pgd", STOPPING)))
    assert found.right["clean"].all()
    assert not found.right["pgd"].any()
    assert found.notes == (Note("pgd", "answers not finite", 3, 3),)


ODD_SLOPES = [
    STOPPING,
    PGD(L2(0.1), steps=3, random_start=False),
    PGD((BALL, L2(0.1)), steps=3),
    DeepFool(L2(0.1), steps=3),
    Targeted(STOPPING),
    AutoAttack(BALL, ("apgd-ce",), steps=3),
]


@pytest.mark.parametrize("attack", ODD_SLOPES, ids=lambda a: type(a).__name__)
def test_gradients_that_are_not_finite_are_counted_once_for_every_image(attack):
    data = grey(5)
    data.images[1:3, :, 0, 0] = 0

    def model(x: Tensor) -> Tensor:
        """An infinite slope wherever the first pixel is dark, also near black."""
        corner = x[:, :, :1, :1]
        return sane(torch.where(corner < 0.1, corner - corner.detach(), corner).sqrt() + x / 2)

    found = evaluate(model, data, (Row("row", attack),), batch_size=2)
    assert found.notes == (Note("row", "gradients not finite", 2, 5),)


def flat_when_bright(x: Tensor) -> Tensor:
    return sane(torch.where(brightness(x)[..., None, None] > 0.6, x.detach(), x))


@pytest.mark.parametrize(
    "attack", [STOPPING, PGD(BALL, steps=3), DeepFool(BALL, steps=1), Targeted(STOPPING)], ids=str
)
def test_gradients_of_zero_are_counted(attack):
    found = evaluate(flat_when_bright, shades(10, 200, 220, 30), (Row("row", attack),))
    assert found.notes == (Note("row", "gradients zero", 2, 4),)


def test_a_constant_model_has_no_gradient_at_all():
    def constant(x: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(x), 2)

    rows = (Row("pgd", STOPPING), Row("deepfool", DeepFool(BALL)))
    found = evaluate(constant, grey(3), rows)
    assert found.union().all()
    assert [note.what for note in found.notes] == ["gradients zero"] * 2
    assert "blind there" in sentences(found.notes)[0]


def test_notes_go_on_where_an_evaluation_stopped():
    data, rows = shades(10, 200, 20, 220, 230), (CLEAN, Row("pgd", STOPPING))

    def model(x: Tensor) -> Tensor:
        return flat_when_bright(x).masked_fill(brightness(x) < 0.06, torch.nan)

    whole = evaluate(model, data, rows, batch_size=2)
    assert {(n.row, n.what): n.images for n in whole.notes} == {
        ("clean", "answers not finite"): 1,
        ("pgd", "answers not finite"): 1,
        ("pgd", "gradients zero"): 3,
    }
    for calls in range(1, 6):
        done: dict[str, np.ndarray] = {}
        book = NoteBook()
        with pytest.raises(StoppedError):
            evaluate(model, data, rows, batch_size=2, keep=stopping(done, calls), notes=book)
        resumed = evaluate(model, data, rows, batch_size=2, done=done, notes=book)
        assert {*resumed.notes} == {*whole.notes}


class StoppedError(Exception):
    """Raised by ``keep``."""


def stopping(done: dict[str, np.ndarray], calls: int):
    """Keep rows in ``done``, and raise at one of the calls."""
    left = [calls]

    def keep(name: str, right: np.ndarray) -> None:
        done[name] = right
        left[0] -= 1
        if not left[0]:
            raise StoppedError

    return keep
