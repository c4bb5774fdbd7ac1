from pathlib import Path

import pytest
import torch
from tiny import changed, raw_recipe

from morex.attacks import PGD, AutoAttack, ExpertTransfer, GateSteering, WorstOfDraws
from morex.evaluation import evaluate
from morex.evaluation.suite import table1
from morex.perturbations import L1, L2, Ball, Clean, Flow, Fog, Linf, Perturbation, Rain, Snow
from morex.recipe import RecipeError, load_suite, parse_recipe, shipped_suites

WEATHER = ("unforeseen", "worst_weather")
FIXED = ("union", "union_adaptive", "robustbench_linf", "robustbench_l2")
KNOWN = {
    "clean": Clean(),
    "l2": L2(1.0),
    "linf": Linf(8 / 255),
    "fog": Fog(t=0.15, light=0.6),
    "snow": Snow(darkness=2.5),
}


def test_table1_is_that_of_the_paper() -> None:
    rows = {name: row.build(KNOWN) for name, row in load_suite("table1", KNOWN).rows.items()}
    assert rows == {row.name: row.attack for row in table1()}


@pytest.mark.parametrize("name", sorted({*shipped_suites()} - {*FIXED, *WEATHER}))
def test_shipped_suites_fit_any_perturbations(name: str) -> None:
    rows = load_suite(name, KNOWN).rows
    assert {row.perturbation for row in rows.values()} == {*KNOWN}
    few = load_suite(name, {"weak": L2(0.1), "nothing": Clean()}).rows
    assert {row.perturbation for row in few.values()} == {"weak", "nothing"}


def test_unforeseen_is_the_same_for_every_model() -> None:
    attacks = load_suite("unforeseen", {"weak": L2(0.1)})
    assert attacks == load_suite("unforeseen", KNOWN)
    built = {name: row.build(attacks.perturbations) for name, row in attacks.rows.items()}
    assert built.pop("clean") == WorstOfDraws(Clean())
    assert len(built) == 6
    assert all(isinstance(attack, PGD) for attack in built.values())


def test_the_worst_weather_is_that_of_the_recipe() -> None:
    rows = load_suite("worst_weather", KNOWN).rows
    assert [*rows][:3] == ["clean", "fog", "snow"]
    assert rows["pgd-snow"].build(KNOWN).perturbation == Snow(darkness=2.5)


@pytest.mark.parametrize("known", [KNOWN, {"fog": Fog(t=0.1, light=0.5)}])
def test_the_union_is_that_of_the_field_whatever_a_model_was_trained_on(
    known: dict[str, Perturbation],
) -> None:
    attacks = load_suite("union", known)
    standard = ("apgd-ce", "apgd-t")
    assert {name: row.build(attacks.perturbations) for name, row in attacks.rows.items()} == {
        "clean": WorstOfDraws(Clean()),
        "apgd-linf": AutoAttack(Linf(8 / 255), standard),
        "apgd-l2": AutoAttack(L2(0.5), standard),
        "apgd-l1": AutoAttack(L1(12.0), standard),
    }


def test_the_adaptive_union_adds_attacks_to_the_union() -> None:
    union, more = (load_suite(name, KNOWN) for name in ("union", "union_adaptive"))
    assert more.perturbations == union.perturbations
    assert {name: more.rows[name] for name in union.rows} == union.rows
    added = {name: row.build(more.perturbations) for name, row in more.rows.items()}
    for ball in ("linf", "l2", "l1"):
        assert isinstance(added[f"steering-{ball}"], GateSteering)
        assert isinstance(added[f"transfer-{ball}"], ExpertTransfer)


@pytest.mark.parametrize(("name", "ball"), [("linf", Linf(8 / 255)), ("l2", L2(0.5))])
def test_the_suites_of_robustbench_have_one_attack(name: str, ball: Ball) -> None:
    attacks = load_suite(f"robustbench_{name}", KNOWN)
    assert {key: row.build(attacks.perturbations) for key, row in attacks.rows.items()} == {
        "clean": WorstOfDraws(Clean()),
        f"autoattack-{name}": AutoAttack(ball),
    }


