import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from linear import SHAPE, Linear, robust_gap
from noise import Noise
from torch import Tensor, nn

from morex.artifacts.statistics import BoolArray
from morex.attacks import PGD, Attack, AutoAttack, DeepFool, Model, Passes, RayS, WorstOfDraws
from morex.data import ImageSet
from morex.evaluation.evaluate import evaluate
from morex.evaluation.feasibility import InfeasibleError
from morex.evaluation.suite import Row, Suite, table1
from morex.perturbations import L2, Ball, Clean, Fog, Linf, Perturbation, Snow

N = 90
WRONG = torch.arange(N) % 9 == 4
"""Which images carry the wrong label, so that the model is wrong on them without an attack."""

CLEAN = WorstOfDraws(Clean())


def planted(classes: int = 2) -> tuple[Linear, ImageSet]:
    """Return a linear model and images that it gets right, except those in ``WRONG``."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (N, *SHAPE), generator=generator, dtype=torch.uint8)
    weight = torch.randn(classes, images[0].numel(), generator=generator)
    model = Linear(weight, -weight.sum(1) / 2)
    said = model(images.double() / 255).argmax(1)
    labels = torch.where(WRONG, (said + 1) % classes, said)
    return model, ImageSet(images, labels, tuple(map(str, range(classes))))


LINEAR, DATA = planted()


def model(x: Tensor) -> Tensor:
    """A plain callable, not an ``nn.Module``."""
    return LINEAR(x.double()).float()


@dataclass(frozen=True)
class Does(Attack):
    """Applies a function to the images, and records how many it got."""

    perturbation: Perturbation | tuple[Perturbation, ...]
    change: Callable[[Tensor, torch.Generator], Tensor] = lambda x, _: x
    seen: list[Tensor] = field(default_factory=list)

    @property
    def passes(self) -> Passes:
        return Passes()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        self.seen.append(x.clone())
        return self.change(x, generator)


def right(suite: Suite, asked: Model = model, **options: int) -> dict[str, BoolArray]:
    return dict(evaluate(asked, DATA, suite, **options).right)


def refuse(x: Tensor, _: torch.Generator) -> Tensor:
    raise AssertionError("this row should not have been computed")


# --- what counts as right ------------------------------------------------------------------------


@pytest.mark.parametrize("ball", [Linf(0.02), L2(0.15)], ids=str)
def test_outcomes_of_a_linear_model_are_exact(ball: Ball) -> None:
    attack = PGD(ball, steps=60, relative_step=10, stop_when_fooled=True)
    found = right((Row("clean", CLEAN), Row("pgd", attack)), batch_size=32)
    assert np.array_equal(found["clean"], ~WRONG.numpy())
    gap = robust_gap(LINEAR, ball, DATA.pixels(slice(None)).double(), DATA.labels)
    robust, clear = (gap > 0).numpy(), (gap.abs() > 1e-3).numpy()
    assert 0.2 < robust.mean() < 0.85  # less than what is clean right: the attack does something
    assert clear.sum() > 85
    assert np.array_equal(found["pgd"][clear], robust[clear])


def test_a_huge_ball_leaves_nothing_right() -> None:
    assert not right((Row("pgd", PGD(Linf(1.0), steps=20)),))["pgd"].any()


def test_a_misclassified_image_is_wrong_in_every_ball() -> None:
    v = (LINEAR.weight[1] - LINEAR.weight[0]).sign().view(SHAPE).float().detach()

    def to_class_1(x: Tensor, _: torch.Generator) -> Tensor:
        return (x + 0.5 * v).clamp(0, 1)

    everything, union = Does(Linf(1.0), to_class_1), Does((Linf(1.0), L2(9.0)), to_class_1)
    found = right((Row("ball", everything), Row("union", union)), batch_size=32)
    expected = (DATA.labels == 1) & ~WRONG
    for name, attack in (("ball", everything), ("union", union)):
        assert np.array_equal(found[name], expected.numpy())
        attacked = torch.cat(attack.seen)
        assert torch.equal(attacked, DATA.pixels(torch.nonzero(~WRONG).flatten()))


def test_a_transform_is_applied_to_every_image() -> None:
    other_way = Does(Clean(), lambda x, _: 1 - x)  # mirrors the planted model's decision
    found = right((Row("inverted", other_way),), batch_size=32)
    with torch.no_grad():
        mirrored = model(1 - DATA.pixels(slice(None))).argmax(1) == DATA.labels
    assert mirrored[WRONG].any()  # so wrong images may become right
    assert np.array_equal(found["inverted"], mirrored.numpy())
    assert [len(x) for x in other_way.seen] == [32, 32, 26]


def test_an_answer_that_is_not_finite_is_wrong() -> None:
    def broken(x: Tensor) -> Tensor:
        logits = model(x)
        dark = x.mean((1, 2, 3)) < 0.5
        logits[dark, DATA.labels[0]] = torch.nan  # arg max takes NaN for the largest
        return logits

    dark = (DATA.pixels(slice(None)).mean((1, 2, 3)) < 0.5).numpy()
    found = right((Row("clean", CLEAN), Row("ball", Does(Linf(0.1)))), broken)
    for row in found.values():
        assert not row[dark].any()
        assert np.array_equal(row[~dark], ~WRONG.numpy()[~dark])


def test_the_model_is_attacked_and_judged_in_evaluation_mode() -> None:
    class Moody(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert not self.training
            return model(x)

    moody = Moody().train()
    assert np.array_equal(right((Row("clean", CLEAN),), moody)["clean"], ~WRONG.numpy())
    assert moody.training


# --- rows ----------------------------------------------------------------------------------------


def test_rows_of_fewer_examples_take_the_first() -> None:
    attack = PGD(Linf(0.02), steps=5, random_start=False)
    found = right((Row("all", attack), Row("few", attack, 25), Row("many", attack, 10 * N)))
    assert len(found["few"]) == 25
    assert np.array_equal(found["few"], found["all"][:25])
    assert np.array_equal(found["many"], found["all"])
    few = Does(Clean())
    right((Row("few", few, 25),), batch_size=20)
    assert torch.equal(torch.cat(few.seen), DATA.pixels(slice(25)))


def test_the_union_is_at_most_each_row() -> None:
    suite = (
        Row("linf", PGD(Linf(0.01), steps=5)),
        Row("l2", PGD(L2(0.05), steps=5), 60),
        Row("noise", WorstOfDraws(Noise())),
    )
    outcomes = evaluate(model, DATA, suite)
    union = outcomes.union()
    assert len(union) == 60
    assert not any((union & ~row[:60]).any() for row in outcomes.right.values())
    assert union.sum() < min(row[:60].sum() for row in outcomes.right.values())


def test_rows_that_are_done_are_not_redone_and_the_others_are_kept_at_once() -> None:
    kept: list[tuple[str, BoolArray]] = []

    def after_first(x: Tensor, _: torch.Generator) -> Tensor:
        assert [name for name, _ in kept] == ["first"]
        return x

    known = np.arange(N) % 2 == 0
    suite = (
        Row("first", CLEAN),
        Row("known", Does(Clean(), refuse)),
        Row("last", Does(Clean(), after_first)),
    )
    outcomes = evaluate(
        model,
        DATA,
        suite,
        done={"known": known, "of-another-suite": known},
        keep=lambda name, row: kept.append((name, row)),
    )
    assert outcomes.rows == ("first", "known", "last")
    assert np.array_equal(outcomes.right["known"], known)
    assert [name for name, _ in kept] == ["first", "last"]
    assert all(np.array_equal(row, outcomes.right[name]) for name, row in kept)


@pytest.mark.parametrize(
    ("known", "examples", "message"),
    [
        (
            np.ones(N + 1, np.bool_),
            None,
            rf"at most {N} booleans .* got bool of shape \({N + 1},\)",
        ),
        (np.ones(31, np.bool_), 30, r"at most 30 booleans for the row 'row', got bool of shape"),
        (np.ones(9), None, "got float64 of shape"),
        (np.ones((9, 1), np.bool_), None, r"got bool of shape \(9, 1\); remove it"),
    ],
)
def test_results_of_other_work_are_refused(
    known: BoolArray, examples: int | None, message: str
) -> None:
    suite = (Row("row", Does(Clean(), refuse), examples),)
    with pytest.raises(ValueError, match=message):
        evaluate(model, DATA, suite, done={"row": known})


def test_results_of_a_whole_row_are_enough() -> None:
    suite = (Row("row", Does(Clean(), refuse), 30),)
    known = np.arange(30) % 2 == 0
    outcomes = evaluate(model, DATA, suite, done={"row": known, "other": np.ones(10**4, np.bool_)})
    assert np.array_equal(outcomes.right["row"], known)


@pytest.mark.parametrize("attack", [PGD(Linf(0.02), steps=2), WorstOfDraws(Noise())])
@pytest.mark.parametrize("examples", [None, 70])
def test_an_evaluation_goes_on_within_a_row(attack: Attack, examples: int | None) -> None:
    suite = (Row("first", CLEAN, 30), Row("row", attack, examples))
    kept: list[BoolArray] = []

    def keep(name: str, row: BoolArray) -> None:
        if name == "row":
            kept.append(row)

    expected = evaluate(model, DATA, suite, batch_size=16, keep=keep).right["row"]
    assert len(kept) > 2
    for known in kept:  # of the first examples
        assert np.array_equal(known, expected[: len(known)])
        calls: list[BoolArray] = []
        found = evaluate(
            model,
            DATA,
            suite,
            batch_size=16,
            done={"row": known},
            keep=lambda name, row, calls=calls: calls.append(row) if name == "row" else None,  # type: ignore[misc]
        )
        assert np.array_equal(found.right["row"], expected)
        assert [len(row) for row in calls] == [len(k) for k in kept if len(k) > len(known)]


# --- randomness ----------------------------------------------------------------------------------


def test_the_seed_decides_all_draws() -> None:
    suite = (Row("noise", WorstOfDraws(Noise())), Row("pgd", PGD(Linf(0.02), steps=1)))
    first, again, other = right(suite), right(suite), right(suite, seed=1)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["noise"], other["noise"])


def test_draws_of_a_transform_differ_between_batches_and_rows_and_not_between_models() -> None:
    def draw(x: Tensor, generator: torch.Generator) -> Tensor:
        drawn.append(torch.rand(x.shape, generator=generator))
        return drawn[-1]

    drawn: list[Tensor] = []
    suite = (Row("a", Does(Clean(), draw)), Row("b", Does(Clean(), draw)))
    right(suite, batch_size=45)
    right(suite, lambda x: -model(x), batch_size=45)
    assert len(drawn) == 8
    assert all(torch.equal(a, b) for a, b in zip(drawn[:4], drawn[4:], strict=True))
    assert not any(torch.equal(drawn[i], drawn[j]) for i in range(4) for j in range(i))


def test_the_batch_size_does_not_matter_to_deterministic_attacks() -> None:
    suite = (
        Row("pgd", PGD(Linf(0.02), steps=10, random_start=False, stop_when_fooled=True)),
        Row("fog", WorstOfDraws(Fog(t=0.5, light=0.7))),
    )
    whole = right(suite)
    assert 0 < whole["pgd"].sum() < N
    for size in (1, 7, N):
        for name, row in right(suite, batch_size=size).items():
            assert np.array_equal(row, whole[name])


def test_evaluation_does_not_touch_the_global_generator() -> None:
    before = torch.get_rng_state()
    right((Row("noise", WorstOfDraws(Noise())), Row("pgd", PGD(Linf(0.02), steps=1))))
    assert torch.equal(torch.get_rng_state(), before)


# --- the audit -----------------------------------------------------------------------------------


def shifted(amount: float) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Move one pixel of the last image towards the middle of the box."""

    def change(x: Tensor, _: torch.Generator) -> Tensor:
        moved = x.clone()
        pixel = moved[-1, 0, 0, 0]
        moved[-1, 0, 0, 0] += amount if pixel < 0.5 else -amount
        return moved

    return change


