"""What the options of ``morex extend`` stand for, and what an extension cost to train."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from morex.artifacts.outcomes import Outcomes
from morex.core.units import duration
from morex.recipe import Recipe, RecipeError, parse_recipe
from morex.recipe.overrides import with_overrides
from morex.recipe.read_yaml import parse_yaml
from morex.report.results import read_results
from morex.run.continuation import training_seconds


def read_perturbations(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return new perturbations by name, from the texts of ``--with``.

    A text is a kind, ``file.py:Class``, or ``name: {kind: ...}``.

    Raises:
        RecipeError: if a text has none of these forms, or two perturbations have the same name.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, spec = _perturbation(text)
        if name in found:
            raise RecipeError(f"--with names {name!r} twice")
        found[name] = spec
    return found


def read_experts(texts: Sequence[str]) -> dict[str, str]:
    """Return trained experts by the name of their perturbation, from the texts of ``--expert``.

    Raises:
        RecipeError: if a text does not have the form ``rain=FOLDER``.
    """
    found = {}
    for text in texts:
        name, equals, model = text.partition("=")
        if not (name and equals and model):
            raise RecipeError(f"--expert {text!r}: expected NAME=MODEL, such as rain=FOLDER")
        folder = Path(model)
        found[name] = str(folder.resolve()) if folder.exists() else model
    return found


def with_changes(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with ``a.b=value`` overrides applied."""
    if not overrides:
        return recipe
    return parse_recipe(with_overrides(recipe.model_dump(mode="json"), overrides), recipe.name)


def training_cost(out: Path, recipe: Recipe, before: Recipe) -> str:
    """Return how long the new models trained, compared with the old recipe's slowest baseline."""
    new = [name for name in recipe.models if name not in before.models]
    seconds = {name: training_seconds(out, name) for name in new}
    total = sum(seconds.values())
    parts = ", ".join(f"{name} {duration(s)}" for name, s in seconds.items())
    text = f"training took {duration(total)} ({parts})"
    single = {n: training_seconds(out, n) for n in _baselines(before)}
    slowest = max(single, key=lambda name: single[name], default=None)
    if slowest is None or not single[slowest]:
        return text
    share = 100 * total / single[slowest]
    return f"{text}: {share:.0f}% of the {duration(single[slowest])} of {slowest}"


def effects(out: Path, recipe: Recipe, before: Recipe) -> list[str]:
    """Return for each new mixture how it does against the one that it goes on from.

    For example: ``MoRE + rain against MoRE: +16.2 points in rain, -1.4 in pgd-l2; less than a
    point in the other rows``.
    """
    outcomes, lines = read_results(out).outcomes, []
    for name, mixture in recipe.mixtures.items():
        start = mixture.warm_start
        if start and name not in before.models and {start, name} <= outcomes.keys():
            lines.append(f"{name} against {start}: {_changes(outcomes[name], outcomes[start])}")
    return lines


def _changes(after: Outcomes, before: Outcomes) -> str:
    """Return the rows that changed by a point or more, the largest changes first."""
    changes = {
        row: round(100 * (after.accuracy(row).value - before.accuracy(row).value), 1)
        for row in after.rows
    }
    large = sorted((r for r in changes if abs(changes[r]) >= 1), key=lambda r: -abs(changes[r]))
    if not large:
        return "less than a point in every row"
    units = ("points in", *("in" for _ in large[1:]))
    said = ", ".join(f"{changes[r]:+.1f} {unit} {r}" for r, unit in zip(large, units, strict=True))
    rest = "; less than a point in the other rows" if len(large) < len(changes) else ""
    return said + rest


def _baselines(recipe: Recipe) -> list[str]:
    """Return the networks trained on the largest union that are not experts of a mixture."""
    networks = recipe.networks
    most = max((len(m.against) for m in networks.values()), default=0)
    experts = {expert for m in recipe.mixtures.values() for expert in m.experts}
    return [n for n, m in networks.items() if len(m.against) == most and n not in experts]


def _perturbation(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the specification of a perturbation."""
    written = parse_yaml(text, f"--with {text!r}")
    if isinstance(written, str):
        return written.rpartition(":")[2].lower(), {"kind": written}
    if isinstance(written, dict) and len(written) == 1:
        [(name, spec)] = written.items()
        if isinstance(spec, dict):
            return str(name), spec
    raise RecipeError(
        f"--with {text!r}: expected a kind such as rain, path/to/file.py:Class, or "
        "'name: {kind: rain, drops: 100}'"
    )
