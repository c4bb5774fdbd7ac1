import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import changed, raw_recipe, tiny

from morex.attacks import PGD, JudgedBy, NoisyFGSM
from morex.perturbations import L2, AdversarialFog, Fog, Linf
from morex.recipe import RecipeError, load_recipe, parse_recipe, shipped_recipes, slug
from morex.recipe.fields import InnerSearch
from morex.recipe.keys import as_json, key_part
from morex.recipe.lineage import expert_for, right_choices
from morex.recipe.models import MixtureModel, NetworkModel
from morex.training.config import PerturbedWeights, TrainingConfig


def mistakes(raw: dict[str, Any]) -> list[str]:
    """Return the errors of a wrong recipe, line by line."""
    with pytest.raises(RecipeError) as caught:
        parse_recipe(raw, "mine.yaml")
    first, *lines = str(caught.value).split("\n")
    assert first == "mine.yaml is not a valid recipe:"
    return [line.strip() for line in lines]


def only_mistake(path: str, value: Any) -> str:
    """Return the one error of a recipe with this one change."""
    (line,) = mistakes(changed(raw_recipe(), path, value))
    return line


def written(raw: dict[str, Any], folder: Path) -> str:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(raw))
    return str(path)


# --- reading


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_valid_and_described(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert shipped_recipes()[name] == recipe.description != ""
    assert "\n" not in recipe.description


def test_the_digits_recipe_ships() -> None:
    assert "digits" in shipped_recipes()


@pytest.mark.parametrize("name", [*shipped_recipes(), None])
def test_the_resolved_recipe_reads_back_as_itself(name: str | None) -> None:
    recipe = load_recipe(name) if name else tiny()
    resolved = yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    again = parse_recipe(resolved)
    assert again == recipe
    assert [*again.models] == [*recipe.models]  # the order of experts and rows is part of it
    assert [*again.evaluation.rows] == [*recipe.evaluation.rows]


def test_recipes_cannot_be_changed() -> None:
    recipe = tiny()
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.training.epochs = 1  # type: ignore[misc]


def test_parsing_leaves_what_was_read_as_it_was() -> None:
    raw = raw_recipe()
    parse_recipe(raw)
    assert raw == raw_recipe()


@pytest.mark.parametrize(
    ("eps", "expected"),
    [("8/255", 8 / 255), (" 8 / 255 ", 8 / 255), ("1e-3", 1e-3), (1, 1.0), ("0.5", 0.5)],
)
def test_numbers_may_be_fractions_and_powers(eps: object, expected: float) -> None:
    recipe = parse_recipe(changed(raw_recipe(), "perturbations.linf.eps", eps))
    assert recipe.perturbations["linf"] == Linf(expected)


def test_learning_rates_may_be_powers_without_a_point(tmp_path: Path) -> None:
    recipe = load_recipe(written(raw_recipe(), tmp_path), ["training.learning_rate=1e-3"])
    assert recipe.training.learning_rate == 1e-3


@pytest.mark.parametrize(
    "eps", ["8/0", "8/x", "/", "a/b/c", "1" + 400 * "0" + "/1", "big", None, []]
)
def test_what_is_no_number_is_refused(eps: object) -> None:
    assert only_mistake("perturbations.linf.eps", eps).startswith("perturbations.linf.eps: ")


def test_perturbations_are_built_with_their_numbers() -> None:
    recipe = tiny()
    assert recipe.perturbations_of(("l2", "fog")) == (L2(0.5), Fog(t=0.15, light=0.6))
    assert recipe.models["MoRE"].against == ("clean", "linf", "fog")  # type: ignore[union-attr]


# --- inheritance


def test_models_inherit_section_by_section_and_key_by_key() -> None:
    models = tiny().models
    fog, more = models["Mfog"], models["MoRE"]
    assert isinstance(fog, NetworkModel)
    assert isinstance(more, MixtureModel)
    assert more.gate_warmup is not None
    assert (fog.training.epochs, fog.training.optimizer) == (1, "adamw")
    assert fog.training.batch_size == more.gate_warmup.batch_size == 32  # from the recipe
    assert more.training.average == 0.9
    assert fog.inner.steps == 2


@pytest.mark.parametrize(
    ("experts", "expected"),
    [
        (("MAX", "clean", "Minf"), 2),  # alone
        (("MSD", "clean", "MAX"), 0),  # first of what it is trained on
        (("clean", "other way round"), 1),  # beside others
    ],
)
def test_the_warm_up_names_the_expert_that_is_closest(
    experts: tuple[str, ...], expected: int
) -> None:
    raw = raw_recipe()
    raw["models"]["other way round"] = {"objective": "max", "against": ["l2", "linf"]}
    raw["models"]["MoRE"] |= {"experts": list(experts), "against": ["clean", "linf"]}
    recipe = parse_recipe(raw)
    more = recipe.models["MoRE"]
    assert isinstance(more, MixtureModel)
    assert expert_for(recipe, more, "linf") == expected
    with pytest.raises(RecipeError, match="warm-up needs an expert trained on 'fog'"):
        parse_recipe(changed(raw, "models.MoRE.against", ["clean", "fog"]))


ROBUST = {"start": "Minf", "experts": {"linf": ["Minf", "clean"]}, "inner": {"steps": 1}}


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("robust_gate.start", "MAX", "robust_gate.start: 'MAX' is not in experts"),
        ("robust_gate.experts", {"snow": ["clean"]}, "'snow' is not in against"),
        ("robust_gate.experts", {"fog": ["MAX"]}, "'MAX' is not in experts"),
        ("robust_gate.inner.push", 1.0, "attacks only the gate; remove push"),
        ("robust_gate.experts", {"fog": []}, "robust_gate.experts.fog"),
        ("experts", ["clean", "Minf", "Mfog", "Mrain"], "no model 'Mrain'"),
        ("objective", "max", "robust_gate: needs the objective side-by-side, got max"),
        ("gate_warmup", None, "robust_gate: needs a warm-up; set gate_warmup"),
    ],
)
def test_a_robust_gate_is_checked(path: str, value: Any, problem: str) -> None:
    raw = raw_recipe()
    raw["models"]["MoRE"]["robust_gate"] = ROBUST
    more = parse_recipe(raw).models["MoRE"]
    assert isinstance(more, MixtureModel)
    right = [right_choices(parse_recipe(raw), more, name) for name in more.against]
    assert right == [(0,), (1, 0), (2,)]
    with pytest.raises(RecipeError, match=problem):
        parse_recipe(changed(raw, f"models.MoRE.{path}", value))


