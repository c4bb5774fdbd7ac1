"""Which perturbations an attack searches, and whether a training can use it."""

import re
from dataclasses import fields, replace
from typing import Any

import pytest
from linear import random_linear
from odd_models import EVERY

from morex.attacks import PGD, Attack, JudgedBy, NoisyFGSM, SearchAround, cross_entropy
from morex.core.seeding import generator_for
from morex.perturbations import (
    L1,
    L2,
    AdversarialFog,
    Around,
    Clean,
    Fog,
    Linf,
    RotateTranslate,
    Snow,
)
from morex.recipe.components import ATTACKS
from morex.training import Max, Single

PARTS = (
    *(Clean(), Fog(0.1, 0.6), Snow(2.0), RotateTranslate(30, 1), AdversarialFog(0.5)),
    *(Linf(0.1), L2(0.5), L1(2.0)),
)


@pytest.mark.parametrize("perturbation", PARTS, ids=str)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_searches_its_perturbation_or_says_that_it_cannot(
    name: str, perturbation: Any
) -> None:
    model, x, y = random_linear(4, 1, count=6)
    model, x = model.float(), x.float()
    make: Any = ATTACKS[name]
    try:
        attack = make(perturbation)
    except ValueError:
        with pytest.raises(ValueError, match=re.escape(f"got {perturbation}")):
            make(perturbation)
        return
    small = {"steps": 2, "queries": 20, "draws": 2}
    attack = replace(attack, **{f.name: small[f.name] for f in fields(attack) if f.name in small})
    assert attack(model, x, y).shape == x.shape


@pytest.mark.parametrize("attack", EVERY.values(), ids=[*EVERY])
def test_a_training_gets_a_larger_loss_also_where_the_model_is_wrong(attack: Attack) -> None:
    if attack.only_for_evaluation:
        with pytest.raises(ValueError, match=f"Max: {type(attack).__name__} is only for evaluat"):
            Max((PGD(Linf(0.1)), attack))
        return
    model, x, y = random_linear(4, 1, count=8)
    model, x, wrong = model.float(), x.float(), (y + 1) % 4
    moved = Single((attack,)).build(model, x, wrong, 0, generator_for(1)).x
    assert (cross_entropy(model(moved), wrong) > cross_entropy(model(x), wrong)).all()


def test_the_check_sees_what_another_attack_is_made_of() -> None:
    search = EVERY["noise"]
    for made in (
        SearchAround(Around(Fog(0.1, 0.6), search.perturbation), search),  # type: ignore[arg-type]
        JudgedBy(search, PGD(search.perturbation)),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match="only for evaluation"):
            Single((made,))
    assert not JudgedBy(NoisyFGSM(Linf(0.1)), PGD(Linf(0.1))).only_for_evaluation


def test_a_training_does_not_stop_at_what_fools() -> None:
    attack = PGD(Linf(0.1), steps=5, stop_when_fooled=True)
    assert attack.by_loss() == replace(attack, stop_when_fooled=False).by_loss()
