"""Suites: lists of attacks for any set of perturbations, as YAML.

A row of a suite names under ``over`` what it attacks: a kind of perturbation (``l2``, ``fog``,
``clean``, ...), ``balls`` (including compositions that end in one), ``transforms`` (all but
``clean``), ``chosen`` (what an attacker chooses that is neither), or a list of these. The row is
repeated for each matching perturbation, whose name replaces ``*`` in the name of the row.

A suite may have ``perturbations`` of its own, written as in a recipe. Its rows then go over these
and no others, so that any model is measured at the same strengths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from morex.core.near import did_you_mean, not_among
from morex.evaluation.suite import Row, Suite
from morex.perturbations import Around, Ball, Clean, Parametric, Perturbation, Transform
from morex.recipe.components import (
    COMPOSITION,
    PERTURBATIONS,
    AnyAttack,
    AnyPerturbation,
    AttackSpec,
    named_parts,
)
from morex.recipe.errors import RecipeError
from morex.recipe.fields import Strict
from morex.recipe.read_yaml import as_mapping, parse_yaml, read_yaml

_GROUPS = ("balls", "transforms", "chosen")
_OVER = (*_GROUPS, *PERTURBATIONS, COMPOSITION)
_ATTACK: TypeAdapter[AttackSpec] = TypeAdapter(AnyAttack)


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class SuiteSpec(Strict):
    """A suite as written in YAML; ``rows`` are checked once the perturbations are known."""

    name: str
    description: str = ""
    perturbations: Annotated[dict[str, AnyPerturbation], BeforeValidator(named_parts)] = Field(
        default_factory=dict
    )
    rows: dict[str, dict[str, Any]] = Field(min_length=1)


class _Over(Strict):
    over: Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


@dataclass(frozen=True)
class Attacks:
    """The rows of a suite by name.

    Attributes:
        rows: the rows.
        perturbations: those that they name.
        missing: the kinds and groups that the suite attacks and no perturbation matches.
    """

    rows: Mapping[str, AttackSpec]
    perturbations: Mapping[str, Perturbation]
    missing: tuple[str, ...] = ()

    def suite(self) -> Suite:
        """Return the rows as ``morex.evaluate`` takes them.

        Raises:
            ValueError: if an attack does not work on the perturbation that a row names.
        """
        return tuple(
            Row(name, row.build(self.perturbations), row.examples)
            for name, row in self.rows.items()
        )


def shipped_suites() -> dict[str, str]:
    """Return the names of the shipped suites with their one-line descriptions."""
    found = (_shipped_suite(file.name) for file in _shipped().iterdir())
    return {content["name"]: content["description"] for content in found}


def load_suite(
    name_or_path: str, perturbations: Mapping[str, Perturbation] | None = None
) -> Attacks:
    """Return the rows of a suite for ``perturbations``.

    Args:
        name_or_path: a shipped suite, or a YAML file.
        perturbations: what the rows go over, by name, unless the suite has perturbations of its
            own, as ``union`` has.

    Raises:
        RecipeError: if there is no such suite, something in it is wrong, or of its rows only those
            of clean images are left.
    """
    suite = _read(name_or_path)
    perturbations = suite.perturbations or perturbations or {}
    rows: dict[str, AttackSpec] = {}
    missing: dict[str, None] = {}
    for pattern, row in suite.rows.items():
        over = _over(name_or_path, pattern, row)
        missing |= {p: None for p in over if not any(_is(q, p) for q in perturbations.values())}
        chosen = [n for n, p in perturbations.items() if any(_is(p, part) for part in over)]
        for name in chosen:
            key = pattern.replace("*", name)
            if key in rows:
                raise RecipeError(f"{name_or_path}: rows.{pattern}: {key!r} is there already")
            body = {k: v for k, v in row.items() if k != "over"} | {"perturbation": name}
            rows[key] = _row(f"{name_or_path}: rows.{pattern}", body, perturbations)
    attacked = [perturbations[row.perturbation] for row in rows.values()]
    if not rows or (missing and all(isinstance(p, Clean) for p in attacked)):
        there = ", ".join(perturbations) or "no perturbation"
        raise RecipeError(f"{name_or_path}: none of its attacks goes over {there}")
    return Attacks(rows, perturbations, tuple(missing))


def _shipped() -> Any:
    return files("morex.recipe") / "suites"


def _shipped_suite(name: str) -> Any:
    return parse_yaml((_shipped() / name).read_text(encoding="utf-8"), name)


def _read(name_or_path: str) -> SuiteSpec:
    path = Path(name_or_path)
    if name_or_path in shipped_suites():
        content = _shipped_suite(f"{name_or_path}.yaml")
    elif path.is_file():
        content = read_yaml(path)
    else:
        near = did_you_mean(name_or_path, shipped_suites())
        raise RecipeError(
            f"no suite {name_or_path!r}: {near}it is neither a file nor one of the shipped suites "
            f"{', '.join(sorted(shipped_suites()))}"
        )
    try:
        return SuiteSpec.model_validate(as_mapping(content, name_or_path))
    except ValidationError as error:
        raise RecipeError(f"{name_or_path} is not a suite: {_said(error)}") from None


def _over(source: str, pattern: str, row: dict[str, Any]) -> tuple[str, ...]:
    """Return the kinds and groups of perturbations that a row goes over."""
    try:
        over = _Over.model_validate({"over": row.get("over")}).over
    except ValidationError:
        raise RecipeError(
            f"{source}: rows.{pattern}.over: expected balls, transforms, chosen, or kinds of "
            f"perturbations, got {row.get('over')!r}"
        ) from None
    if unknown := [part for part in over if part not in _OVER]:
        problem = not_among("kind of perturbation", unknown[0], _OVER)
        raise RecipeError(f"{source}: rows.{pattern}.over: {problem}")
    return over


def _is(perturbation: Perturbation, part: str) -> bool:
    if part == "balls":
        return isinstance(perturbation, Ball | Around)
    if part == "transforms":
        return isinstance(perturbation, Transform) and not isinstance(perturbation, Clean)
    if part == "chosen":
        return isinstance(perturbation, Parametric) and not isinstance(perturbation, Transform)
    return perturbation.name == part


def _row(
    source: str, body: dict[str, Any], perturbations: Mapping[str, Perturbation]
) -> AttackSpec:
    try:
        row = _ATTACK.validate_python(body)
        row.build(perturbations)
    except ValueError as error:
        raise RecipeError(f"{source}: {_said(error)}") from None
    return row


def _said(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(
        f"{'.'.join(map(str, e['loc']))}: {e['msg']}".removeprefix(": ") for e in error.errors()
    )
