"""What a model of a recipe is made from, and what its gate learns to tell apart."""

from morex.recipe.models import AnyModel, MixtureModel, SingleModel, TrainedModel
from morex.recipe.schema import Recipe


def parents(model: AnyModel) -> tuple[str, ...]:
    """Return the models that this one is made from."""
    experts = () if isinstance(model, SingleModel) else model.experts
    start = model.warm_start if isinstance(model, TrainedModel) else None
    return (*experts, start) if start else experts


def known_and_new(recipe: Recipe, model: MixtureModel) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what of ``against`` a mixture knew when it was last trained whole, and what is new."""
    base = trained_whole(recipe, model)
    before = base.against if base else ()
    known = tuple(name for name in model.against if name in before)
    return known, tuple(name for name in model.against if name not in before)


def warm_start(recipe: Recipe, model: MixtureModel) -> MixtureModel | None:
    """Return the mixture that a mixture starts from, if any."""
    base = recipe.models.get(model.warm_start or "")
    return base if isinstance(base, MixtureModel) else None


def trained_whole(recipe: Recipe, model: MixtureModel) -> MixtureModel | None:
    """Return the mixture, trained whole, that a mixture goes on from by warm starts, if any."""
    way = [model]
    while (base := warm_start(recipe, way[-1])) and base not in way:  # circles: said elsewhere
        way.append(base)
    return way[-1] if len(way) > 1 else None


def joined_experts(recipe: Recipe, model: MixtureModel) -> tuple[str, ...]:
    """Return the experts that joined a mixture since it was last trained whole."""
    base = trained_whole(recipe, model)
    return tuple(name for name in model.experts if base and name not in base.experts)


def expert_for(recipe: Recipe, model: MixtureModel, perturbation: str) -> int | None:
    """Return the index of the expert that a gate's warm-up should name for ``perturbation``.

    It is the first that is trained on it alone, else the first that is trained on it before all
    else, else the first that is trained on it at all; those of a mixture trained whole that it goes
    on from are left out. None if there is no such expert.
    """
    base = trained_whole(recipe, model)
    old = base.experts if base else ()
    against = {
        index: spec.against
        for index, expert in enumerate(model.experts)
        if isinstance(spec := recipe.models.get(expert), SingleModel) and expert not in old
    }
    alone = [index for index, names in against.items() if names == (perturbation,)]
    first = [index for index, names in against.items() if names[:1] == (perturbation,)]
    beside = [index for index, names in against.items() if perturbation in names]
    return next(iter(alone + first + beside), None)


def right_choices(recipe: Recipe, model: MixtureModel, perturbation: str) -> tuple[int, ...]:
    """Return what a gate should name for a perturbation, of all that it chooses among.

    Indices of experts; after a warm start 0 for all that is known, and 1 for the first expert that
    joined. Empty if there is no expert for it.
    """
    if model.warm_start:
        _, new = known_and_new(recipe, model)
        if perturbation not in new:
            return (0,)
        joined = joined_experts(recipe, model)
        expert = expert_for(recipe, model, perturbation)
        return () if expert is None else (1 + expert - len(model.experts) + len(joined),)
    named = model.robust_gate.experts if model.robust_gate else {}
    if perturbation in named:
        right = named[perturbation]
        return tuple(model.experts.index(name) for name in right if name in model.experts)
    single = expert_for(recipe, model, perturbation)
    return () if single is None else (single,)
