"""Compositions: transforms in their order, and a ball around the transformed image."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from linear import SHAPE, Linear, random_linear, right, robust_gap
from tiny import changed, phase, raw_recipe
from torch import Tensor

from morex.attacks import (
    PGD,
    Attack,
    AutoAttack,
    DeepFool,
    Model,
    Passes,
    RandomNoise,
    RayS,
    SearchAround,
    WorstOfDraws,
    WorstOfStrengths,
    attack_on,
    is_right,
)
from morex.cli.curve import measure_curve
from morex.cli.load_model import EvaluationRequest
from morex.data import ImageSet
from morex.evaluation.evaluate import evaluate
from morex.evaluation.feasibility import InfeasibleError
from morex.evaluation.suite import Row
from morex.perturbations import (
    L1,
    L2,
    Around,
    Ball,
    Chain,
    Clean,
    Contrast,
    Fog,
    GaussianNoise,
    Linf,
    Perturbation,
    Rain,
    Snow,
    compose,
)
from morex.perturbations.validate import check_perturbation
from morex.recipe import RecipeError, load_suite, parse_recipe
from morex.recipe.components import described, identified
from morex.report import read_results
from morex.run import Builder, run
from morex.run.stages import plan_stages

FOG, LINF = Fog(t=0.15, light=0.6), Linf(0.05)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 6) -> Tensor:
    return torch.rand(n, 3, 16, 16, generator=generator(n))


# --- what a composition is -----------------------------------------------------------------------


def test_a_chain_is_one_transform_after_the_other() -> None:
    parts = Rain(), GaussianNoise(2), Snow(2.0)
    moved = compose(*parts)(images(), generator=generator(1))
    x, draw = images(), generator(1)
    for part in parts:
        x = part(x, generator=draw)
    assert torch.equal(moved, x)
    other_way = compose(*parts[::-1])(images(), generator=generator(1))
    assert not torch.equal(moved, other_way)
    check_perturbation(compose(*parts))


def test_nested_compositions_are_flattened() -> None:
    inner = compose(Clean(), Rain())
    assert compose(FOG, inner, Snow(2.0)) == Chain((FOG, Clean(), Rain(), Snow(2.0)))
    assert compose(FOG, compose(inner, LINF)) == Around(Chain((FOG, Clean(), Rain())), LINF)
    assert compose(FOG, LINF) == Around(FOG, LINF)
    assert compose(inner, LINF).parts == (Clean(), Rain(), LINF)
    assert str(compose(Clean(), Contrast(2), Linf(8 / 255))) == (
        "Clean(), then Contrast(severity=2), then Linf(eps=8/255)"
    )


def test_strength_is_that_of_all_parts() -> None:
    half = compose(FOG, Contrast(2), LINF).scaled(0.5)
    assert half.parts == (FOG.scaled(0.5), Contrast(1), LINF.scaled(0.5))
    nothing = compose(FOG, Contrast(2)).scaled(0)
    assert torch.equal(nothing(images(), generator=generator()), images())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: compose(), "two or more parts, got none"),
        (lambda: compose(LINF), "two or more parts, got Linf(eps=0.05)"),
        (lambda: compose(LINF, FOG), "only the last part of a composition may be a ball"),
        (lambda: compose(FOG, LINF, L2(1.0)), "put the ball at the end"),
        (lambda: compose(compose(FOG, LINF), FOG), "only the last part"),
        (lambda: Chain((FOG,)), "two or more transforms"),
        (lambda: Chain((FOG, LINF)), "two or more transforms"),  # type: ignore[arg-type]
        (lambda: Around(LINF, LINF), "a transform and a ball"),  # type: ignore[arg-type]
        (lambda: SearchAround(Around(FOG, LINF), PGD(L2(1.0))), "expected Linf(eps=0.05)"),
        (lambda: attack_on(Around(FOG, LINF), WorstOfDraws), "draws transforms, got Linf"),
        (lambda: attack_on(compose(FOG, FOG), PGD), "such as adversarial-fog, got Fog"),
    ],
)
def test_parts_that_cannot_be_composed_raise(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


# --- attacks on compositions ---------------------------------------------------------------------


@pytest.mark.parametrize("part", [FOG, Contrast(3), compose(FOG, GaussianNoise(1))], ids=str)
@pytest.mark.parametrize("eps", [0.005, 0.02])
def test_a_linear_model_falls_exactly_where_it_is_not_robust_around_the_transformed(
    part: Any, eps: float
) -> None:
    model, x, _ = random_linear(2, seed=3)
    centre = part(x, generator=generator(4))
    y = model(centre).argmax(1)
    ball = Linf(eps)
    attack = attack_on(Around(part, ball), lambda ball: PGD(ball, steps=5))
    moved = attack(model, x, y, generator=generator(4))
    robust = robust_gap(model, ball, centre, y) > 0
    assert 0 < robust.sum() < len(x)
    assert torch.equal(right(model, moved, y), robust)
    assert ball.norm(moved - centre).max() <= eps + 1e-9
    assert not torch.equal(robust, robust_gap(model, ball, x, y) > 0)  # x itself is no centre


@pytest.mark.parametrize(
    "make",
    [
        lambda ball: PGD(ball, steps=4, restarts=2, stop_when_fooled=True),
        lambda ball: DeepFool(ball, steps=3),
        lambda ball: RayS(ball, queries=20),
        lambda ball: RandomNoise(ball, draws=3),
        lambda ball: AutoAttack(ball, attacks=("apgd-ce",), steps=3),
    ],
)
def test_nothing_and_then_a_ball_is_the_ball_bit_for_bit(
    make: Callable[[Perturbation], Attack],
) -> None:
    linear, x, y = random_linear(3, seed=1)
    model, x = linear.float(), x.float()
    composed = attack_on(compose(Clean(), LINF), make)
    assert isinstance(composed, SearchAround)
    found = composed(model, x, y, generator=generator(2))
    assert torch.equal(found, make(LINF)(model, x, y, generator=generator(2)))
    assert composed.passes == make(LINF).passes


def test_a_chain_is_drawn_like_any_transform() -> None:
    model, x, y = random_linear(2, seed=1)
    chain = compose(FOG, GaussianNoise(2))
    for attack in (WorstOfDraws(chain, 3), WorstOfStrengths(chain, 2)):
        assert attack_on(chain, lambda _, attack=attack: attack) is attack  # type: ignore[misc]
        moved = attack(model, x, y, generator=generator())
        assert moved.shape == x.shape


# --- evaluation ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gives(Attack):
    """Applies a function to its images."""

    perturbation: Ball
    change: Callable[[Tensor], Tensor]

    @property
    def passes(self) -> Passes:
        return Passes()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        return self.change(x)


def planted() -> tuple[Linear, ImageSet]:
    levels = torch.randint(256, (60, *SHAPE), generator=generator(), dtype=torch.uint8)
    weight = torch.randn(2, levels[0].numel(), generator=generator(1))
    model = Linear(weight, -weight.sum(1) / 2)
    return model, ImageSet(levels, model(levels.double() / 255).argmax(1), ("a", "b"))


def outcome(model: Model, data: ImageSet, attack: Attack) -> Tensor:
    return torch.tensor(evaluate(model, data, (Row("row", attack),), batch_size=16).right["row"])


def in_double(model: Linear) -> Model:
    return lambda x: model(x.double()).float()


def test_fog_and_then_an_attack_is_the_attack_on_pictures_in_fog() -> None:
    model, data = planted()
    foggy = FOG(data.pixels(slice(None)))
    pictures = ImageSet((foggy * 255).round().byte(), data.labels, data.classes)
    attack = PGD(Linf(0.02), steps=3, random_start=False, stop_when_fooled=True)
    found = outcome(in_double(model), data, SearchAround(Around(FOG, Linf(0.02)), attack))
    assert torch.equal(found, outcome(in_double(model), pictures, attack))
    assert 0 < found.sum() < is_right(in_double(model), foggy, data.labels).sum()


def test_an_example_must_be_around_the_picture_in_fog() -> None:
    model, data = planted()
    around = Around(compose(FOG, GaussianNoise(2)), LINF)
    x = data.pixels(slice(None))
    for change, far in (
        (lambda centre: (centre + 0.04).clamp(0, 1), False),
        (lambda centre: (centre + 0.07).clamp(0, 1), True),
        (lambda centre: x[: len(centre)], True),  # around the picture without fog
        (lambda centre: FOG(x[: len(centre)]), True),  # without the noise
    ):
        attack = SearchAround(around, Gives(LINF, change))
        if far:
            with pytest.raises(InfeasibleError, match=r"outside Linf\(eps=0.05\)"):
                outcome(in_double(model), data, attack)
        else:
            outcome(in_double(model), data, attack)


def test_a_picture_that_is_wrong_in_fog_is_wrong_whatever_the_attack_returns() -> None:
    """Fog lightens the pictures beyond the boundary, and the attack brings them back."""
    levels = torch.full((4, 3, 8, 8), 110, dtype=torch.uint8)
    data = ImageSet(levels, torch.tensor([0, 0, 1, 1]), ("dark", "bright"))

    def model(x: Tensor) -> Tensor:
        bright = x.mean((1, 2, 3)) - 0.5
        return torch.stack([-bright, bright], 1)

    back = SearchAround(Around(FOG, LINF), Gives(LINF, lambda centre: centre - 0.04))
    assert is_right(model, FOG(data.pixels(slice(None))) - 0.04, data.labels).tolist() == (
        [True, True, False, False]
    )
    assert not outcome(model, data, back).any()


# --- in recipes ----------------------------------------------------------------------------------


def raw(parts: Any = ("fog", "linf"), *models: str) -> dict[str, Any]:
    recipe = raw_recipe(*(models or ("clean",)))
    recipe["perturbations"]["both"] = {"kind": "compose", "parts": parts}
    return recipe


def test_parts_are_named_or_written_out() -> None:
    linf = Linf(16 / 255)
    both = parse_recipe(raw(["fog", "linf"])).perturbations["both"]
    assert both == compose(FOG, linf)
    written_out = [{"kind": "fog", "t": 0.15, "light": 0.6}, {"kind": "linf", "eps": "16/255"}]
    assert parse_recipe(raw(written_out)).perturbations["both"] == both
    deep = raw([{"kind": "jpeg", "severity": 3}, {"kind": "compose", "parts": ["clean", "fog"]}])
    deep["perturbations"]["deep"] = {"kind": "compose", "parts": ["both", "linf"]}
    recipe = parse_recipe(deep)
    assert [part.name for part in recipe.perturbations["deep"].parts] == [
        *("jpeg", "clean", "fog", "linf")
    ]
    assert parse_recipe(recipe.model_dump(mode="json")).perturbations == recipe.perturbations
    stronger = parse_recipe(changed(raw(), "perturbations.fog.t", 1.0)).perturbations["both"]
    assert described(stronger)["parts"][0]["t"] == 1.0


def test_parts_bring_their_revisions_into_the_keys_of_stages() -> None:
    parts = identified(compose(FOG, L1(12)))["parts"]
    assert [part.get("revision", 0) for part in parts] == [0, L1.revision]
    assert "revision" not in described(compose(FOG, L1(12)))["parts"][1]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["fogg", "linf"], "both.parts: no perturbation 'fogg'; did you mean 'fog'?"),
        (["both", "linf"], "the composition 'both' is a part of itself"),
        (["linf", "fog"], "perturbations.both: only the last part of a composition may be a ball"),
        (["fog"], "perturbations.both: a composition needs two or more parts"),
        ("fog", "perturbations.both.parts: input should be a valid tuple"),
        (["fog", {"kind": "linf", "eps": -1}], "perturbations.both.parts.1: Linf: eps must be"),
        (["fog", {"kind": "linf", "ps": 1}], "perturbations.both.parts.1.ps: unknown key"),
        (["fog", 3], "perturbations.both.parts.1: expected a section of keys, got 3"),
    ],
)
def test_errors_in_parts_are_named(parts: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        parse_recipe(raw(parts))


def test_compositions_of_compositions_are_bounded() -> None:
    recipe = raw()
    for i in range(40):
        parts = [f"c{i - 1}"] * 2 if i else ["fog", "snow"]
        recipe["perturbations"][f"c{i}"] = {"kind": "compose", "parts": parts}
    recipe["perturbations"]["snow"] = {"kind": "snow"}
    with pytest.raises(RecipeError, match="c4: has more than 100 parts"):
        parse_recipe(recipe)
    deep: dict[str, Any] = {"kind": "fog", "t": 0.1, "light": 0.5}
    for _ in range(2000):
        deep = {"kind": "compose", "parts": [deep, "fog"]}
    recipe = raw()
    recipe["perturbations"]["deep"] = deep
    with pytest.raises(RecipeError, match="nested more than 100 deep"):
        parse_recipe(recipe)


def test_a_wrong_attack_on_a_composition_is_named() -> None:
    recipe = raw()
    recipe["evaluation"]["rows"]["both"] = {"attack": "draws", "perturbation": "both"}
    with pytest.raises(RecipeError, match=r"evaluation.rows.both: .*transforms, got Linf"):
        parse_recipe(recipe)


def test_suites_search_them_where_they_search_balls() -> None:
    known: dict[str, Perturbation] = {"both": compose(FOG, LINF), "weather": compose(FOG, Rain())}
    rows = load_suite("quick", known).rows
    assert {name: row.attack for name, row in rows.items()} == {
        "weather": "draws",
        "pgd-both": "pgd",
    }
    assert isinstance(rows["pgd-both"].build(known), SearchAround)


def test_suites_may_have_compositions(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        'name: mine\nrows: {"only-*": {attack: pgd, over: compose}}'
    )
    known = {"both": compose(FOG, LINF), "linf": LINF}
    assert list(load_suite(str(tmp_path / "mine.yaml"), known).rows) == ["only-both"]


def test_they_are_trained_on_and_evaluated_like_anything_else(tmp_path: Path) -> None:
    recipe = raw(["fog", "linf"], "clean")
    recipe["perturbations"]["chain"] = {"kind": "compose", "parts": ["fog", "clean"]}
    one = {"training": {"epochs": 1}}
    recipe["models"] |= {
        "Mboth": {"against": "both", **one},
        "MAX": {"objective": "max", "against": ["linf", "both", "chain"], **one},
        "MoRE": {
            "kind": "mixture",
            "experts": ["clean", "Mboth"],
            "against": ["clean", "both"],
            "gate_warmup": {"epochs": 1},
            **one,
        },
    }
    recipe["columns"] = ["clean", "Mboth", "MAX", "MoRE"]
    recipe["evaluation"]["rows"] = {
        "pgd-both": {"attack": "pgd", "perturbation": "both", "steps": 2},
        "steered": {"attack": "steering", "perturbation": "both", "steps": 2},
        "chain": {"attack": "draws", "perturbation": "chain"},
    }
    run(parse_recipe(recipe), tmp_path / "run")
    results = read_results(tmp_path / "run").file
    assert [part["kind"] for part in results.rows["pgd-both"].perturbation["parts"]] == (
        ["fog", "linf"]
    )
    gate = results.columns["MoRE"].gate
    assert gate is not None
    assert {*gate.weights} == {"pgd-both", "chain"}
    lines: list[str] = []
    request = EvaluationRequest(str(tmp_path / "run/models/mboth"), examples=10)
    measure_curve(request, "both", [0.5, 1], lines.append)
    assert "Fog" in lines[-1]


def test_another_strength_of_a_part_redoes_what_uses_the_composition() -> None:
    recipe = raw(["fog", "linf"], "clean", "Mfog")
    recipe["models"]["Mboth"] = {"against": "both"}
    recipe["columns"] = ["Mboth"]
    other = changed(recipe, "perturbations.linf.eps", 0.01)
    one, two = (plan_stages(parse_recipe(r), "", "") for r in (recipe, other))
    assert [a.decided_by == b.decided_by for a, b in zip(one, two, strict=True)] == [False, False]


def test_a_network_may_learn_from_a_composition_that_draws(tmp_path: Path) -> None:
    drawing = raw([{"kind": "shot-noise", "severity": 2}, "linf"])
    recipe = parse_recipe(changed(drawing, "models.clean.against", "both"))
    builder = Builder.open(recipe, torch.device("cpu"))
    (member,) = builder.objective(phase(recipe, "clean")).members
    search = SearchAround(recipe.perturbations["both"], PGD(Linf(16 / 255), steps=2))
    assert member == search.by_loss()
