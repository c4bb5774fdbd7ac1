import dataclasses
import math
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
from tiny import changed, raw_recipe

from morex.attacks import (
    APGD,
    PGD,
    Attack,
    AutoAttack,
    DeepFool,
    DrawnSteering,
    EoT,
    ExpertTransfer,
    GateSteering,
    GridSearch,
    RandomNoise,
    RayS,
    Targeted,
    WorstOfDraws,
    WorstOfStrengths,
)
from morex.perturbations import (
    L0,
    L1,
    L2,
    AdversarialElastic,
    AdversarialFog,
    AdversarialJpeg,
    AdversarialSnow,
    Corruption,
    Flow,
    Fog,
    Linf,
    Occlusion,
    Patch,
    Perturbation,
    Rain,
    Recolor,
    RotateTranslate,
    Scale,
    Shear,
    Snow,
)
from morex.recipe import RecipeError, load_recipe, parse_recipe
from morex.recipe.components import ATTACKS, PERTURBATIONS
from morex.training.config import TrainingConfig

SAMPLES: list[Attack | Perturbation | TrainingConfig] = [
    *(
        PGD(Linf(0.1)),
        DeepFool(L2(1)),
        RayS(L2(1)),
        AutoAttack(L2(1)),
        *(APGD(L2(1)), EoT(L2(1)), L0(3)),
        RandomNoise(L1(1)),
    ),
    *(DrawnSteering(Linf(0.1)), GateSteering(Linf(0.1)), ExpertTransfer(Linf(0.1))),
    *(WorstOfDraws(Snow(2)), WorstOfStrengths(Snow(2)), GridSearch(Scale(1))),
    Targeted(PGD(Linf(0.1))),
    *(Linf(0.1), L2(1), L1(1), Snow(2), Rain(), Occlusion()),
    *(RotateTranslate(1, 1), Scale(1), Shear(1)),
    *(AdversarialFog(0.5), AdversarialSnow(0.5), AdversarialElastic(0.1), AdversarialJpeg(0.5)),
    *(Recolor(0.1), Flow(0.1), Patch(0.2)),
    *(Fog(0.1, 0.5), TrainingConfig(average=0.9, clip_norm=1.0)),
]
NAN, INF = math.nan, math.inf
WRONG: dict[type, tuple[Any, ...]] = {
    float: (NAN, INF, -INF, True, "1", [1.0]),
    int: (2.5, 2.0, True, "20", NAN, INF),
    bool: (1, 0, "yes", "no"),
}
NOTHING_SAYS_SO = {("Fog", "t"): (INF, -INF)}
"""Fog without haze has t = -inf."""


def wrong_fields() -> Iterator[Any]:
    """Give a valid object, one of its numbers, and a wrong value for it."""
    for sample in SAMPLES:
        for name, hint in get_type_hints(type(sample)).items():
            kind = next((k for k in WRONG if hint in (k, k | None)), None)
            for value in WRONG[kind] if kind else ():
                if value not in NOTHING_SAYS_SO.get((type(sample).__name__, name), ()):
                    yield pytest.param(
                        sample, name, value, id=f"{type(sample).__name__}.{name}={value}"
                    )