def one_value(value: float) -> Callable[[Tensor, torch.Generator], Tensor]:
    def change(x: Tensor, _: torch.Generator) -> Tensor:
        moved = x.clone()
        moved[-1, 1, 2, 3] = value
        return moved

    return change


def in_place(x: Tensor, _: torch.Generator) -> Tensor:
    return x.mul_(0.5)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (Does(Linf(0.1), shifted(0.101)), r"image 0\.00\d* outside Linf\(eps=0\.1\)"),
        (Does(L2(0.1), shifted(0.101)), r"outside L2\(eps=0\.1\)"),
        (Does((Linf(0.1), L2(0.2)), shifted(0.21)), r"outside Linf\(eps=0\.1\) and L2\(eps=0\.2\)"),
        (Does(Linf(0.1), in_place), "outside Linf"),
        (Does(Linf(5.0), one_value(1.01)), r"pixels in \[\d.*, 1\.01\]"),
        (Does(Clean(), one_value(-0.01)), r"pixels in \[-0\.01, \d"),
        (Does(Linf(5.0), one_value(torch.nan)), "not finite"),
        (Does(Clean(), one_value(torch.inf)), "not finite"),
        (Does(Clean(), lambda x, _: x[:, :1]), "of another shape"),
        (Does(Clean(), lambda x, _: x[1:]), "of another shape"),
    ],
)
def test_an_attack_that_cheats_is_caught(attack: Attack, message: str) -> None:
    with pytest.raises(InfeasibleError, match=f"cheat: .*{message}"):
        right((Row("clean", CLEAN), Row("cheat", attack)))