def test_a_robust_gate_that_starts_as_an_expert_has_its_shape() -> None:
    raw = raw_recipe() | {"gate": {"architecture": "resnet10", "width": 2}}
    raw["models"]["MoRE"]["robust_gate"] = ROBUST
    with pytest.raises(RecipeError, match="start: gate has another shape"):
        parse_recipe(raw)


def test_a_warm_up_after_a_warm_start_needs_a_new_expert() -> None:
    raw = changed(raw_recipe(), "models.MoRE.warm_start", "MoRE (in turn)")
    with pytest.raises(RecipeError, match="no new expert to name; set gate_warmup to null"):
        parse_recipe(changed(raw, "models.MoRE.experts", ["clean", "Minf"]))


def test_a_warm_up_after_a_warm_start_needs_an_expert_that_the_gate_knows() -> None:
    raw = raw_recipe()
    models = raw["models"]
    root, grown = models["MoRE (in turn)"], dict(models["MoRE"])
    root["experts"] = ["clean", "Minf"]
    root["against"] = ["clean", "linf"]
    models["Mfog again"] = models["Mfog"]
    warm = {"gate_warmup": models["MoRE"]["gate_warmup"], "against": ["clean", "linf", "fog"]}
    models["B"] = grown | warm | {"warm_start": "MoRE (in turn)", "experts": ["Minf", "Mfog"]}
    models["C"] = grown | warm | {"warm_start": "B", "experts": ["Mfog", "Mfog again"]}
    with pytest.raises(RecipeError, match=r"models\.C: its gate would know no expert") as caught:
        parse_recipe(raw)
    assert "models.B" not in str(caught.value)


@pytest.mark.parametrize("empty", [{"committees": [], "sharpness": {}}, {"committees": None}])
def test_a_recipe_that_an_earlier_version_wrote_can_be_read(empty: dict[str, Any]) -> None:
    raw = raw_recipe()
    raw["models"]["MoRE"] |= empty
    assert parse_recipe(raw) == tiny()
    assert raw["models"]["MoRE"].items() >= empty.items()  # what was given stays as it was


