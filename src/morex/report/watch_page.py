"""The page of ``morex watch``: a run in progress, which the browser reads again every few seconds.

Where it is kept may change, and it may be opened from disk: it is one file, as the report is.
"""

from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from markupsafe import Markup

from morex.artifacts.progress import StageProgress
from morex.core.files import write_atomically
from morex.core.units import duration, percent
from morex.report.charts import DataTable, Figure, Line, LineAxes, Panel, line_chart
from morex.report.page import render
from morex.report.sections.base import Section
from morex.report.sections.table1 import table_section
from morex.report.sections.training import training_section
from morex.report.watching import Watched

EVERY = 5
"""Seconds after which a browser reads the page again."""


def write_watch_page(path: Path, watched: Watched) -> None:
    """Write the page to ``path``.

    Raises:
        OSError: if it cannot be written.
    """
    write_atomically(path, to_watch_page(watched).encode())


def to_watch_page(watched: Watched) -> str:
    """Return the page; that of a finished run is not read again."""
    over = watched.state == "finished"
    return render(
        title=f"{watched.name}: morex watch",
        heading=watched.name,
        subject=str(watched.run),
        result=_sentence(watched),
        missing=(),
        sections=[*_sections(watched)],
        brand="morex watch",
        refresh=0 if over else EVERY,
    )


def where_it_is(stage: StageProgress) -> str:
    """Return where a stage is, in words."""
    if stage.state == "waiting":
        return "waits"
    if stage.state == "running":
        return ", ".join(filter(None, [percent(stage.share), stage.text]))
    took = "done before" if stage.seconds is None else duration(stage.seconds)
    return ", ".join(filter(None, [took, stage.text]))


def _sentence(watched: Watched) -> str:
    parts = [watched.headline[0].upper() + watched.headline[1:] + "."]
    if watched.error:
        parts.append(f"The log of errors ends with: {watched.error}")
    return " ".join([*parts, *watched.notes])


def _sections(watched: Watched) -> Iterator[Section]:
    if running := [*watched.running.values()]:
        figures = [figure for stage in running if (figure := _curves(stage))]
        yield _stage_section("running", "Running now", running, figures)
    if watched.material and watched.material.file.columns:
        yield table_section(watched.material)
    if others := [stage for stage in watched.stages.values() if stage.state != "running"]:
        others.sort(key=lambda stage: stage.state)  # done, then waiting
        yield _stage_section("stages", "Other stages", others)
    if watched.material and (trained := training_section(watched.material)):
        yield trained


def _stage_section(
    id: str, title: str, stages: Sequence[StageProgress], figures: Sequence[Figure] = ()
) -> Section:
    content = {"stages": [_row(stage) for stage in stages]}
    return Section(id, title, figures=figures, part="stages.html", content=content)


def _row(stage: StageProgress) -> dict[str, Any]:
    return {
        "title": stage.title,
        "state": stage.state,
        "share": stage.share,
        "words": where_it_is(stage),
    }


def _curves(stage: StageProgress) -> Figure | None:
    """Return the loss and the validation of a training in progress, where they are finite."""
    points = [p for p in stage.points if isfinite(p.share)]
    losses = [(100 * p.share, p.loss) for p in points if p.loss is not None and isfinite(p.loss)]
    if len(losses) < 2:
        return None
    judged: dict[float, float] = {}
    for p in points:
        if p.validation is None or not isfinite(p.validation):
            continue
        if p.validation not in judged.values():
            judged[100 * p.share] = 100 * p.validation
    panels = [Panel(_loss(stage, losses), "loss")]
    if judged:
        panels.append(Panel(_validation(stage, judged), "validation"))
    return Figure(
        message=f"{stage.title}: {where_it_is(stage)}",
        note="Loss in nats, on the attacked images of the training.",
        panels=panels,
        numbers=DataTable(
            ["share of the training (%)", "loss"], [[round(x, 1), round(y, 4)] for x, y in losses]
        ),
    )


def _loss(stage: StageProgress, losses: list[tuple[float, float]]) -> Markup:
    points = [(x, y, f"{x:.0f}% done: loss {y:.3f}") for x, y in losses]
    highest = 1.05 * max(y for _, y in losses)
    axes = LineAxes("share of the training (%)", "loss", (0, highest), width=350, height=180)
    return line_chart([Line("loss", 0, points)], axes, f"Loss of {stage.title}")


def _validation(stage: StageProgress, judged: dict[float, float]) -> Markup:
    points = [(x, y, f"{x:.0f}% done: {y:.1f}%") for x, y in judged.items()]
    axes = LineAxes(
        "share of the training (%)", "accuracy", (0, 100), unit="%", width=350, height=180
    )
    return line_chart([Line("validation", 2, points)], axes, f"Validation of {stage.title}")
