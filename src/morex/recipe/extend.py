"""Recipes that go on from a trained mixture: with one more perturbation, or with fewer experts.

For a new perturbation a recipe gains three things: an expert for it, a mixture that starts from the
old one and also has that expert, and rows that attack with it. Everything else stays the same, so
no trained model is trained again.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from morex.core.near import hint, not_among
from morex.perturbations import Ball, Parametric, Perturbation, Transform
from morex.recipe.components import AttackSpec
from morex.recipe.errors import RecipeError
from morex.recipe.lineage import trained_whole
from morex.recipe.load import parse_recipe
from morex.recipe.models import MixtureModel
from morex.recipe.schema import Recipe

_SHORT: Mapping[str, Mapping[str, float]] = {
    "expert": {"epochs": 0.45, "batch_size": 1.5},
    "gate_warmup": {"epochs": 1.2, "batch_size": 0.6},
    "training": {"epochs": 0.02, "learning_rate": 0.1},
}
"""Factors on the training of the expert that a new one starts from, on the warm-up of the old gate,
and on the training of the old mixture. Each starts from something trained, so a short training is
enough. None is validated: that would cost more than the training, and nothing has to be chosen."""

_QUICKLY: Mapping[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 5e-3,
    "weight_decay": 0,
    "schedule": [[0, 0], [0.1, 1], [1, 0]],
}
"""How a new expert learns in few steps, however the expert that it starts from was trained."""

_BESIDE: Mapping[str, Any] = {"optimizer": "adamw", "learning_rate": 1e-2, "weight_decay": 0}
"""How the network beside a gate learns, however the gate was trained."""

_ATTACKED: Mapping[str, Any] = {"inner": {"steps": 1, "relative_step": 2, "keep": "last"}}
"""The attack that it learns under: one step that leads the gate from known experts to the new."""

_ONE_STEP: Mapping[str, Any] = {"steps": 1, "relative_step": 1.25, "restarts": 1, "keep": "last"}
"""The search in known balls while a new expert trains: it starts robust there, and stays so."""

_TWO_STEPS: Mapping[str, Any] = {"steps": 2, "relative_step": 2}
"""The longest search of an expert for a new ball, since it starts robust in other balls."""


def extended(
    recipe: Recipe,
    mixture: str,
    new: Mapping[str, Mapping[str, Any]],
    trained: Mapping[str, str] | None = None,
) -> Recipe:
    """Return ``recipe`` with new perturbations, an expert for each, and a mixture that has them.

    A new expert starts from the mixture's expert that was trained on the most balls. It trains on
    the new perturbation and on all balls of the mixture: an expert that is not robust would be one
    more to which an attacker can steer the gate. The gate gets a network beside it
    (``models/extend.py``), which learns under attack.

    Args:
        recipe: of a run.
        mixture: the model to extend.
        new: perturbations as recipes write them, by name.
        trained: trained experts for some of them, by the name of the perturbation: a saved model,
            or ``path/to/file.py:factory``.

    Raises:
        RecipeError: if there is no such mixture, a name is taken, a perturbation is wrong, or a
            trained expert is for no new perturbation.
    """
    trained = trained or {}
    if strangers := [name for name in trained if name not in new]:
        raise RecipeError(
            f"an expert for {strangers[0]!r}, which is not among {', '.join(new)}"
            + hint(strangers[0], new)
        )
    base, source = _mixture(recipe, mixture), f"the extension by {', '.join(new)}"
    experts = {name: f"M{name}" for name in new}
    for name in (*new, *experts.values()):
        if name in recipe.perturbations or name in recipe.models:
            raise RecipeError(f"{name!r} is in the recipe already; choose another name")
    raw = recipe.model_dump(mode="json")
    raw["perturbations"] |= {name: dict(spec) for name, spec in new.items()}
    recipe = parse_recipe(raw, source)  # raises if a perturbation is wrong
    for name, expert in experts.items():
        given = {"kind": "saved", "model": trained.get(name), "against": [name]}
        raw["models"][expert] = given if name in trained else _expert(recipe, base, name)
        raw["evaluation"]["rows"] |= _rows(recipe, name)
    grown, root = " + ".join((mixture, *new)), _root(recipe, mixture)
    short = _short(recipe, mixture)
    raw["models"][grown] = short | {
        "experts": [*base.experts, *experts.values()],
        "against": [*base.against, *new],
        "gate_warmup": _scaled(root["gate_warmup"] or root["training"], "gate_warmup", _BESIDE),
        "robust_gate": dict(_ATTACKED),
        "training": short["training"] if root["training"] else None,
    }
    _show(raw, *experts.values(), grown)
    raw["name"] = "-".join((recipe.name, *new))
    return parse_recipe(raw, source)


def shrunk(recipe: Recipe, mixture: str, without: Sequence[str]) -> Recipe:
    """Return ``recipe`` with a mixture that starts from ``mixture`` and lacks some of its experts.

    The new mixture no longer trains on perturbations that only those experts are for; their rows
    stay.

    Raises:
        RecipeError: if there is no such mixture or expert, or no expert would be left.
    """
    raw, base = recipe.model_dump(mode="json"), _mixture(recipe, mixture)
    if strangers := [name for name in without if name not in base.experts]:
        problem = not_among("expert", strangers[0], base.experts)
        raise RecipeError(f"{mixture!r}: {problem}{_who_has(recipe, strangers[0])}")
    experts = [name for name in base.experts if name not in without]
    if not experts:
        raise RecipeError(f"no expert of {mixture!r} would be left")
    kept, gone = _purposes(recipe, experts), _purposes(recipe, without)
    against = [name for name in base.against if name in kept or name not in gone]
    name = " - ".join((mixture, *without))
    raw["models"][name] = _short(recipe, mixture) | {
        "experts": experts,
        "against": against,
        "shares": {n: share for n, share in base.shares.items() if n in against},
    }
    _show(raw, name)
    raw["name"] = "-without-".join((recipe.name, *without))
    return parse_recipe(raw, f"the recipe without {', '.join(without)}")


def _who_has(recipe: Recipe, expert: str) -> str:
    """Return which mixtures have an expert, for an error; empty if none has."""
    found = [repr(name) for name, mixture in recipe.mixtures.items() if expert in mixture.experts]
    return f"; choose {' or '.join(found)}, which has it, with --mixture" if found else ""


def _show(raw: dict[str, Any], *models: str) -> None:
    """Add models to the table, and to the report page if the recipe names the models on it."""
    raw["columns"] += models
    if (raw["report"] or {}).get("models") is not None:
        raw["report"]["models"] += models


def last_mixture(recipe: Recipe) -> str:
    """Return the last column that is a mixture with a gate.

    Raises:
        RecipeError: if there is none.
    """
    found = [name for name in recipe.columns if name in recipe.mixtures]
    if not found:
        raise RecipeError(f"{recipe.name} has no mixture to extend")
    return found[-1]


def _mixture(recipe: Recipe, name: str) -> MixtureModel:
    mixtures = recipe.mixtures
    if name not in mixtures:
        raise RecipeError(not_among("mixture", name, mixtures))
    return mixtures[name]


def _expert(recipe: Recipe, base: MixtureModel, name: str) -> dict[str, Any]:
    """Return a new expert as a recipe writes it."""
    robust_itself = not isinstance(recipe.perturbations[name], Transform | Parametric)
    balls = [] if robust_itself else [n for n in base.against if _is_ball(recipe, n)]
    start = _start(recipe, trained_whole(recipe, base) or base)
    if not start:
        raise RecipeError(
            f"an expert for {name!r} needs a start, but no expert of the mixture was trained in "
            "this run; give a trained expert"
        )
    model = recipe.model_dump(mode="json")["models"][start]
    inner = model["inner"]
    if balls:
        inner |= _ONE_STEP
    elif inner["steps"] > _TWO_STEPS["steps"]:
        inner |= _TWO_STEPS
    return {
        "kind": "network",
        "objective": "side-by-side" if balls else "single",
        "against": [name, *balls],
        "shares": {name: 4} if balls else {},  # it must learn the new perturbation most
        "warm_start": start,
        "inner": inner,
        "training": _scaled(model["training"], "expert", _QUICKLY),
    }


def _start(recipe: Recipe, base: MixtureModel) -> str | None:
    """Return the expert to go on from: the one that was trained on the most balls.

    Ties go to the one trained on the fewest other perturbations, then to the first.
    """
    ours = [name for name in base.experts if name in recipe.networks]

    def suits(name: str) -> tuple[int, int]:
        against = recipe.models[name].against
        balls = sum(_is_ball(recipe, n) for n in against)
        return balls, balls - len(against)

    return max(ours, key=suits, default=None)


def _scaled(
    training: Mapping[str, Any], which: str, fixed: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    shorter = {key: factor * training[key] for key, factor in _SHORT[which].items()}
    if "batch_size" in shorter:
        shorter["batch_size"] = max(1, round(shorter["batch_size"]))
    projected = {"gradient_projection": 0.0} if which == "gate_warmup" else {}  # needs labels
    return {**training, **shorter, **fixed, **projected, "validate_every": None}


def _root(recipe: Recipe, name: str) -> dict[str, Any]:
    """Return the mixture, trained at full length, that ``name`` goes on from by warm starts."""
    mixture = _mixture(recipe, name)
    return (trained_whole(recipe, mixture) or mixture).model_dump(mode="json")


def _short(recipe: Recipe, name: str) -> dict[str, Any]:
    """Return a mixture that goes on from the trained mixture ``name``, as a recipe writes it."""
    root, mixture = _root(recipe, name), _mixture(recipe, name).model_dump(mode="json")
    training = _scaled(root["training"] or root["gate_warmup"], "training")
    as_it_is = {"warm_start": name, "gate_warmup": None, "robust_gate": None}
    return mixture | as_it_is | {"training": training}


def _rows(recipe: Recipe, name: str) -> dict[str, Any]:
    """Return rows for a new perturbation: a draw of a transform, or the attacks of a ball."""
    perturbation = recipe.perturbations[name]
    if isinstance(perturbation, Transform):
        return {name: {"attack": "draws", "perturbation": name}}
    rows = [r for r in recipe.evaluation.rows.values() if _is_ball(recipe, r.perturbation)]
    found = {}
    for row in rows:
        like = row.model_copy(update={"perturbation": name})
        if row.perturbation == rows[0].perturbation and _fits(like, perturbation):
            found[f"{row.attack}-{name}"] = like.model_dump(mode="json")
    return found or {f"pgd-{name}": {"attack": "pgd", "perturbation": name}}


def _fits(row: AttackSpec, perturbation: Perturbation) -> bool:
    """Return whether an attack works on a perturbation; RayS, for example, does not work on L1."""
    try:
        row.build({row.perturbation: perturbation})
    except ValueError:
        return False
    return True


def _is_ball(recipe: Recipe, name: str) -> bool:
    return isinstance(recipe.perturbations[name], Ball)


def _purposes(recipe: Recipe, experts: Sequence[str]) -> set[str]:
    """Return the perturbations that experts are for: the first that each is trained on."""
    return {name for expert in experts for name in recipe.models[expert].against[:1]}