@pytest.mark.parametrize(
    ("removed", "problem"),
    [
        ({"sharpness": {"Minf": 4}}, "models.MoRE: this version of morex has no sharpness"),
        (
            {"committees": [{"against": "fog", "shares": {"Mfog": 1}}], "sharpness": {"Minf": 4}},
            "models.MoRE: this version of morex has no committees and no sharpness",
        ),
    ],
)
def test_what_was_removed_from_mixtures_is_refused(removed: dict[str, Any], problem: str) -> None:
    raw = raw_recipe()
    raw["models"]["MoRE"] |= removed
    with pytest.raises(RecipeError, match=f"{problem}; take this model out of the recipe"):
        parse_recipe(raw)


def test_a_gate_is_only_warmed_up_if_the_recipe_says_so() -> None:
    more = tiny().models["MoRE (in turn)"]
    assert isinstance(more, MixtureModel)
    assert more.gate_warmup is None
    null = parse_recipe(changed(raw_recipe(), "models.MoRE.gate_warmup", None)).models["MoRE"]
    assert isinstance(null, MixtureModel)
    assert null.gate_warmup is None


def test_own_keys_win_over_inherited_ones() -> None:
    recipe = parse_recipe(changed(raw_recipe(), "models.clean.inner", {"steps": 7}))
    assert recipe.models["clean"].inner.steps == 7  # type: ignore[union-attr]
    assert recipe.models["Minf"].inner.steps == 2  # type: ignore[union-attr]


# --- mistakes


def test_all_mistakes_are_reported_together_each_with_its_path() -> None:
    raw = raw_recipe()
    raw["nmae"] = "typo"
    del raw["network"]["width"], raw["data"]["name"]
    raw["network"]["width"] = "wide"
    raw["perturbations"]["fog"]["lihgt"] = 1
    raw["models"]["MAX"]["objective"] = "maximum"
    raw["models"]["Mfog"]["training"]["epoch"] = 3
    raw["models"]["MoRE (in turn)"]["training"]["epochs"] = "many"
    raw["evaluation"]["rows"]["pgd-linf"]["steps"] = 1.5
    lines = mistakes(raw)
    paths = {line.partition(": ")[0] for line in lines}
    assert paths == {
        "nmae",
        "data.name",
        "network.width",
        "perturbations.fog.lihgt",
        "models.MAX.objective",
        "models.Mfog.training.epoch",
        "models.MoRE (in turn).training.epochs",
        "evaluation.rows.pgd-linf.steps",
    }
    assert len(lines) == len(paths)
    assert "nmae: unknown key; did you mean 'name'?" in lines
    assert "data.name: is missing" in lines
    assert any(line.startswith("network.width") and "got 'wide'" in line for line in lines)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("training.epochs", "x", "training.epochs: "),
        ("training.epoch", 3, "training.epoch: unknown key"),
        ("training.learning_rate", -1, "training: learning_rate must be positive"),
        ("training.epochs", 0, "training: epochs"),
        ("training.schedule", [[0, 1], ["x", 1]], "training.schedule.1.0: "),
        ("training", 5, "training: "),
        ("inner.steps", 0, "inner.steps: "),
        ("inner.stpes", 3, "inner.stpes: unknown key"),
        ("inner", [1], "inner: "),
    ],
)
def test_inherited_mistakes_are_reported_once_where_they_were_made(
    path: str, value: object, where: str
) -> None:
    (line,) = mistakes(changed(raw_recipe(), path, value))
    assert line.startswith(where)


def test_a_models_own_mistake_in_an_inherited_section_is_its_own() -> None:
    line = only_mistake("models.Minf.training", {"learning_rate": -1})
    assert line.startswith("models.Minf.training: learning_rate must be positive")


def test_the_same_key_may_be_wrong_in_two_places() -> None:
    raw = changed(raw_recipe(), "training.epochs", "x")
    lines = mistakes(changed(raw, "models.Minf.training", {"epochs": "y"}))
    assert [line.partition(": ")[0] for line in lines] == [
        "training.epochs",
        "models.Minf.training.epochs",
    ]


def test_a_mistake_in_a_model_with_a_number_for_a_name_is_told() -> None:
    raw = raw_recipe("clean")
    raw["models"][1] = {"against": "clean", "training": {"epoch": 1}}
    lines = mistakes(raw)
    assert any(line.startswith("models.1") for line in lines)


@pytest.mark.parametrize("model", ["clean", None, 3, ["clean"]])
def test_a_model_that_is_no_section_is_refused(model: object) -> None:
    assert only_mistake("models.clean", model).startswith("models.clean: ")


