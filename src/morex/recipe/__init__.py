"""Recipes: everything that decides a run, as one validated YAML file.

===================  ==========================================================================
``load``             recipes by name or path
``catalogue``        the recipes that come with morex
``overrides``        ``a.b=value``, and names that it must not make
``inherited``        what models inherit from sections of the recipe
``mistakes``         what is wrong with the form of a recipe, in words
``errors``           the error for a recipe or a suite that is wrong
``schema``           a recipe and its sections
``read_yaml``        YAML 1.2 as recipes and suites are written
``numbers_as_text``  strict numbers, and fractions as text
``models``           the kinds of model; each answers what ``kind`` asks of all
``kind``             what every kind of model answers about itself
``losses``           which losses of a network go with what else a recipe says about it
``fields``           fields that several sections have
``keys``             which fields go into the key of a stage
``phases``           what a training of a model trains on
``components``       perturbations and attacks as recipes write them
``custom``           perturbations of the user, from a Python file
``suites``           named lists of attacks
``signed``           recipes that runs keep, signed if they name code
``checks``           what is wrong with a recipe whose sections are of the right form
``lineage``          what a mixture goes on from, and what its gate learns to tell apart
``extend``           a recipe with one more perturbation, or with fewer experts
``illustrated``      which models the report page illustrates
===================  ==========================================================================

The folders ``shipped`` and ``suites`` have the recipes and suites that come with morex. The names
below are imported when they are first used, so that what only lists recipes starts without PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from morex.recipe.catalogue import shipped_recipes
    from morex.recipe.errors import RecipeError
    from morex.recipe.load import load_recipe, parse_recipe
    from morex.recipe.schema import Recipe, slug
    from morex.recipe.suites import load_suite, shipped_suites

_HOME = {
    "Recipe": "schema",
    "RecipeError": "errors",
    "load_recipe": "load",
    "load_suite": "suites",
    "parse_recipe": "load",
    "shipped_recipes": "catalogue",
    "shipped_suites": "suites",
    "slug": "schema",
}

__all__ = [
    "Recipe",
    "RecipeError",
    "load_recipe",
    "load_suite",
    "parse_recipe",
    "shipped_recipes",
    "shipped_suites",
    "slug",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'morex.recipe' has no attribute {name!r}")
    return getattr(import_module(f"morex.recipe.{_HOME[name]}"), name)
