"""The notes under a table: number of images, intervals, seed and machine."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from morex.artifacts.notes import sentences
from morex.artifacts.results import CODE
from morex.core.units import fraction, percent
from morex.report.table import Table


def caption(table: Table, *, costs: bool = True) -> tuple[str, ...]:
    """Return the notes under the table, one fact a line; unknown facts are left out.

    Args:
        table: the table.
        costs: whether its costs are shown, and are to be explained.
    """
    source = table.source
    hardware = _plain(source.provenance.hardware)
    return (
        _examples(table) + _intervals(table),
        *_strengths(table),
        f"seed {source.seed}" + (f"; measured on {hardware}" if hardware else ""),
        *_levels(table),
        *_notes(table),
        *_legend(table, costs=costs),
        *([f"not evaluated yet: {', '.join(source.missing)}"] if source.missing else []),
    )


def _strengths(table: Table) -> Iterator[str]:
    """Yield for example ``strengths: linf eps 0.1, fog t 0.15 light 0.6``."""
    if strengths := strengths_of(row.perturbation for row in table.source.rows.values()):
        yield f"strengths: {strengths}"


def strengths_of(perturbations: Iterable[Mapping[str, Any]]) -> str:
    """Return for example ``linf eps 0.1, fog t 0.15 light 0.6``, each once; empty if none has any.

    Beside the fog or snow of others, those of the paper are called so.

    Args:
        perturbations: as recipes write them: their kinds and their numbers.
    """
    known = dict.fromkeys(map(in_words, perturbations))
    kinds = {words.partition(" ")[0] for words in known}
    named = (f"the paper's {words}" if _has_others(words, kinds) else words for words in known)
    return ", ".join(words for words in named if " " in words)


def _has_others(words: str, kinds: Collection[str]) -> bool:
    """Return whether a kind of weather stands beside weather of the same name by others."""
    kind = words.partition(" ")[0]
    others = {f"{author}-{kind}" for author in ("hendrycks", "adversarial")}
    return kind in ("fog", "snow") and not others.isdisjoint(kinds)


def in_words(perturbation: Mapping[str, Any]) -> str:
    """Return for example ``linf eps 8/255``: kind and strength, without the version of its code."""
    if "parts" in perturbation:
        return " then ".join(map(in_words, perturbation["parts"]))
    values = (
        f"{key} {fraction(value)}" if isinstance(value, int | float) else f"{key} {value}"
        for key, value in perturbation.items()
        if key not in ("kind", CODE)
    )
    return " ".join([perturbation["kind"], *values])


def _levels(table: Table) -> Iterator[str]:
    """Yield what guessing gets right, and which models are collapsed, with the reason."""
    if known := table.levels:
        yield (
            f"chance level {percent(known.chance)} ({known.classes} classes); majority level "
            f"{percent(known.majority)} (always predicting {known.class_name})"
        )
    for name, reason in table.collapsed.items():
        yield f"{name} is collapsed and never marked as best: {reason}"


def _notes(table: Table) -> Iterator[str]:
    """Yield what the evaluations noticed besides, for example answers that were not finite."""
    for name, notes in table.notes.items():
        for sentence in sentences(notes):
            yield f"{name}, {sentence}"


def _legend(table: Table, *, costs: bool) -> Iterator[str]:
    yield "union: images right under every attack above; mean: plain mean of the rows above"
    if costs and table.costs:
        yield (
            "own passes: images sent forward or backward through single networks while the model "
            "itself was trained; passes in all: including the training of every model that it is "
            "built from or started from"
        )
        if saved := [stage.model for stage in table.source.stages.values() if stage.saved]:
            yield f"trained elsewhere, and counted nowhere: {', '.join(saved)}"
    if table.paper:
        yield "in parentheses: the paper's Table 1 (MoRE, CIFAR-10, ResNet-18)"


def _examples(table: Table) -> str:
    """Return for example ``n = 360 test images (rays-l2, union: 100)``."""
    counts = {
        name: sorted({cell.n for cell in cells if cell}, reverse=True)
        for name, cells in table.measured.items()
    }
    usual = Counter(n for ns in counts.values() for n in ns).most_common(1)
    if not usual:
        return "nothing measured yet"
    others: dict[str, list[str]] = {}
    for name, ns in counts.items():
        if ns and ns != [usual[0][0]]:
            others.setdefault(" or ".join(map(str, ns)), []).append(name)
    listed = "; ".join(f"{', '.join(names)}: {ns}" for ns, names in others.items())
    return f"n = {usual[0][0]} test images" + (f" ({listed})" if listed else "")


def _intervals(table: Table) -> str:
    """Return how wide the widest interval is, in percentage points; empty if there is none."""
    intervals = [cell.interval for cells in table.measured.values() for cell in cells if cell]
    if not intervals:
        return ""
    widest = max(100 * (high - low) / 2 for low, high in intervals)
    return f"; 95% Wilson intervals: up to ±{widest:.1f} points"


def _plain(value: Any) -> str:
    """Return nested facts on one line: ``cpu: EPYC, cores: 2``."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(v)}" for key, v in value.items() if v not in (None, ""))
    return "" if value is None else str(value)