def test_an_unknown_kind_of_model_names_the_kinds_there_are() -> None:
    line = only_mistake("models.mean.kind", "mean")
    assert line.startswith("models.mean: ")
    for kind in ("network", "mixture", "mean-of-experts", "largest-logit"):
        assert kind in line


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        ("models.MAX.against", "l3", ("models.MAX.against", "perturbation 'l3'", "linf, l2")),
        ("models.Mfog.warm_start", "cleen", ("models.Mfog", "model 'cleen'", "clean, Minf")),
        ("models.mean.experts", ["clean", "no"], ("models.mean", "model 'no'")),
        ("columns", ["clean", "no"], ("columns", "model 'no'")),
        (
            "evaluation.rows.clean.perturbation",
            "cleen",
            ("evaluation.rows.clean.perturbation", "perturbation 'cleen'"),
        ),
        ("network.architecture", "vgg", ("network", "'vgg'", "resnet18")),
        ("gate", {"architecture": "vgg"}, ("gate", "'vgg'")),
        ("perturbations.l2.kind", "l7", ("perturbations.l2", "'l7'", "linf")),
        ("evaluation.rows.clean.attack", "nuke", ("evaluation.rows.clean", "'nuke'", "pgd")),
        ("perturbations.l2.eps", -1, ("perturbations.l2", "eps must be finite and >= 0, got -1")),
        ("data.validation", 1, ("data.validation", "less than 1")),
        ("seed", -1, ("seed", "got -1")),
        ("columns", [], ("columns", "at least 1")),
    ],
)
def test_names_and_numbers_out_of_range(path: str, value: object, parts: tuple[str, ...]) -> None:
    line = only_mistake(path, value)
    assert line.startswith(parts[0])
    for part in parts[1:]:
        assert part in line


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        ("models.MSD.against", ["linf", "fog"], ("models.MSD", "msd takes balls only")),
        ("models.MAX.objective", "single", ("models.MAX", "single trains on one")),
        (
            "models.MoRE.against",
            ["clean", "l2"],
            ("models.MoRE", "an expert trained on 'l2';"),
        ),
        ("models.MoRE.experts", ["clean", "Minf", "clean"], ("models.MoRE.experts", "twice")),
        ("models.MAX.against", ["l2", "l2"], ("models.MAX.against", "twice")),
        ("columns", ["clean", "clean"], ("columns", "twice")),
        ("models.drawn.warm_start", "MoRE", ("models.drawn", "'MoRE' is a mixture")),
        (
            "models.mean.experts",
            ["clean", "largest"],
            ("models.mean", "'largest' is a largest-log"),
        ),
        ("evaluation.rows.clean.perturbation", "l2", ("evaluation.rows.clean", "transform")),
        ("evaluation.rows.pgd-linf.perturbation", "clean", ("evaluation.rows.pgd-linf", "balls")),
        ("evaluation.rows.rays-linf.perturbation", "fog", ("evaluation.rows.rays-linf", "ball")),
        ("evaluation.rows.pgd-linf.steps", 0, ("evaluation.rows.pgd-linf", "steps >= 1")),
    ],
)
def test_names_that_stand_for_the_wrong_thing(
    path: str, value: object, parts: tuple[str, ...]
) -> None:
    line = only_mistake(path, value)
    assert line.startswith(parts[0])
    for part in parts[1:]:
        assert part in line


@pytest.mark.parametrize("name", ["pgd linf", "a/b", "rows", "union", "mean", ""])
def test_row_names_that_results_cannot_take_are_refused_before_anything_is_trained(
    name: str,
) -> None:
    raw = raw_recipe()
    raw["evaluation"]["rows"][name] = {"attack": "draws", "perturbation": "clean"}
    (line,) = mistakes(raw)
    assert line.startswith("evaluation.rows")
    assert name in line


def test_inconsistencies_are_reported_together() -> None:
    raw = changed(raw_recipe(), "models.MSD.against", ["linf", "fog"])
    raw = changed(raw, "columns", ["nobody"])
    raw = changed(raw, "evaluation.rows.clean.perturbation", "l2")
    assert len(mistakes(raw)) == 3


