"""An evaluation as on an accelerator: few shapes, few questions, and the same outcomes."""

import numpy as np
import pytest
import torch
from host_questions import host_questions
from linear import SHAPE, Counting, Linear
from noise import Noise
from torch import Tensor

from morex.artifacts.outcomes import Outcomes
from morex.attacks import PGD, Attack, DeepFool, RayS, SearchAround, WorstOfDraws
from morex.attacks.standing import AtOnce, ByHalves, leaving
from morex.data import ImageSet
from morex.evaluation import Row, evaluate
from morex.perturbations import Around, Clean, Linf

N, BATCH, BALL = 90, 32, Linf(0.02)
HALVES = ByHalves(least=4)


def planted() -> tuple[Linear, ImageSet]:
    """Return a model and images; a ninth of them have the wrong label."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (N, *SHAPE), generator=generator, dtype=torch.uint8)
    weight = torch.randn(3, images[0].numel(), generator=generator)
    model = Linear(weight, -weight.sum(1) / 2)
    labels = model(images.double() / 255).argmax(1)
    return model, ImageSet(
        images, torch.where(torch.arange(N) % 9 == 4, (labels + 1) % 3, labels), tuple("abc")
    )


LINEAR, DATA = planted()


def model(x: Tensor) -> Tensor:
    """Is less sure in bfloat16, and has no gradient on every fourth image."""
    exact = LINEAR(x.double()).float()
    if torch.is_autocast_enabled("cpu"):  # as coarse as a wide network, and the same everywhere
        exact = exact + (exact * 4).round() / 4 - exact.detach()
    blind = ((x[:, 0, 0, 0].detach() * 255).round() % 4 == 0)[:, None]
    return torch.where(blind, exact.detach(), exact)


ATTACKS: dict[str, Attack] = {
    "pgd": PGD(BALL, 8, random_start=False, stop_when_fooled=True),
    "deepfool": DeepFool(BALL, steps=6),
    "rays": RayS(BALL, queries=40),
    "clean": WorstOfDraws(Clean()),
}


def outcomes(rows: tuple[Row, ...], precision: str = "fp32", **settings: int) -> Outcomes:
    options = {"batch_size": BATCH} | settings
    return evaluate(model, DATA, rows, search_precision=precision, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", [*ATTACKS])
def test_outcomes_and_notes_are_the_same(name: str, precision: str) -> None:
    rows = (Row(name, ATTACKS[name]), Row("few", ATTACKS[name], 35))
    found = []
    for how in (AtOnce(), HALVES):
        with leaving(how):
            found.append(outcomes(rows, precision))
    for row in (name, "few"):
        assert np.array_equal(found[0].right[row], found[1].right[row])
    assert found[0].notes == found[1].notes
    if name in ("pgd", "deepfool"):
        kinds = {note.what for note in found[0].notes}
        coarse = {"fooled in bfloat16 only"} if (name, precision) == ("pgd", "bf16") else set()
        assert kinds == {"gradients zero"} | coarse


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_sees_few_shapes_in_all_rows(precision: str) -> None:
    rows = [Row(name, attack) for name, attack in ATTACKS.items()]
    around = SearchAround(Around(Noise(), BALL), PGD(BALL, 3, stop_when_fooled=True))
    rows += [Row("few", ATTACKS["pgd"], 35), Row("composed", around)]
    counting = Counting(model)  # type: ignore[arg-type]
    with leaving(HALVES):
        evaluate(counting, DATA, tuple(rows), batch_size=BATCH, search_precision=precision)  # type: ignore[arg-type]
    assert {*counting.calls} <= {32, 16, 8, 4}
    assert len({*counting.calls}) > 2


def test_a_batch_asks_the_host_few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    row = (Row("pgd", PGD(BALL, 8, stop_when_fooled=True)),)
    asked = []
    for size in (16, 8):
        with leaving(HALVES), host_questions(monkeypatch) as questions:
            outcomes(row, "bf16", batch_size=size)
        asked.append(sum(questions.values()))
    batches = [-(-80 // size) for size in (16, 8)]
    per_batch = (asked[1] - asked[0]) / (batches[1] - batches[0])
    # an attack and its checks, perhaps twice, where it was needed again, feasibility, and results
    assert per_batch <= 2 * (2 + 5) + 2 + 1 + 3
