from typing import Annotated, Any

import pytest
from pydantic import Field
from tiny import FEW, changed, phase, raw_recipe, tiny

from morex.recipe import Recipe, RecipeError, parse_recipe
from morex.recipe.extend import extended
from morex.recipe.fields import Strict
from morex.recipe.keys import AlwaysInKey, InKey, key_part
from morex.recipe.lineage import networks_of
from morex.recipe.phases import phase_of
from morex.run.stages import Stage, plan_stages

GROWN = "MoRE + rain"


class Inner(Strict):
    always: int = 1
    later: Annotated[int, InKey.IF_CHANGED] = 2


class Section(Strict):
    decisive: str
    beside: Annotated[int, InKey.NEVER] = 3
    later: Annotated[tuple[int, ...], Field(max_length=4), InKey.IF_CHANGED] = ()
    inner: Inner = Inner()
    older: Annotated[Inner, AlwaysInKey(("later",))] = Inner()
    maybe: Annotated[Inner | None, InKey.IF_CHANGED] = None


def test_a_key_lacks_what_is_declared_to_stay_out_of_it() -> None:
    usual = {"decisive": "a", "inner": {"always": 1}, "older": {"always": 1, "later": 2}}
    assert key_part(Section(decisive="a")) == usual
    assert key_part(Section(decisive="a", beside=4)) == usual


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"later": (1, 2)}, {"later": [1, 2]}),
        ({"inner": Inner(later=5)}, {"inner": {"always": 1, "later": 5}}),
        ({"maybe": Inner()}, {"maybe": {"always": 1}}),
    ],
)
def test_a_key_has_what_was_changed(values: dict[str, Any], part: dict[str, Any]) -> None:
    assert key_part(Section(decisive="a", **values)).items() >= part.items()


def stages_of(recipe: Recipe, model: str) -> dict[str, Stage]:
    return {s.kind: s for s in plan_stages(recipe, "", "") if s.model == model}


def model_in_key(raw: dict[str, Any], model: str = "MoRE") -> dict[str, Any]:
    part: dict[str, Any] = stages_of(parse_recipe(raw), model)["train"].decided_by["model"]
    return part


def test_what_came_later_to_mixtures_is_in_no_key_unless_it_is_set() -> None:
    raw = raw_recipe(*FEW)
    search = {"steps": 2, "relative_step": 2.5, "random_start": True, "restarts": 1}
    usual = {
        "kind": "mixture",
        "experts": ["clean", "Minf", "Mfog"],
        "objective": "side-by-side",
        "inner": search,
    }
    assert model_in_key(raw) == usual
    gate = changed(raw, "models.MoRE.robust_gate", {"start": "Minf", "inner": {"steps": 2}})
    attacked = {"start": "Minf", "experts": {}, "inner": search | {"push": 0}}
    assert model_in_key(gate) == usual | {"robust_gate": attacked}
    shares = changed(raw, "models.MoRE.shares", {"fog": 3})
    assert model_in_key(shares) == usual | {"shares": [1, 1, 3]}
    combine = changed(raw, "models.MoRE.combine", "probabilities")
    assert model_in_key(combine) == usual | {"combine": "probabilities"}
    assert model_in_key(raw, "Minf") == {
        "kind": "network",
        "objective": "single",
        "warm_start": None,
        "inner": search,
    }


def test_each_stage_of_a_mixture_reads_what_it_needs() -> None:
    more = stages_of(tiny(*FEW), "MoRE")
    assert more["gate"].needs == ("train-clean", "train-minf", "train-mfog")
    assert more["train"].needs == ("gate-more",)
    assert more["gate"].decided_by["training"]["epochs"] == 1
    grown = stages_of(extended(tiny(*FEW), "MoRE", {"rain": {"kind": "rain"}}), GROWN)
    assert grown["gate"].needs == ("train-more",)  # it learns before the new expert is there
    experts = ("train-clean", "train-minf", "train-mfog", "train-mrain")
    assert grown["train"].needs == ("gate-more-+-rain", *experts, "train-more")


def test_without_a_robust_gate_the_warm_up_needs_the_new_expert() -> None:
    raw = extended(tiny(*FEW), "MoRE", {"rain": {"kind": "rain"}}).model_dump(mode="json")
    grown = stages_of(parse_recipe(changed(raw, f"models.{GROWN}.robust_gate", None)), GROWN)
    assert "train-mrain" in grown["gate"].needs
    assert grown["train"].needs == ("gate-more-+-rain",)


def test_images_go_through_experts_and_gate() -> None:
    recipe = extended(
        tiny("clean", "Minf", "Mfog", "MoRE", "mean"), "MoRE", {"rain": {"kind": "rain"}}
    )
    names = ("clean", "mean", "MoRE", GROWN)
    assert [networks_of(recipe, name) for name in names] == [1, 2, 4, 6]


def test_what_is_only_put_together_has_no_phase() -> None:
    recipe = tiny()
    assert phase_of(recipe, "mean", "train") is None
    assert phase_of(recipe, "MoRE", "evaluate") is None
    assert phase_of(recipe, "clean", "gate") is None
    assert phase_of(recipe, "MoRE (in turn)", "gate") is None
    gate, whole = (phase(recipe, "MoRE", kind) for kind in ("gate", "train"))
    assert gate.gate
    assert gate.gate.right == ((0,), (1,), (2,))
    assert whole.gate is None
    assert gate.against == whole.against == ("clean", "linf", "fog")


def test_a_saved_model_takes_one_perturbation_without_a_list() -> None:
    raw = raw_recipe("clean", "Minf")
    raw["models"]["own"] = {"kind": "saved", "model": "net.py:make", "against": "linf"}
    raw["models"]["two"] = {
        "kind": "mixture",
        "experts": ["clean", "own"],
        "against": ["clean", "linf"],
    }
    raw["columns"] = ["two"]
    assert parse_recipe(raw).models["own"].against == ("linf",)
    raw["models"]["own"]["against"] = []
    assert parse_recipe(raw).models["own"].against == ()
    raw["models"]["own"]["against"] = ["linf", "linf"]
    with pytest.raises(RecipeError, match="names something twice: linf, linf"):
        parse_recipe(raw)


def pairing(**model: Any) -> dict[str, Any]:
    kind = {"objective": "max", "against": ["linf", "l2"], "logit_pairing": 1.5} | model
    return changed(raw_recipe("Minf"), "models.Minf", kind)


def test_logit_pairing_is_for_the_worse_of_two() -> None:
    recipe = parse_recipe(pairing())
    found = phase_of(recipe, "Minf", "train")
    assert found
    assert found.logit_pairing == 1.5
    for model in ({"objective": "average"}, {"against": ["linf", "l2", "fog"]}):
        wrong = "models.Minf: logit_pairing needs the objective max against two perturbations, got"
        with pytest.raises(RecipeError, match=wrong):
            parse_recipe(pairing(**model))


def test_logit_pairing_is_in_a_key_only_if_it_is_set() -> None:
    assert model_in_key(pairing(), "Minf")["logit_pairing"] == 1.5
    assert "logit_pairing" not in model_in_key(pairing(logit_pairing=0), "Minf")