@pytest.mark.parametrize(
    "starts", [{"clean": "clean"}, {"clean": "Minf", "Minf": "Mfog", "Mfog": "clean"}]
)
def test_models_cannot_be_made_from_themselves(starts: dict[str, str]) -> None:
    raw = raw_recipe("clean", "Minf", "Mfog", "MAX")
    for model, start in starts.items():
        raw["models"][model]["warm_start"] = start
    told = {line.partition(": ")[0] for line in mistakes(raw)}
    assert {f"models.{model}" for model in starts} <= told
    assert "models.MAX" not in told


@pytest.mark.parametrize("twin", ["more", "MoRE!", " MoRE", "(MoRE)"])
def test_models_need_folders_of_their_own(twin: str) -> None:
    line = only_mistake(f"models.{twin}", {"against": "clean"})
    assert "'MoRE'" in line
    assert repr(twin) in line


@pytest.mark.parametrize("name", ["()", "..", ".", "-"])
def test_model_names_need_a_letter_or_digit(name: str) -> None:
    raw = raw_recipe()
    raw["models"][name] = {"against": "clean"}
    (line,) = mistakes(raw)
    assert repr(name) in line


@settings(deadline=None, max_examples=100)
@given(st.text(min_size=1))
def test_slugs_are_one_safe_path_component(name: str) -> None:
    assert not set(slug(name)) & set("/\\ \n*?[]:")
    assert slug(slug(name)) == slug(name)


def test_a_slug_reads_like_the_name() -> None:
    assert slug("MoRE (all)") == "more-all"
    assert slug("M2 0.5+") == "m2-0.5+"


# --- where recipes come from


def test_an_unknown_recipe_is_told_what_there_is() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'digit'.*did you mean 'digits'\?"):
        load_recipe("digit")
    with pytest.raises(RecipeError, match=r"neither a file nor one of the shipped .*digits"):
        load_recipe("no/such/file.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "not valid YAML"),
        (b"- a\n- b\n", "expected a mapping of keys to values, got a list"),
        (b"", "expected a mapping of keys to values, it is empty"),
        (b"\xff\xfe\x00\x80", "cannot be read as text"),
        (b"a: \x07", "not valid YAML"),
    ],
)
def test_files_that_hold_no_recipe(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(str(path))
    assert str(path) in str(caught.value)


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    path = written(changed(raw_recipe(), "seed", "x"), tmp_path)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path} is not a valid recipe:\n  seed: ")


def test_words_that_yaml_1_1_takes_for_booleans_are_names(tmp_path: Path) -> None:
    raw = raw_recipe("clean")
    raw["models"]["on"] = raw["models"]["clean"]
    recipe = load_recipe(written(raw, tmp_path), ["columns=[clean, on]"])
    assert recipe.columns == ("clean", "on")


# --- overrides


def test_overrides_reach_every_depth(tmp_path: Path) -> None:
    recipe = load_recipe(
        written(raw_recipe(), tmp_path),
        [
            "seed=7",
            "training.epochs=5",
            "perturbations.linf.eps=4/255",
            "models.MoRE (in turn).training.epochs=3",
            "models.clean.training.learning_rate=0.5",  # a section that was not written
            "columns=[clean, MoRE (in turn)]",
            "training.schedule=[[0, 1], [1, 0]]",
            "description=a=b",
        ],
    )
    assert recipe.seed == 7
    assert recipe.training.epochs == 5
    assert recipe.perturbations["linf"] == Linf(4 / 255)
    in_turn, clean = recipe.models["MoRE (in turn)"], recipe.models["clean"]
    assert in_turn.training.epochs == 3  # type: ignore[union-attr]
    assert clean.training.learning_rate == 0.5  # type: ignore[union-attr]
    assert clean.training.epochs == 5  # type: ignore[union-attr]
    assert recipe.columns == ("clean", "MoRE (in turn)")
    assert recipe.training.schedule == ((0, 1), (1, 0))
    assert recipe.description == "a=b"


def test_later_overrides_win_and_files_stay_as_they_are(tmp_path: Path) -> None:
    path = written(raw_recipe(), tmp_path)
    before = Path(path).read_bytes()
    assert load_recipe(path, ["seed=1", "seed=2"]).seed == 2
    assert Path(path).read_bytes() == before


def test_overrides_of_shipped_recipes_do_not_stay() -> None:
    assert load_recipe("digits", ["seed=5"]).seed == 5
    assert load_recipe("digits").seed == 0


