"""What is wrong with a recipe whose sections are all of the right form."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from morex.artifacts.outcomes import Outcomes
from morex.artifacts.results import COMPUTED_ROWS
from morex.artifacts.schema import LONGEST_NAME
from morex.core.near import hint, not_among
from morex.core.units import with_article
from morex.perturbations import Around, Ball
from morex.recipe.errors import RecipeError
from morex.recipe.fields import InnerSearch
from morex.recipe.lineage import joined_experts, known_and_new, right_choices, warm_start
from morex.recipe.models import (
    AnyModel,
    MixtureModel,
    NetworkModel,
    RobustGate,
    SparseModel,
    TrainedModel,
)
from morex.recipe.schema import Recipe, slug


def problems_of(recipe: Recipe) -> list[str]:
    """Return everything that is wrong with a recipe, one line for each problem."""
    checks = (
        _unknown_names,
        _unknown_columns,
        _wrong_uses,
        _wrong_rows,
        _wrong_suites,
        _cycles,
        _same_slugs,
    )
    return [problem for check in checks for problem in check(recipe)]


def _unknown_names(recipe: Recipe) -> list[str]:
    """Return which names refer to nothing."""
    problems = []

    def check(path: str, name: str, known: dict[str, Any], what: str) -> None:
        if name not in known:
            problems.append(f"{path}: {not_among(what, name, known)}")

    for key, model in recipe.models.items():
        for parent in model.parents:
            check(f"models.{key}", parent, recipe.models, "model")
        for name in model.against:
            check(f"models.{key}.against", name, recipe.perturbations, "perturbation")
    for key in recipe.columns:
        check("columns", key, recipe.models, "model")
    for key, row in recipe.evaluation.rows.items():
        check(
            f"evaluation.rows.{key}.perturbation",
            row.perturbation,
            recipe.perturbations,
            "perturbation",
        )
    return problems


def _unknown_columns(recipe: Recipe) -> list[str]:
    """Return which names of columns refer to nothing, in suites and in the report."""
    uses = recipe.evaluation.suites.items()
    chosen = {f"evaluation.suites.{suite}.columns": use.columns for suite, use in uses}
    chosen["report.models"] = recipe.report.models if recipe.report else None
    return [
        f"{path}: {not_among('column', name, recipe.columns)}"
        for path, names in chosen.items()
        for name in names or ()
        if name not in recipe.columns
    ]


def _wrong_uses(recipe: Recipe) -> list[str]:
    """Return which names stand for the wrong thing."""
    problems = []
    for key, model in recipe.models.items():
        problems += _wrong_parents(recipe, key, model)
        trained, mixture = recipe.trained.get(key), recipe.mixtures.get(key)
        if not {*model.against} <= {*recipe.perturbations}:
            continue
        if trained:
            problems += _wrong_training(recipe, key, trained)
        if mixture:
            problems += _wrong_mixture(recipe, key, mixture)
    return problems


def _wrong_training(recipe: Recipe, key: str, model: TrainedModel) -> list[str]:
    """Return what is wrong with how a model is trained."""
    problems = []
    if model.inner.push and not model.has_gate:
        problems.append(f"models.{key}.inner.push: a network has no gate to steer")
    members = recipe.perturbations_of(model.against)
    if model.objective == "single" and len(members) > 1:
        problems.append(f"models.{key}: single trains on one perturbation, got {model.against}")
    if model.objective == "msd" and not all(isinstance(m, Ball) for m in members):
        problems.append(f"models.{key}: msd takes balls only, got {model.against}")
    if model.objective == "msd" and model.inner.single_step:
        problems.append(f"models.{key}: msd takes steps of PGD; remove inner.single_step")
    around = [name for name, m in zip(model.against, members, strict=True) if isinstance(m, Around)]
    if isinstance(model, NetworkModel) and model.trades and around:
        problems.append(
            f"models.{key}.trades compares x' with the unchanged image, and the composition "
            f"{around[0]} searches around a transformed one; leave it out of against"
        )
    return problems + (_wrong_shares(key, model) if model.shares else [])


def _wrong_mixture(recipe: Recipe, key: str, model: MixtureModel) -> list[str]:
    """Return what is wrong with a mixture."""
    problems = _experts_missing(recipe, key, model) if model.gate_warmup else []
    if model.gate_warmup and model.gate_warmup.gradient_projection:
        problems.append(
            f"models.{key}.gate_warmup.gradient_projection joins a training on labels; a warm-up "
            "teaches which expert is right, so set it to 0"
        )
    if model.warm_start and model.gate_warmup and not joined_experts(recipe, model):
        problems.append(
            f"models.{key}: its gate has no new expert to name; set gate_warmup to null"
        )
    if not (model.training or model.gate_warmup):
        problems.append(f"models.{key}: nothing trains; set gate_warmup or training")
    joined = joined_experts(recipe, model)
    if model.warm_start and model.gate_warmup and joined == model.experts:
        problems.append(
            f"models.{key}: its gate would know no expert; keep one of the mixture that was "
            "trained whole, or set gate_warmup to null"
        )
    if joined and model.experts[-len(joined) :] != joined:
        problems.append(
            f"models.{key}.experts: experts that join must come last ({', '.join(joined)})"
        )
    if model.robust_gate:
        problems += _wrong_gate(recipe, f"models.{key}.robust_gate", model, model.robust_gate)
    return problems


def _wrong_gate(recipe: Recipe, path: str, model: MixtureModel, gate: RobustGate) -> list[str]:
    """Return what is wrong with a robust gate."""
    problems = []
    if not model.gate_warmup:
        problems.append(f"{path}: needs a warm-up; set gate_warmup")
    if model.warm_start and (gate.start or gate.experts):
        problems.append(
            f"{path}: the gate of the warm start goes on, and names only new experts; remove start "
            "and experts"
        )
    problems += _wrong_gate_search(f"{path}.inner", gate.inner)
    if gate.start and gate.start not in model.experts:
        problems.append(f"{path}.start: {gate.start!r} is not in experts")
    elif gate.start and gate.start not in recipe.networks:
        problems.append(f"{path}.start: {gate.start!r} is not a network of this recipe")
    elif gate.start and recipe.gate and recipe.gate != recipe.network:
        problems.append(f"{path}.start: gate has another shape than the experts")
    if model.objective != "side-by-side" and not model.warm_start:
        problems.append(f"{path}: needs the objective side-by-side, got {model.objective}")
    for name, experts in gate.experts.items():
        if name not in model.against:
            problems.append(f"{path}.experts: {_not_in('against', name, model.against)}")
        strangers = [expert for expert in experts if expert not in model.experts]
        problems += [
            f"{path}.experts.{name}: {_not_in('experts', s, model.experts)}" for s in strangers
        ]
    return problems


def _wrong_gate_search(path: str, inner: InnerSearch) -> list[str]:
    """Return what is wrong with the search that attacks a gate."""
    problems = []
    if inner.push:
        problems.append(f"{path}.push: this search attacks only the gate; remove push")
    if inner.single_step:
        problems.append(f"{path}.single_step: a gate learns under PGD; remove single_step")
    return problems


def _wrong_shares(key: str, model: TrainedModel) -> list[str]:
    """Return which shares have no effect."""
    if model.objective != "side-by-side":
        return [f"models.{key}.shares: need the objective side-by-side, got {model.objective}"]
    unknown = [name for name in model.shares if name not in model.against]
    return [f"models.{key}.shares: {_not_in('against', name, model.against)}" for name in unknown]


def _not_in(section: str, name: str, known: Iterable[str]) -> str:
    return f"{name!r} is not in {section}{hint(name, known)}"


def _wrong_parents(recipe: Recipe, key: str, model: AnyModel) -> list[str]:
    """Return which parents are of the wrong kind.

    Experts are networks. A network starts from a network, and a mixture from a mixture.
    """
    if isinstance(model, SparseModel):
        return _wrong_sparse(recipe, key, model)
    problems = []
    for parent in model.parents:
        found = recipe.models.get(parent)
        if isinstance(model, NetworkModel) and parent != model.warm_start:
            continue  # the teacher: any model can teach
        is_start = model.has_gate and parent not in model.experts
        if found and not (found.has_gate if is_start else found.can_be_expert):
            wanted = "mixture" if is_start else "network"
            kind = _named(found)
            problems.append(f"models.{key}: {parent!r} is {kind}, expected a {wanted}")
    mixture = recipe.mixtures.get(key)
    return problems + (_wrong_start(recipe, key, mixture) if mixture else [])


def _named(model: AnyModel) -> str:
    """Return the kind of a model with its article."""
    nouns = {"distilled": "distilled network", "sparse": "sparse mixture"}
    return with_article(nouns.get(model.kind, model.kind))


def _wrong_sparse(recipe: Recipe, key: str, model: SparseModel) -> list[str]:
    """Return why a sparse mixture cannot be made of its mixture."""
    found = recipe.models.get(model.of)
    if not found:
        return []
    if not isinstance(found, MixtureModel):
        return [f"models.{key}.of: {model.of!r} is {_named(found)}, expected a mixture"]
    if model.top and model.top > len(found.experts):
        return [f"models.{key}.top: {model.of!r} has {len(found.experts)} experts, got {model.top}"]
    return []


def _wrong_start(recipe: Recipe, key: str, model: MixtureModel) -> list[str]:
    """Return why a mixture cannot start from its warm start."""
    base = warm_start(recipe, model)
    if not base:
        return []
    problems, start = [], f"its warm start {model.warm_start!r}"
    if not {*model.experts} & {*base.experts}:
        problems.append(f"models.{key}: has no expert in common with {start}")
    if model.combine != base.combine:
        problems.append(f"models.{key}: combine is not that of {start}")
    return problems


def _wrong_rows(recipe: Recipe) -> list[str]:
    """Return which rows have a name that results cannot take, or an attack that cannot be built."""
    problems = []
    for key, row in recipe.evaluation.rows.items():
        if key in COMPUTED_ROWS:
            problems.append(f"evaluation.rows.{key}: this name is reserved for a computed row")
        try:
            Outcomes({key: np.ones(1, np.bool_)})
        except ValueError as error:
            problems.append(f"evaluation.rows: {error}")
        if row.perturbation in recipe.perturbations:
            try:
                row.build(recipe.perturbations)
            except ValueError as error:
                problems.append(f"evaluation.rows.{key}: {error}")
    return problems


def _wrong_suites(recipe: Recipe) -> list[str]:
    """Return which further suites cannot be read or used."""
    if _unknown_names(recipe):
        return []
    problems = []
    for name in recipe.evaluation.suites:
        try:
            recipe.attacks(name)
        except RecipeError as error:
            problems.append(f"evaluation.suites.{name}: {error}")
    return problems


def _experts_missing(recipe: Recipe, key: str, model: MixtureModel) -> list[str]:
    """Return for which perturbations a gate has no expert to name."""
    old, new = known_and_new(recipe, model)
    which = "a new expert" if old else "an expert"
    return [
        f"models.{key}: the gate's warm-up needs {which} trained on {name!r}; add one to "
        "experts, or set gate_warmup to null"
        for name in model.against
        if name in new and not right_choices(recipe, model, name)
    ]


def _cycles(recipe: Recipe) -> list[str]:
    """Return which models are made from themselves, directly or not."""
    if _unknown_names(recipe):
        return []
    problems = []
    for key in recipe.models:
        seen: set[str] = set()
        queue = [*recipe.models[key].parents]
        while queue:
            name = queue.pop()
            if name not in seen:
                seen.add(name)
                queue += recipe.models[name].parents
        if key in seen:
            problems.append(f"models.{key}: is made from itself")
    return problems


def _same_slugs(recipe: Recipe) -> list[str]:
    """Return which models would share a folder."""
    owner: dict[str, str] = {}
    problems = []
    for key in recipe.models:
        if not any(letter.isalnum() for letter in key):
            problems.append(f"models: {key!r} needs at least one letter or digit")
        if len(slug(key).encode()) > LONGEST_NAME:
            problems.append(f"models: {key[:20]!r}... has more than {LONGEST_NAME} bytes")
        if slug(key) in owner:
            problems.append(f"models: {owner[slug(key)]!r} and {key!r} give the same folder")
        owner[slug(key)] = key
    return problems
