"""Which models of a recipe the report page illustrates."""

from morex.recipe.schema import Recipe

_ENOUGH = 5
"""More lines than these are hard to tell apart in one chart."""


def illustrated(recipe: Recipe) -> tuple[str, ...]:
    """Return the models with curves and confusions, in the order of the columns.

    They are those that the recipe names; by default the first column, the last mixture, and the
    networks that were trained against the most perturbations.
    """
    if recipe.report is None:
        return ()
    wanted = recipe.report.models or _chosen(recipe)
    return tuple(name for name in recipe.columns if name in wanted)


def in_pictures(recipe: Recipe) -> str | None:
    """Return the model that the gallery is about: the last mixture, else the last model."""
    models = illustrated(recipe)
    mixtures = [name for name in models if name in recipe.mixtures]
    return next(reversed(mixtures or models), None)


def _chosen(recipe: Recipe) -> tuple[str, ...]:
    columns = recipe.columns
    mixtures = [name for name in columns if name in recipe.mixtures]
    networks = sorted(
        (name for name in columns if name in recipe.networks),
        key=lambda name: len(recipe.models[name].against),
        reverse=True,  # the first of two that are as broad stays the first
    )
    return tuple(dict.fromkeys((columns[0], *mixtures[-1:], *networks)))[:_ENOUGH]
