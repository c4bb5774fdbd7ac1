"""Recipes: everything that decides a run, as one validated YAML file.

===================  ==========================================================================
``load``             recipes by name or path
``overrides``        ``a.b=value``, and names that it must not make
``inherited``        what models inherit from sections of the recipe
``mistakes``         what is wrong with the form of a recipe, in words
``near``             the nearest names to one that is not known
``schema``           a recipe and its sections
``read_yaml``        YAML 1.2 as recipes and suites are written
``numbers_as_text``  strict numbers, and fractions as text
``models``           the kinds of model; each answers what ``kind`` asks of all
``kind``             what every kind of model answers about itself
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

The folders ``shipped`` and ``suites`` have the recipes and suites that come with morex.
"""

from morex.recipe.errors import RecipeError
from morex.recipe.load import load_recipe, parse_recipe, shipped_recipes
from morex.recipe.schema import Recipe, slug
from morex.recipe.suites import load_suite, shipped_suites

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
