"""Reading recipes: shipped ones by name, others by path, with dotted overrides."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from morex.core.file_errors import near_file
from morex.core.near import did_you_mean
from morex.core.strict_json import check_depth
from morex.recipe.catalogue import read_shipped, shipped_recipes
from morex.recipe.checks import problems_of
from morex.recipe.errors import RecipeError
from morex.recipe.inherited import with_defaults
from morex.recipe.mistakes import form_problems
from morex.recipe.overrides import with_overrides
from morex.recipe.read_yaml import as_mapping, read_yaml
from morex.recipe.schema import Recipe
from morex.recipe.signed import check_no_code, is_signed_file


def load_recipe(
    name_or_path: str, overrides: Sequence[str] = (), *, trust_code: bool = True
) -> Recipe:
    """Return the recipe of a shipped name or a YAML file, with ``a.b=value`` overrides applied.

    Args:
        name_or_path: the name or the file.
        overrides: the overrides.
        trust_code: whether code that it names may run: yes for a recipe that the user chose. The
            recipe of a run that may be a stranger's is trusted if this user's morex wrote it here.

    Raises:
        UntrustedCodeError: if it names code that must not run.
        RecipeError: if there is no such recipe, or if it or an override is wrong. All wrong keys
            and types are reported together, each with its path.
    """
    content = _read(name_or_path)
    trust_code = trust_code or is_signed_file(Path(name_or_path), content)
    if not trust_code:
        check_no_code(content, name_or_path)
    return parse_recipe(with_overrides(content, overrides), name_or_path)


def parse_recipe(
    raw: Mapping[str, Any], source: str = "recipe", *, trust_code: bool = True
) -> Recipe:
    """Return the recipe that ``raw`` holds.

    Args:
        raw: the content of a recipe file.
        source: where it comes from, for messages.
        trust_code: whether code that it names may run.

    Raises:
        UntrustedCodeError: if it names code that must not run.
        RecipeError: as for ``load_recipe``.
    """
    try:
        check_depth(raw)
    except ValueError as error:
        raise _invalid(source, [str(error)]) from None
    if not trust_code:
        check_no_code(raw, source)
    content = with_defaults(raw)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise _invalid(source, form_problems(error, content)) from None
    if problems := problems_of(recipe):
        raise _invalid(source, problems)
    return recipe


def _invalid(source: str, problems: Sequence[str]) -> RecipeError:
    return RecipeError("\n  ".join((f"{source} is not a valid recipe:", *problems)))


def _read(name_or_path: str) -> dict[str, Any]:
    names = shipped_recipes()
    if name_or_path in names:
        content = read_shipped(name_or_path)
    elif Path(name_or_path).is_file():
        content = read_yaml(Path(name_or_path))
    else:
        raise RecipeError(
            f"no recipe {name_or_path!r}: {did_you_mean(name_or_path, names)}it is neither a "
            f"file nor one of the shipped recipes {', '.join(names)}{near_file(Path(name_or_path))}"
        )
    return as_mapping(content, name_or_path)