@pytest.mark.parametrize(("sample", "name", "value"), [*wrong_fields()])
def test_every_number_has_its_type_and_is_finite(sample: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be (a|True or)") as caught:
        dataclasses.replace(sample, **{name: value})
    assert str(caught.value).endswith(f"got {value!r}")
    assert type(sample).__name__ in str(caught.value)


def test_every_attack_and_perturbation_is_among_them() -> None:
    tried = {type(sample) for sample in SAMPLES}
    numbered = {cls for cls in PERTURBATIONS.values() if dataclasses.fields(cls)}
    strengths = {cls for cls in numbered if not issubclass(cls, Corruption)}
    assert {*ATTACKS.values(), *strengths} <= tried


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("seed", True, "expected a whole number, got True"),
        ("seed", "3", "expected a whole number, got '3'"),
        ("training.epochs", True, "expected a number, such as 0.5 or 8/255, got True"),
        ("training.learning_rate", NAN, "expected a finite number, got nan"),
        ("training.weight_decay", INF, "expected a finite number, got inf"),
        ("training.clip_norm", NAN, "expected a finite number, got nan"),
        ("training.batch_size", 64.0, "expected a whole number, got 64.0"),
        ("training.validate_every", True, "expected a whole number, got True"),
        ("inner.steps", 2.5, "expected a whole number, got 2.5"),
        ("inner.steps", "20", "expected a whole number, got '20'"),
        ("inner.push", INF, "expected a finite number, got inf"),
        ("inner.relative_step", NAN, "expected a finite number, got nan"),
        ("inner.random_start", 1, "expected true or false, got 1"),
        ("inner.random_start", "yes", "expected true or false, got 'yes'"),
        ("data.flip", "on", "expected true or false, got 'on'"),
        ("data.validation", NAN, "expected a finite number, got nan"),
        ("network.width", True, "expected a whole number, got True"),
        ("evaluation.examples", False, "expected a whole number, got False"),
        ("perturbations.linf.eps", True, "expected a number, such as 0.5 or 8/255, got True"),
        ("perturbations.linf.eps", "yes", "expected a number, such as 0.5 or 8/255, got 'yes'"),
        ("perturbations.linf.eps", "1_000", "expected a number, such as 0.5 or 8/255, got '1_000'"),
        ("perturbations.linf.eps", "1 0", "expected a number, such as 0.5 or 8/255, got '1 0'"),
        ("perturbations.linf.eps", "nan", "expected a number, such as 0.5 or 8/255, got 'nan'"),
        ("perturbations.linf.eps", INF, "expected a finite number, got inf"),
        ("perturbations.fog.t", -INF, "expected a finite number, got -inf"),
        ("evaluation.rows.pgd-linf.steps", True, "expected a whole number, got True"),
        ("evaluation.rows.pgd-linf.steps", 2.0, "expected a whole number, got 2.0"),
        ("evaluation.rows.pgd-linf.random_start", 0, "expected true or false, got 0"),
        ("evaluation.rows.pgd-linf.relative_step", NAN, "expected a finite number, got nan"),
        ("evaluation.rows.deepfool-l2.candidates", 3.0, "expected a whole number, got 3.0"),
    ],
)
def test_recipes_take_no_value_for_another(path: str, value: object, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(changed(raw_recipe(), path, value))
    _, line = str(caught.value).split("\n")
    assert line.strip() == f"{path}: {said}"


def test_parts_of_a_schedule_and_shares_are_finite_and_whole() -> None:
    raw = changed(raw_recipe(), "training.schedule", [[0, NAN], [1, True]])
    raw["models"]["MoRE"]["shares"] = {"linf": 1.5}
    raw["report"] = {"factors": [0, INF]}
    raw["evaluation"]["rows"]["steer"] = {
        "attack": "steering",
        "perturbation": "linf",
        "pushes": [1, NAN],
    }
    with pytest.raises(RecipeError) as caught:
        parse_recipe(raw)
    paths = {line.strip().partition(": ")[0] for line in str(caught.value).split("\n")[1:]}
    assert paths == {
        "training.schedule.0.1",
        "training.schedule.1.1",
        "models.MoRE.shares.linf",
        "report.factors.1",
        "evaluation.rows.steer.pushes.1",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8/255", 8 / 255), ("'1e-3'", 1e-3), ("1e-3", 1e-3), ("1/3", 1 / 3), ("2", 2.0)],
)
def test_numbers_may_be_fractions_everywhere(text: str, expected: float) -> None:
    recipe = load_recipe(
        "digits", [f"training.learning_rate={text}", f"perturbations.l2.eps={text}"]
    )
    assert recipe.training.learning_rate == expected
    assert recipe.perturbations["l2"] == L2(expected)