@pytest.mark.parametrize("override", ["seed", "=1", "training..epochs=3", ".seed=1", "training.=1"])
def test_overrides_need_a_key_and_a_value(override: str) -> None:
    with pytest.raises(RecipeError, match=r"expected KEY\.KEY=VALUE") as caught:
        load_recipe("digits", [override])
    assert repr(override) in str(caught.value)


def test_overrides_do_not_go_through_values() -> None:
    with pytest.raises(RecipeError, match="'seed' holds a value, not a section"):
        load_recipe("digits", ["seed.x=1"])
    with pytest.raises(RecipeError, match="the value is not valid YAML"):
        load_recipe("digits", ["seed=[1"])


def test_a_misspelt_override_is_an_unknown_key() -> None:
    with pytest.raises(RecipeError, match=r"training\.epoch: unknown key"):
        load_recipe("digits", ["training.epoch=3"])


@pytest.mark.parametrize("pair", [["0. 0"], [], [0]])
def test_a_part_of_a_list_that_is_missing_is_named(pair: list[Any]) -> None:
    raw = changed(raw_recipe("clean"), "training.schedule", [pair, [1, 0]])
    with pytest.raises(RecipeError, match=r"training\.schedule\.0\.\d: is missing"):
        parse_recipe(raw)


# --- pixels in [0, 1]


@pytest.mark.parametrize("kind", ["linf", "compose"])
def test_a_ball_in_levels_of_255_is_refused(kind: str) -> None:
    raw = raw_recipe()
    levels = {"kind": "linf", "eps": 8}
    raw["perturbations"]["big"] = levels if kind == "linf" else {"kind": kind, "parts": [levels]}
    with pytest.raises(RecipeError, match=r"for pixels in \[0, 1\], got 8; write 8/255"):
        parse_recipe(raw)


# --- single steps


def test_a_single_step_trains_and_the_pgd_beside_it_validates() -> None:
    raw = changed(raw_recipe(), "models.Minf.inner", {"steps": 7, "single_step": {"noise": 1.5}})
    inner = parse_recipe(raw).models["Minf"].inner  # type: ignore[union-attr]
    pgd = PGD(Linf(0.1), steps=7)
    assert inner.attack(Linf(0.1)) == JudgedBy(NoisyFGSM(Linf(0.1), 1.5), pgd)
    assert inner.attack(Linf(0.1)).judge == pgd.by_loss()
    weather = AdversarialFog(1.0)
    assert inner.attack(weather).passes.backward == 1
    assert inner.attack(weather).judge == PGD(weather, steps=7).by_loss()


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("models.MSD.inner", "models.MSD: msd takes steps of PGD; remove inner.single_step"),
        ("models.MoRE.robust_gate.inner", "a gate learns under PGD; remove single_step"),
    ],
)
def test_where_a_search_has_to_be_pgd_a_single_step_is_refused(path: str, problem: str) -> None:
    assert problem in only_mistake(path, {"single_step": {}})


def test_a_single_step_does_not_steer() -> None:
    problem = only_mistake("models.MoRE.inner", {"single_step": {}, "push": 1.0})
    assert "push: steering needs PGD; remove single_step" in problem


# --- what is in the key of a stage


def test_an_inner_search_without_a_single_step_has_the_key_that_it_had() -> None:
    searches = InnerSearch(), InnerSearch.model_validate({"single_step": {}})
    assert [*map(key_part, searches)] == [
        {"steps": 10, "relative_step": 2.5, "random_start": True, "restarts": 1},
        {"steps": 10, "relative_step": 2.5, "random_start": True, "restarts": 1}
        | {"single_step": {"noise": 2.0}},
    ]


def test_settings_that_came_later_are_in_a_key_only_where_they_are_set() -> None:
    since = {
        "nesterov": True,
        "label_smoothing": 0.1,
        "gradient_projection": 0.4,
        "awp": PerturbedWeights(0.01),
    }
    first = {
        *("epochs", "batch_size", "optimizer", "learning_rate", "momentum", "weight_decay"),
        *("schedule", "clip_norm", "average", "precision", "validate_every"),
    }
    assert as_json(TrainingConfig()).keys() == first
    for name, value in since.items():
        settings = TrainingConfig(**{name: value})  # type: ignore[arg-type]
        written = dataclasses.asdict(settings)[name]
        assert as_json(settings) == as_json(TrainingConfig()) | {name: written}
    assert {field.name for field in dataclasses.fields(TrainingConfig)} == first | since.keys()
