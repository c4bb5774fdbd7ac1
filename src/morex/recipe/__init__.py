"""Recipes: everything that decides a run, as one validated YAML file."""

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