def test_a_suite_may_bring_perturbations_of_its_own(tmp_path: Path) -> None:
    text = """
name: mine
perturbations:
  soft: {kind: linf, eps: 1/255}
  warped: {kind: flow, shift: 0.1}
  misty: {kind: compose, parts: [{kind: fog, t: 0.1, light: 0.6}, soft]}
rows:
  both-*: {attack: pgd, over: [balls, chosen], steps: 3}
"""
    attacks = load_suite(write(tmp_path, text), KNOWN)
    assert [*attacks.rows] == ["both-soft", "both-warped", "both-misty"]
    warped = attacks.rows["both-warped"].build(attacks.perturbations)
    assert warped == PGD(Flow(0.1), steps=3, stop_when_fooled=True)
    assert attacks.perturbations["soft"] == Linf(1 / 255)
    with pytest.raises(RecipeError, match=r"mine.yaml is not a suite: perturbations.soft"):
        load_suite(write(tmp_path, text.replace("1/255", "-1")), KNOWN)


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_a_suite_of_one_s_own(tmp_path: Path) -> None:
    text = """
name: mine
rows:
  strong-*: {attack: pgd, over: [linf, rain, balls], steps: 7}
  steer: {attack: steering, over: l2, pushes: [3]}
"""
    with pytest.raises(RecipeError, match=r"rows.strong-\*: PGD searches balls, .* got Rain"):
        load_suite(write(tmp_path, text), {**KNOWN, "rain": Rain()})
    rows = load_suite(write(tmp_path, text.replace(" rain,", "")), KNOWN).rows
    built = {name: row.build(KNOWN) for name, row in rows.items()}
    assert built == {
        "strong-l2": PGD(L2(1.0), steps=7, stop_when_fooled=True),
        "strong-linf": PGD(Linf(8 / 255), steps=7, stop_when_fooled=True),
        "steer": GateSteering(L2(1.0), pushes=(3.0,)),
    }
    assert isinstance(load_suite("quick", KNOWN).rows["fog"].build(KNOWN), WorstOfDraws)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: {a: {attack: pgd, over: balls}}", "name: Field required"),
        ("name: a\nrows: {}", "at least 1 item"),
        ("name: a\nrows: {a: {attack: pgd}}", r"rows.a.over: expected balls, transforms"),
        (
            "name: a\nrows: {a: {attack: pgd, over: hail}}",
            r"no kind of perturbation 'hail'; there are balls",
        ),
        ("name: a\nrows: {a: {attack: magic, over: balls}}", r"rows.a: .*magic"),
        ("name: a\nrows: {'*': {attack: pgd, over: balls, stepz: 2}}", r"stepz"),
        ("name: a\nrows: {a: {attack: pgd, over: balls}}", r"'a' is there already"),
        ("name: a\nrows: {a: {attack: pgd, over: l1}}", r"none of its attacks goes over clean, l2"),
        ("name: [", "mine.yaml is not valid YAML: line 1"),
        ("- a", "mine.yaml: expected a mapping of keys to values, got a list"),
        ("", "mine.yaml: expected a mapping of keys to values, it is empty"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_suite(write(tmp_path, text), KNOWN)


def test_what_a_suite_goes_over_in_vain_is_said() -> None:
    assert load_suite("table1", KNOWN).missing == ()
    few = {"clean": Clean(), "linf": Linf(8 / 255), "rain": Rain()}
    assert load_suite("table1", few).missing == ("l2",)
    assert load_suite("adaptive", {"linf": Linf(8 / 255)}).missing == ("clean", "transforms")
    for name in ("worst_weather", "adaptive"):  # a table of clean images alone would flatter
        with pytest.raises(RecipeError, match=f"{name}: none of its attacks goes over clean"):
            load_suite(name, {"clean": Clean()})


def test_rows_of_a_suite_are_for_evaluate() -> None:
    union = load_suite("union").suite()
    assert [row.name for row in union] == ["clean", "apgd-linf", "apgd-l2", "apgd-l1"]
    assert union[3].attack == AutoAttack(L1(12.0), ("apgd-ce", "apgd-t"))
    with pytest.raises(RecipeError, match="none of its attacks goes over no perturbation"):
        load_suite("adaptive")
    data = torch.rand(2, 3, 4, 4), torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"expected rows, such as .*load_suite.*, got 'union'"):
        evaluate(lambda x: x.flatten(1)[:, :2], data, "union")  # type: ignore[arg-type]


def test_a_suite_is_about_all_kinds_of_a_recipe_and_the_strengths_of_its_rows() -> None:
    raw = raw_recipe()
    raw["perturbations"] |= {"weak": {"kind": "linf", "eps": "1/255"}, "rain": {"kind": "rain"}}
    recipe = parse_recipe(changed(raw, "evaluation.suites", {"quick": {}}))
    assert {*recipe.attacked()} == {"clean", "linf", "l2", "fog"}
    assert {*recipe.measured()} == {"clean", "linf", "l2", "fog", "rain"}
    only = changed(raw, "evaluation.rows", {"clean": {"attack": "draws", "perturbation": "clean"}})
    only["evaluation"]["suites"] = {"quick": {}}
    rows = parse_recipe(only).attacks("quick").rows.values()
    assert {row.perturbation for row in rows} == {"clean", "linf", "l2", "fog", "weak", "rain"}


def test_an_unknown_suite_is_told_what_there_is() -> None:
    with pytest.raises(
        RecipeError, match=r"shipped suites adaptive, adaptive_fast, autoattack, quick, .*table1"
    ):
        load_suite("tabel1", KNOWN)
