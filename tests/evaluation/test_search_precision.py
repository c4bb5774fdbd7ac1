"""Attacks that see the model in bfloat16, and figures that are float32's all the same."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calling import call
from linear import SHAPE, Linear, random_linear, robust_gap
from noise import Noise
from torch import Tensor

from morex.artifacts.notes import Note, NoteBook, sentences
from morex.artifacts.origins import differences
from morex.artifacts.outcomes import Outcomes
from morex.attacks import (
    PGD,
    Attack,
    AutoAttack,
    DeepFool,
    GateSteering,
    GridSearch,
    InTurn,
    Model,
    Passes,
    RandomNoise,
    RayS,
    SearchAround,
    WorstOfDraws,
    WorstOfStrengths,
)
from morex.core.precision import has_fast_bf16
from morex.data import ImageSet
from morex.evaluation import evaluate
from morex.evaluation.suite import Row
from morex.perturbations import L2, Around, Ball, Clean, Linf, RotateTranslate

N, BALL = 30, Linf(0.05)
NOTE = "fooled in bfloat16 only"


def rounded() -> bool:
    """Return whether the model is asked in bfloat16."""
    return torch.is_autocast_enabled("cpu")


def images(count: int = N) -> ImageSet:
    """Return images whose first pixel is their number."""
    pixels = torch.full((count, *SHAPE), 128, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.arange(count, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(count).long(), ("a", "b"))


def numbers(x: Tensor) -> Tensor:
    """Return the numbers of images, attacked or not."""
    return (x[:, 0, 0, 0] * 255).round().long()


@dataclass
class Answering:
    """Is wrong where a rule on the images says so, and notes what it was asked, and how."""

    wrong: Callable[[Tensor, bool], Tensor]
    asked: list[tuple[bool, list[int]]] = field(default_factory=list)

    def __call__(self, x: Tensor) -> Tensor:
        self.asked.append((rounded(), numbers(x).tolist()))
        wrong = self.wrong(x, rounded()).float()[:, None]
        return torch.cat([1 - wrong, wrong], 1) + 0 * x.flatten(1)[:, :1]


@dataclass(frozen=True)
class Raising(Attack):
    """Raises the last pixel by ``by`` in bfloat16 and by ``by_exact`` in float32."""

    perturbation: Ball = BALL
    by: float = 0.01
    by_exact: float = 0.02
    seen: list[tuple[bool, list[int]]] = field(default_factory=list)

    @property
    def passes(self) -> Passes:
        return Passes()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        self.seen.append((rounded(), numbers(x).tolist()))
        moved = x.clone()
        moved[:, -1, -1, -1] += self.by if rounded() else self.by_exact
        return moved


def raised(x: Tensor) -> Tensor:
    return x[:, -1, -1, -1] - 128 / 255


def test_only_what_fools_the_rounded_model_alone_is_attacked_again() -> None:
    def rule(x: Tensor, coarse: bool) -> Tensor:
        if coarse:  # fooled on the images 0 to 19
            return (numbers(x) < 20) & (raised(x) > 0.005)
        # of these 0 to 9 at once, and 10 to 14 only by the search in float32
        return (numbers(x) < 10) & (raised(x) > 0.005) | (numbers(x) < 15) & (raised(x) > 0.015)

    attack, model = Raising(), Answering(rule)
    found = evaluate(model, images(), (Row("row", attack),), search_precision="bf16")
    assert attack.seen == [(True, [*range(N)]), (False, [*range(10, 20)])]
    assert found.right["row"].tolist() == [False] * 15 + [True] * 15
    assert found.notes == (Note("row", NOTE, 10, N),)
    assert sentences(found.notes) == [
        "row: the search in bfloat16 fooled only the rounded model on 10 of 30 images; these were "
        "attacked again in float32"
    ]


def test_what_fools_the_float32_model_alone_counts() -> None:
    model = Answering(lambda x, coarse: torch.full((len(x),), not coarse) & (raised(x) > 0.005))
    attack = Raising()
    found = evaluate(model, images(), (Row("row", attack),), search_precision="bf16")
    assert not found.right["row"].any()
    assert found.notes == ()
    assert len(attack.seen) == 1


def test_an_image_that_the_rounded_model_gets_wrong_by_itself_is_attacked_in_float32() -> None:
    model = Answering(lambda x, coarse: torch.full((len(x),), coarse))
    row = Row("row", PGD(BALL, steps=2, stop_when_fooled=True))
    found = evaluate(model, images(), (row,), search_precision="bf16")
    assert found.right["row"].all()
    assert Note("row", NOTE, N, N) in found.notes
    # clean; one rounded step, and its image in both formats; then two steps, their end, and a judge
    assert [coarse for coarse, _ in model.asked] == [False, True, False, True] + [False] * 4


@pytest.mark.parametrize("ball", [Linf(0.02), L2(0.15)], ids=str)
@pytest.mark.parametrize(
    "make",
    [
        lambda ball: PGD(ball, steps=60, relative_step=10, stop_when_fooled=True),
        lambda ball: DeepFool(ball),
        lambda ball: GateSteering(ball, steps=60, relative_step=10),
        lambda ball: InTurn((PGD(ball, steps=60, relative_step=10), DeepFool(ball))),
    ],
    ids=["pgd", "deepfool", "steering", "in turn"],
)
def test_outcomes_of_a_rounded_search_are_exact_on_a_linear_model(
    ball: Ball, make: Callable[[Ball], Attack]
) -> None:
    exact, _, _ = random_linear(2, seed=0)
    model = Linear(exact.weight, exact.bias).float()
    pixels = torch.randint(256, (80, *SHAPE), generator=torch.Generator().manual_seed(0))
    data = ImageSet(pixels.to(torch.uint8), exact(pixels.double() / 255).argmax(1), tuple("ab"))
    found = evaluate(model, data, (Row("row", make(ball)),), search_precision="bf16").right["row"]
    gap = robust_gap(exact, ball, data.pixels(slice(None)).double(), data.labels)
    clear = (gap.abs() > 2e-2).numpy()
    assert clear.sum() > 60
    assert 0.2 < (gap > 0).float().mean() < 0.8
    assert np.array_equal(found[clear], (gap > 0).numpy()[clear])


def test_a_composition_is_searched_on_around_the_same_centres() -> None:
    centres: list[Tensor] = []

    @dataclass(frozen=True)
    class Staying(Raising):
        def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
            centres.append(x.clone())
            return x.clone()

    attack = SearchAround(Around(Noise(), BALL), Staying(BALL))
    model = Answering(lambda x, coarse: torch.full((len(x),), coarse) & (x[:, 1, 0, 0] > 0.5))
    found = evaluate(model, images(), (Row("row", attack),), search_precision="bf16")
    first, second = centres
    assert 5 < len(second) < N - 5
    assert torch.equal(second, first[first[:, 1, 0, 0] > 0.5])
    assert found.right["row"].all()


def no_model_in_bf16(x: Tensor, coarse: bool) -> Tensor:
    assert not coarse
    return raised(x) > 0.03


@pytest.mark.parametrize(
    "attack",
    [
        WorstOfDraws(Clean()),
        WorstOfDraws(Noise(), draws=3),
        WorstOfStrengths(Noise(), draws=2),
        RandomNoise(BALL, draws=2),
        GridSearch(RotateTranslate(10, 0.1), points=2),
        AutoAttack(BALL, attacks=("apgd-ce",), steps=2),
        DeepFool(BALL, steps=2),
        InTurn((RandomNoise(BALL), PGD(BALL, steps=1))),
        SearchAround(Around(Noise(), BALL), RandomNoise(BALL)),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_draws_published_protocols_and_deepfool_search_in_float32(attack: Attack) -> None:
    model = Answering(no_model_in_bf16)
    found = evaluate(model, images(), (Row("row", attack),), search_precision="bf16")
    assert found.origins["row"].search_precision == "fp32"
    exact = evaluate(model, images(), (Row("row", attack),))
    assert np.array_equal(found.right["row"], exact.right["row"])


def test_float32_is_the_default_and_leaves_files_as_they_were(tmp_path: Path) -> None:
    rows = (Row("pgd", PGD(BALL, steps=1)), Row("rays", RayS(BALL, queries=3)))
    plain = evaluate(Answering(no_model_in_bf16), images(), rows)
    assert "search_precision" not in plain.origins["pgd"].content()
    plain.save(tmp_path / "plain.npz")
    assert Outcomes.load(tmp_path / "plain.npz").origins["pgd"].search_precision == "fp32"


def test_auto_is_what_the_device_is_fast_at() -> None:
    row = (Row("row", PGD(BALL, steps=1)),)
    model = Answering(lambda x, coarse: raised(x) > 1)
    found = evaluate(model, images(), row, search_precision="auto")
    fast = has_fast_bf16(torch.device("cpu"))
    assert found.origins["row"].search_precision == ("bf16" if fast else "fp32")


def test_rows_that_were_searched_differently_are_not_compared(tmp_path: Path) -> None:
    row, model = (Row("row", PGD(BALL, steps=1)),), Answering(lambda x, coarse: raised(x) > 1)
    precise, coarse = (evaluate(model, images(), row, search_precision=p) for p in ("fp32", "bf16"))
    (difference,) = differences(precise.origins["row"], coarse.origins["row"])
    assert difference.words == "search_precision is fp32 and bf16"
    precise.save(tmp_path / "a.npz")
    coarse.save(tmp_path / "b.npz")
    code, _, error = call("compare", tmp_path / "a.npz", tmp_path / "b.npz")
    assert (code, "search_precision is fp32 and bf16" in error) == (2, True)


def test_a_stopped_evaluation_goes_on_with_the_same_outcomes_and_notes() -> None:
    def rule(x: Tensor, coarse: bool) -> Tensor:
        return (numbers(x) % 3 == 0) & (raised(x) > (0.005 if coarse else 0.04))

    kept: list[tuple[Any, NoteBook]] = []
    book = NoteBook()
    settings: dict[str, Any] = {"batch_size": 7, "search_precision": "bf16"}

    def keep(_: str, right: Any) -> None:
        kept.append((right, NoteBook(book)))

    row = (Row("row", Raising()),)
    whole = evaluate(Answering(rule), images(), row, keep=keep, notes=book, **settings)
    assert whole.notes == (Note("row", NOTE, 10, N),)
    for right, notes in kept:
        again = evaluate(
            Answering(rule), images(), row, done={"row": right}, notes=notes, **settings
        )
        assert np.array_equal(again.right["row"], whole.right["row"])
        assert again.notes == whole.notes
