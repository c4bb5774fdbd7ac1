"""Rows of a table that two models can be compared on: those that both were trained for, or neither.

After ``morex extend`` a table has a row that the older models were never trained for. To lead
there is no merit over them, so sentences that compare two models leave such rows out, and say so.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from morex.artifacts.results import ResultsFile
from morex.core.units import listed

Kind = tuple[str, ...]
"""The kind of a perturbation, or the kinds of its parts."""

_TRAININGS = ("gate", "train")


def rows_both_know(file: ResultsFile, one: str, other: str) -> tuple[str, ...]:
    """Return the rows that both models were trained for, or neither of them.

    Every model knows clean images. A model knows what its experts know. If it is unknown what one
    of the two was trained for, all rows are returned.
    """
    known = [_known(file, model, frozenset()) for model in (one, other)]
    if not all(known):
        return tuple(file.rows)
    kinds = {row: _kind(entry.perturbation) for row, entry in file.rows.items()}
    return tuple(row for row, kind in kinds.items() if len({kind in k for k in known}) == 1)


def what_is_new(file: ResultsFile, pairs: Iterable[tuple[str, str]]) -> str:
    """Return for example ``rain is new to M2, which was not trained for it.``; else nothing.

    Args:
        file: the results of the run.
        pairs: models that are compared.
    """
    new: dict[tuple[str, ...], dict[str, None]] = {}
    for one, other in pairs:
        shared = rows_both_know(file, one, other)
        for model in (one, other):
            known = _known(file, model, frozenset())
            rows = [r for r in file.rows if r not in shared and not _knows(file, known, r)]
            if rows:
                new.setdefault(tuple(rows), {})[model] = None
    return " ".join(_sentences(new))


def _sentences(new: Mapping[tuple[str, ...], Mapping[str, None]]) -> Iterator[str]:
    for rows, models in new.items():
        verb, them = ("is", "it") if len(rows) == 1 else ("are", "them")
        was = "was" if len(models) == 1 else "were"
        yield (
            f"{_capital(listed(rows))} {verb} new to {listed([*models])}, which {was} not trained "
            f"for {them}."
        )


def _capital(words: str) -> str:
    return f"The row {words}" if " and " not in words else f"The rows {words}"


def _knows(file: ResultsFile, known: frozenset[Kind], row: str) -> bool:
    return _kind(file.rows[row].perturbation) in known


def _known(file: ResultsFile, model: str, seen: frozenset[str]) -> frozenset[Kind]:
    """Return the kinds of perturbations that a model was trained for; none if that is unknown."""
    if model in seen:
        return frozenset()
    stages = (s for s in file.stages.values() if s.kind in _TRAININGS and s.model == model)
    names = {name for stage in stages for name in stage.against}
    kinds = {_kind(file.perturbations.get(name, {"kind": name})) for name in names}
    entry = file.columns.get(model)
    experts = entry.gate.experts if entry and entry.gate else ()
    kinds |= {kind for name in experts for kind in _known(file, name, seen | {model})}
    return frozenset(kinds | {("clean",)} if kinds else ())


def _kind(perturbation: Mapping[str, Any]) -> Kind:
    parts = perturbation.get("parts")
    if isinstance(parts, list | tuple):
        return tuple(kind for part in parts for kind in _kind(part))
    return (str(perturbation.get("kind")),)