@pytest.mark.parametrize(
    "attack",
    [
        Does(Linf(0.1), shifted(0.1)),
        Does(L2(0.1), shifted(0.1)),
        Does((Linf(0.1), L2(0.2)), shifted(0.199)),
        Does(
            (Linf(0.1), Clean()), lambda x, _: 1 - x
        ),  # there is no check of the result of a transform
    ],
)
def test_an_attack_that_goes_to_the_edge_passes(attack: Attack) -> None:
    right((Row("fair", attack),))


# --- errors and the default suite ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b", "a"], r"different names, got \['a', 'b', 'a'\]"),
        (["a", "linf 8"], "row name 'linf 8'"),
        ([], "at least one row"),
    ],
)
def test_bad_suites_raise_before_any_work(names: list[str], message: str) -> None:
    suite = tuple(Row(name, Does(Clean(), refuse)) for name in names)
    with pytest.raises(ValueError, match=message):
        right(suite)


def test_bad_numbers_raise() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        right((Row("a", CLEAN),), batch_size=0)
    with pytest.raises(ValueError, match="row 'a': examples must be at least 1, got 0"):
        Row("a", CLEAN, 0)


def test_table1_has_the_rows_and_strengths_of_the_paper() -> None:
    expected = {
        "clean": CLEAN,
        "deepfool-l2": DeepFool(L2(1.0)),
        "deepfool-linf": DeepFool(Linf(8 / 255)),
        "pgd-l2": PGD(L2(1.0), steps=20, stop_when_fooled=True),
        "pgd-linf": PGD(Linf(8 / 255), steps=20, stop_when_fooled=True),
        "rays-l2": RayS(L2(1.0), queries=10_000),
        "rays-linf": RayS(Linf(8 / 255), queries=10_000),
        "fog": WorstOfDraws(Fog(t=0.15, light=0.6)),
        "snow": WorstOfDraws(Snow(darkness=2.5)),
    }
    assert {row.name: row.attack for row in table1()} == expected
    few = {row.name: row.examples for row in table1(rays_examples=50)}
    assert {name for name, n in few.items() if n == 50} == {"rays-l2", "rays-linf"}
    assert set(few.values()) == {50, None}


def test_a_missing_package_is_said_before_the_first_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack.autoattack", None)
    kept = list[str]()
    suite = (Row("clean", CLEAN), Row("apgd", AutoAttack(Linf(0.1))))
    with pytest.raises(ImportError, match=r"pip install 'morex\[autoattack\]'"):
        evaluate(model, DATA, suite, keep=lambda name, _: kept.append(name))
    assert not kept
