"""What a mixture goes on from, and what its gate learns to tell apart."""

from morex.recipe.models import MixtureModel, SparseModel
from morex.recipe.schema import Recipe


def unused_models(recipe: Recipe) -> tuple[str, ...]:
    """Return the models that no column is made from, directly or not; they are not trained."""
    needed = {*recipe.columns}
    while more := {p for name in needed for p in recipe.models[name].parents} - needed:
        needed |= more
    return tuple(name for name in recipe.models if name not in needed)


def warm_start(recipe: Recipe, model: MixtureModel) -> MixtureModel | None:
    """Return the mixture that a mixture starts from, if any."""
    return recipe.mixtures.get(model.warm_start or "")


def trained_whole(recipe: Recipe, model: MixtureModel) -> MixtureModel | None:
    """Return the mixture, trained whole, that a mixture goes on from by warm starts, if any."""
    way = [model]
    # a mixture that is made from itself is reported by checks.py
    while (base := warm_start(recipe, way[-1])) and base not in way:
        way.append(base)
    return way[-1] if len(way) > 1 else None


def known_and_new(recipe: Recipe, model: MixtureModel) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which of ``against`` a mixture knew when it was last trained whole, and which not."""
    base = trained_whole(recipe, model)
    before = base.against if base else ()
    known = tuple(name for name in model.against if name in before)
    return known, tuple(name for name in model.against if name not in before)


def joined_experts(recipe: Recipe, model: MixtureModel) -> tuple[str, ...]:
    """Return the experts that joined a mixture since it was last trained whole."""
    base = trained_whole(recipe, model)
    return tuple(name for name in model.experts if base and name not in base.experts)


def networks_of(recipe: Recipe, name: str) -> int:
    """Return through how many single networks an image goes in a model.

    In a mixture these are its experts and its gate; a gate that experts joined is two networks. In
    a sparse mixture an image goes through some of them only.
    """
    model = recipe.models[name]
    if isinstance(model, SparseModel):
        return networks_of(recipe, model.of)
    mixture = recipe.mixtures.get(name)
    joined = bool(mixture and joined_experts(recipe, mixture))
    return model.networks + joined


def weighted_experts(recipe: Recipe, name: str) -> tuple[str, ...]:
    """Return the experts that the gate of a model weights; none without a gate."""
    model = recipe.models[name]
    if isinstance(model, SparseModel):
        return weighted_experts(recipe, model.of)
    return model.experts if model.has_gate else ()


def expert_for(recipe: Recipe, model: MixtureModel, perturbation: str) -> int | None:
    """Return the index of the expert that a gate's warm-up should name for ``perturbation``.

    It is the first that is trained on it alone, else the first that is trained on it before
    anything else, else the first that is trained on it at all. After a warm start, experts of the
    mixture that was trained whole do not count.

    Returns:
        None if there is no such expert.
    """
    base = trained_whole(recipe, model)
    old = base.experts if base else ()
    against = {
        index: spec.against
        for index, expert in enumerate(model.experts)
        if (spec := recipe.models.get(expert)) and spec.can_be_expert and expert not in old
    }
    alone = [index for index, names in against.items() if names == (perturbation,)]
    first = [index for index, names in against.items() if names[:1] == (perturbation,)]
    beside = [index for index, names in against.items() if perturbation in names]
    return next(iter(alone + first + beside), None)


def right_choices(recipe: Recipe, model: MixtureModel, perturbation: str) -> tuple[int, ...]:
    """Return what a gate should choose for a perturbation, as indices of its choices.

    A gate chooses among the experts. After a warm start it chooses among everything that is known,
    together, at 0, and each expert that joined, from 1.

    Returns:
        No index if no expert is for the perturbation.
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


def right_experts(recipe: Recipe, model: MixtureModel) -> dict[str, tuple[str, ...]]:
    """Return, for each perturbation, the experts among which a gate should choose for it.

    Empty for a gate without a warm-up: nothing has told it which expert is for what.
    """
    if not model.gate_warmup:
        return {}
    chosen = {name: right_choices(recipe, model, name) for name in model.against}
    joined = joined_experts(recipe, model) if model.warm_start else ()
    known = tuple(name for name in model.experts if name not in joined)
    choices = [known, *((name,) for name in joined)] if model.warm_start else None
    options = choices or [(name,) for name in model.experts]
    return {name: tuple(e for k in found for e in options[k]) for name, found in chosen.items()}
