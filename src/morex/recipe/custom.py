"""Custom perturbations from a Python file: ``kind: path/to/file.py:Name``."""

import dataclasses
import inspect
from typing import Any

from morex.artifacts.results import CODE
from morex.core.near import not_among
from morex.core.number_checks import check_numbers
from morex.core.user_code import UserCodeError, object_named
from morex.perturbations import Around, Chain, Perturbation
from morex.perturbations.validate import check_perturbation
from morex.recipe.errors import RecipeError
from morex.recipe.numbers_as_text import read_number

_origins: dict[type, tuple[str, str]] = {}
"""Where classes come from: the kind that recipes give them, and a checksum of their file."""


def make_own(spec: dict[str, Any]) -> Perturbation:
    """Return the custom perturbation that a recipe describes, checked on a few images.

    Raises:
        RecipeError: if the file or class cannot be used, or a number does not fit.
        PerturbationError: if it breaks a rule for perturbations.
    """
    kind = spec["kind"]
    cls = load_class(kind)
    numbers = {k: read_number(v) for k, v in spec.items() if k not in ("kind", CODE)}
    fields = [field.name for field in dataclasses.fields(cls)]
    if unknown := [key for key in numbers if key not in fields]:
        raise RecipeError(f"{kind}: {not_among('number', unknown[0], fields)}")
    try:
        made = cls(**numbers)
        check_numbers(made)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{kind}: {error}") from None
    check_perturbation(made)
    return made


def load_class(kind: str) -> type[Perturbation]:
    """Return the class ``Name`` of ``path/to/file.py:Name``.

    Raises:
        RecipeError: if there is no such file or class, or the class is not a frozen dataclass
            derived from a perturbation.
    """
    try:
        cls, code = object_named(kind)
    except UserCodeError as error:
        raise RecipeError(str(error)) from error
    name = kind.rpartition(":")[2]
    if not (inspect.isclass(cls) and issubclass(cls, Perturbation)):
        raise RecipeError(
            f"{kind}: {name} is not a class derived from Transform, Ball or Parametric"
        )
    if not dataclasses.is_dataclass(cls) or inspect.isabstract(cls):
        raise RecipeError(
            f"{kind}: put @dataclass(frozen=True) on {name}, and define all its abstract methods"
        )
    _origins[cls] = kind, code
    return cls


def described(perturbation: Perturbation) -> dict[str, Any]:
    """Return a perturbation as a recipe writes it: its kind and its numbers."""
    if isinstance(perturbation, Chain | Around):
        parts = [described(part) for part in perturbation.parts]
        return {"kind": perturbation.name, "parts": parts}
    kind, code = _origins.get(type(perturbation), (perturbation.name, ""))
    version = {CODE: code} if code else {}
    return {"kind": kind, **dataclasses.asdict(perturbation), **version}


def identified(perturbation: Perturbation) -> dict[str, Any]:
    """Return what a perturbation adds to the key of a stage: its description and revision."""
    found = described(perturbation)
    if isinstance(perturbation, Chain | Around):
        return found | {"parts": [identified(part) for part in perturbation.parts]}
    return found | ({"revision": perturbation.revision} if perturbation.revision else {})
