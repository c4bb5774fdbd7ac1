from pathlib import Path
from typing import Any

import pytest
from tiny import changed, raw_recipe

from morex.core.near import did_you_mean, not_among
from morex.perturbations import L2, Clean, Linf
from morex.recipe import RecipeError, load_recipe, load_suite, parse_recipe, shipped_recipes
from morex.recipe.extend import extended, shrunk
from morex.recipe.lineage import unused_models
from morex.recipe.overrides import with_overrides


def said(raw: dict[str, Any]) -> str:
    """Return the only line that a wrong recipe is answered with."""
    with pytest.raises(RecipeError) as caught:
        parse_recipe(raw)
    _, line = str(caught.value).split("\n")
    return line.strip()


def test_the_nearest_name_is_suggested() -> None:
    assert did_you_mean("clen", ["Minf", "clean", "cleaner"]) == "did you mean 'clean'? "
    assert did_you_mean("xyz", ["Minf", "clean"]) == ""
    assert did_you_mean("100", [10]) == "did you mean '10'? "
    assert not_among("model", "x", []) == "no model 'x'; there are none"
    assert not_among("model", "Minff", ["Minf"]) == (
        "no model 'Minff'; did you mean 'Minf'? there are Minf"
    )


@pytest.mark.parametrize(
    ("path", "value", "where", "near"),
    [
        ("columns", ["clean", "Minff"], "columns: no model 'Minff'", "Minf"),
        ("models.mean.experts", ["clen", "Minf"], "models.mean: no model 'clen'", "clean"),
        ("models.Mfog.warm_start", "clen", "models.Mfog: no model 'clen'", "clean"),
        ("models.drawn.against", "lnif", "models.drawn.against: no perturbation 'lnif'", "linf"),
        (
            "evaluation.rows.fog.perturbation",
            "fogg",
            "evaluation.rows.fog.perturbation: no perturbation 'fogg'",
            "fog",
        ),
        ("perturbations.fog.kind", "fogg", "perturbations.fog: no kind of pert", "fog"),
        ("evaluation.rows.fog.attack", "drawz", "evaluation.rows.fog: no attack 'drawz'", "draws"),
        ("models.MAX.objective", "maxx", "models.MAX.objective: input should be 'single'", "max"),
        ("models.mean.kind", "meanofexperts", "models.mean: kind sh", "mean-of-experts"),
        ("network.architecture", "resnet81", "network: no architecture 'resnet81'", "resnet18"),
        ("training.epoch", 3, "training.epoch: unknown key", "epochs"),
        ("models.Mfog.training.epoch", 3, "models.Mfog.training.epoch: unknown key", "epochs"),
        ("inner.relative-step", 3, "inner.relative-step: unknown key", "relative_step"),
        ("colums", [], "colums: unknown key", "columns"),
        ("perturbations.fog.lihgt", 1, "perturbations.fog.lihgt: unknown key", "light"),
        ("evaluation.rows.pgd-linf.step", 1, "evaluation.rows.pgd-linf.step: unknown", "steps"),
        ("models.MoRE.expert", [], "models.MoRE.expert: unknown key", "experts"),
    ],
)
def test_mistakes_in_names_have_the_nearest(
    path: str, value: object, where: str, near: str
) -> None:
    line = said(changed(raw_recipe(), path, value))
    assert line.startswith(where)
    assert f"did you mean {near!r}?" in line


@pytest.mark.parametrize(
    ("path", "key"), [("perturbations.fog", "kind"), ("evaluation.rows.fog", "attack")]
)
def test_a_section_without_its_kind_names_the_key(path: str, key: str) -> None:
    assert said(changed(raw_recipe(), path, {})) == f"{path}: the key '{key}' is missing"


def test_a_key_is_not_taken_for_one_of_another_section() -> None:
    # rain has drops, and fog has none
    line = said(changed(raw_recipe(), "perturbations.fog.drop", 3))
    assert line == "perturbations.fog.drop: unknown key"


def test_parts_and_suites_have_the_nearest_names(tmp_path: Path) -> None:
    composed = {"kind": "compose", "parts": ["fogg", "linf"]}
    line = said(changed(raw_recipe(), "perturbations.both", composed))
    assert "both.parts: no perturbation 'fogg'; did you mean 'fog'?" in line
    with pytest.raises(RecipeError, match=r"no suite 'tabel1': did you mean 'table1'\?"):
        load_suite("tabel1", {})
    suite = tmp_path / "mine.yaml"
    suite.write_text("name: mine\nrows: {a: {attack: pgd, over: bals}}")
    with pytest.raises(RecipeError, match=r"no kind of perturbation 'bals'; did you mean 'balls'"):
        load_suite(str(suite), {"l2": L2(1.0), "linf": Linf(0.1), "clean": Clean()})


