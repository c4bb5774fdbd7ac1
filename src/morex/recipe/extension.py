"""Recipes that go on from a trained mixture: with a further perturbation, or with fewer experts.

A recipe with a new perturbation has three things more: an expert for it, a mixture that starts from
the old one and has that expert too, and rows that attack with it. All else is as it was, so nothing
that is trained is trained again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from morex.perturbations import Ball, Perturbation
from morex.recipe.errors import RecipeError
from morex.recipe.load import parse_recipe
from morex.recipe.schema import MixtureModel, NetworkModel, Recipe

_EXPERT_SHARE, _MIXTURE_SHARE, _LEARNING_RATE = 0.3, 0.1, 0.1
"""Of the epochs of the expert that a new one starts from, and of epochs and learning rate of the
old mixture: what has been learnt before need not be learnt again."""


def extended(recipe: Recipe, mixture: str, new: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """Return ``recipe`` with perturbations, an expert for each, and a mixture that has them too.

    A new expert starts from the mixture's first expert for a ball and keeps training in that ball
    half of the time: an expert that gives way to small changes is one more to which an attacker
    can steer the gate.

    Args:
        recipe: of a run.
        mixture: the model to extend.
        new: perturbations as recipes write them, by name.

    Raises:
        RecipeError: if the mixture is none, a name is taken, or a perturbation is wrong.
    """
    raw, base = recipe.model_dump(mode="json"), _mixture(recipe, mixture)
    experts = {f"M{name}": name for name in new}
    taken = {*recipe.perturbations, *recipe.models} & {*new, *experts}
    if taken:
        raise RecipeError(f"{min(taken)!r} is in the recipe already; choose another name")
    raw["perturbations"] |= {name: dict(spec) for name, spec in new.items()}
    for expert, name in experts.items():
        raw["models"][expert] = _expert(recipe, base, name)
    grown = _short(raw["models"][mixture], mixture) | {
        "experts": [*base.experts, *experts],
        "against": [*base.against, *new],
        "gate_warmup": raw["models"][mixture]["gate_warmup"],
    }
    name = " + ".join((mixture, *new))
    raw["models"][name] = grown
    raw["columns"] += [*experts, name]
    raw["name"] = "-".join((recipe.name, *new))
    source = f"the extension by {', '.join(new)}"
    perturbations = parse_recipe(raw, source).perturbations  # with the mistakes in them, if any
    for added in new:
        if isinstance(perturbations[added], Ball):  # nothing else to keep to: it is robust itself
            raw["models"][f"M{added}"] |= {"against": [added], "objective": "single"}
        raw["evaluation"]["rows"] |= _rows(recipe, added, perturbations[added])
    return parse_recipe(raw, source)


def shrunk(recipe: Recipe, mixture: str, without: Sequence[str]) -> Recipe:
    """Return ``recipe`` with a mixture that starts from ``mixture`` and lacks some of its experts.

    Perturbations that only those experts are for are trained against no more; their rows stay.

    Raises:
        RecipeError: if the mixture is none, it has no such expert, or none would be left.
    """
    raw, base = recipe.model_dump(mode="json"), _mixture(recipe, mixture)
    if strangers := [name for name in without if name not in base.experts]:
        known = ", ".join(base.experts)
        raise RecipeError(f"{mixture!r} has no expert {strangers[0]!r}; it has {known}")
    experts = [name for name in base.experts if name not in without]
    if not experts:
        raise RecipeError(f"no expert of {mixture!r} would be left")
    kept, gone = _purposes(recipe, experts), _purposes(recipe, without)
    against = [name for name in base.against if name in kept or name not in gone]
    name = " - ".join((mixture, *without))
    raw["models"][name] = _short(raw["models"][mixture], mixture) | {
        "experts": experts,
        "against": against,
        "shares": {n: share for n, share in base.shares.items() if n in against},
    }
    raw["columns"].append(name)
    raw["name"] = "-without-".join((recipe.name, *without))
    return parse_recipe(raw, f"the recipe without {', '.join(without)}")


def last_mixture(recipe: Recipe) -> str:
    """Return the last column that is a mixture with a gate.

    Raises:
        RecipeError: if there is none.
    """
    found = [name for name in recipe.columns if isinstance(recipe.models[name], MixtureModel)]
    if not found:
        raise RecipeError(f"{recipe.name} has no mixture to extend")
    return found[-1]


def _mixture(recipe: Recipe, name: str) -> MixtureModel:
    model = recipe.models.get(name)
    if not isinstance(model, MixtureModel):
        mixtures = [n for n, m in recipe.models.items() if isinstance(m, MixtureModel)]
        raise RecipeError(f"no mixture {name!r}; there are {', '.join(mixtures) or 'none'}")
    return model


def _expert(recipe: Recipe, base: MixtureModel, name: str) -> dict[str, Any]:
    """Return a new expert as a recipe writes it."""
    start, ball = _robust_expert(recipe, base)
    model = recipe.model_dump(mode="json")["models"][start]
    training = model["training"] | {"epochs": _EXPERT_SHARE * model["training"]["epochs"]}
    return {
        "kind": "network",
        "objective": "side-by-side" if ball else "single",
        "against": [name, *ball],
        "warm_start": start,
        "inner": model["inner"],
        "training": training,
    }


def _robust_expert(recipe: Recipe, base: MixtureModel) -> tuple[str, tuple[str, ...]]:
    """Return the mixture's first expert for one ball alone, and the ball; else the first expert."""
    for expert in base.experts:
        against = _network(recipe, expert).against
        if len(against) == 1 and isinstance(recipe.perturbations[against[0]], Ball):
            return expert, against
    return base.experts[0], ()


def _network(recipe: Recipe, name: str) -> NetworkModel:
    model = recipe.models[name]
    assert isinstance(model, NetworkModel)  # the recipe has been checked: experts are networks
    return model


def _short(mixture: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a mixture as a recipe writes it that goes on from a trained one."""
    training = mixture["training"]
    short = {
        "epochs": _MIXTURE_SHARE * training["epochs"],
        "learning_rate": _LEARNING_RATE * training["learning_rate"],
    }
    return mixture | {"warm_start": name, "gate_warmup": None, "training": training | short}


def _rows(recipe: Recipe, name: str, perturbation: Perturbation) -> dict[str, Any]:
    """Return rows for a new perturbation: a draw of a transform, the attacks of another ball."""
    if not isinstance(perturbation, Ball):
        return {name: {"attack": "draws", "perturbation": name}}
    rows = recipe.evaluation.rows
    balls = [r.perturbation for r in rows.values() if _is_ball(recipe, r.perturbation)]
    return {
        f"{row.attack}-{name}": row.model_dump(mode="json") | {"perturbation": name}
        for row in rows.values()
        if balls and row.perturbation == balls[0] and row.attack in ("pgd", "deepfool", "rays")
    } or {f"pgd-{name}": {"attack": "pgd", "perturbation": name}}


def _is_ball(recipe: Recipe, name: str) -> bool:
    return isinstance(recipe.perturbations[name], Ball)


def _purposes(recipe: Recipe, experts: Sequence[str]) -> set[str]:
    """Return what experts are for: that which each is trained on before all else."""
    return {_network(recipe, expert).against[0] for expert in experts}