def test_extensions_have_the_nearest_names() -> None:
    recipe = parse_recipe(raw_recipe())
    with pytest.raises(RecipeError, match=r"no mixture 'MoR'; did you mean 'MoRE'\?"):
        extended(recipe, "MoR", {"rain": {"kind": "rain"}})
    with pytest.raises(RecipeError, match=r"'MoRE': no expert 'Mfogg'; did you mean 'Mfog'\?"):
        shrunk(recipe, "MoRE", ["Mfogg"])


@pytest.mark.parametrize(
    ("method", "objective"), [("E-AT", "drawn-by-error"), ("sat", "one-drawn")]
)
def test_methods_are_known_by_the_names_of_their_papers(method: str, objective: str) -> None:
    with pytest.raises(RecipeError, match=f"got '{method}'; {method} is objective: {objective}"):
        load_recipe("digits", [f"models.MAX.objective={method}"])


# --- overrides that make a new name


@pytest.mark.parametrize(
    ("override", "name", "near"),
    [
        ("models.clen.against=clean", "model 'clen'", "clean"),
        ("models.clen.training.epochs=3", "model 'clen'", "clean"),
        ("models.clen={against: clean, warm_start: clen}", "model 'clen'", "clean"),
        ("perturbations.linff.eps=0.2", "perturbation 'linff'", "linf"),
        ("perturbations.linff={kind: linf, eps: 0.2}", "perturbation 'linff'", "linf"),
        ("evaluation.rows.pgd-linff.steps=5", "row 'pgd-linff'", "pgd-linf"),
    ],
)
def test_an_override_of_a_misspelt_name_is_refused(override: str, name: str, near: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("digits", [override])
    assert f": the recipe has no {name}, and nothing uses a new one; " in str(caught.value)
    assert str(caught.value).startswith("override of ")
    assert f"did you mean {near!r}? there are " in str(caught.value)


def test_overrides_may_make_names_that_the_recipe_uses() -> None:
    recipe = load_recipe(
        "digits",
        [
            "perturbations.weak={kind: l2, eps: 0.1}",
            "perturbations.dim={kind: fog, t: 0, light: 0.5}",
            "perturbations.both={kind: compose, parts: [dim, weak]}",
            "evaluation.rows.both={attack: pgd, perturbation: both}",
            "models.start.against=clean",
            "models.Mweak={against: weak, warm_start: start}",
            "columns=[clean, Mweak]",
        ],
    )
    assert recipe.columns == ("clean", "Mweak")
    assert {"start", "Mweak"} < {*recipe.models}
    assert "both" in recipe.evaluation.rows


@pytest.mark.parametrize(
    "use",
    [
        "models.user={kind: distilled, teacher: new, against: clean}",
        "models.user={kind: sparse, of: new, threshold: 0.1}",
        "models.user={kind: mean-of-experts, experts: [new, M2]}",
    ],
)
def test_overrides_may_make_a_model_that_another_is_made_from(use: str) -> None:
    new = (
        "{kind: mixture, experts: [clean, M2], against: clean}" if "of:" in use else "{against: l2}"
    )
    recipe = load_recipe("digits", [f"models.new={new}", use, "columns=[clean, user]"])
    assert "new" in recipe.models["user"].parents


def test_overrides_may_add_keys_of_the_schema() -> None:
    recipe = load_recipe("digits", ["evaluation.suites.adaptive={}", "training.clip_norm=4"])
    assert [*recipe.evaluation.suites] == ["adaptive"]
    assert recipe.training.clip_norm == 4


def test_a_model_that_is_left_out_of_the_columns_is_no_mistake() -> None:
    recipe = load_recipe("digits", ["columns=[clean, M2]"])
    assert "MAX" in recipe.models
    again = with_overrides(recipe.model_dump(mode="json"), ["models.MAX.training.epochs=1"])
    assert parse_recipe(again).columns == ("clean", "M2")


def test_models_that_no_column_is_made_from_are_unused() -> None:
    assert unused_models(load_recipe("digits", ["columns=[clean, M2]"])) == (
        *("Mfog", "Msnow", "MAX", "AVG", "MSD", "MoRE"),
        *("MAX (all)", "AVG (all)", "MoRE (all)", "MoRE+ (all)"),
    )
    assert "Minf" not in unused_models(load_recipe("digits", ["columns=[M2]"]))  # M2 starts from it


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_model_of_a_shipped_recipe_is_used(name: str) -> None:
    assert unused_models(load_recipe(name)) == ()


def test_extensions_use_all_their_models() -> None:
    recipe = load_recipe("digits")
    assert unused_models(extended(recipe, "MoRE (all)", {"rain": {"kind": "rain"}})) == ()
    assert unused_models(shrunk(recipe, "MoRE (all)", ["Msnow"])) == ()
