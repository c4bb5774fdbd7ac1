"""The report page: one HTML file that needs nothing else."""

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from morex.core.files import write_atomically
from morex.report.material import Material, read_material
from morex.report.sections.base import Section
from morex.report.sections.breaks import breaks_section
from morex.report.sections.cost import cost_figure
from morex.report.sections.curves import curves_section
from morex.report.sections.gallery import gallery_section
from morex.report.sections.gate import gate_section
from morex.report.sections.summary import headline, result, standing
from morex.report.sections.table1 import suite_sections, table_section
from morex.report.sections.training import training_section
from morex.report.sections.trust import audit_section, provenance_section

PAGE = "report.html"
"""Name of the page in a run directory."""

_ROOM = "morex.report"
"""The package with the templates of this room."""


def write_report(run: Path | str, target: Path | None = None) -> Path:
    """Write the report page of a run to a file and return its path.

    The page of an unfinished run shows what is known so far.

    Args:
        run: the run directory.
        target: the file; by default ``report.html`` in that directory.

    Raises:
        FileNotFoundError: if there is no such run, or it has no results file yet.
        ValueError: if the results or the outcomes are damaged.
    """
    target = target or Path(run) / PAGE
    write_atomically(target, to_report(read_material(run)).encode())
    return target


def to_report(material: Material) -> str:
    """Return the report page of a run."""
    compared = [figure for figure in (standing(material), cost_figure(material)) if figure]
    summary = Section("models", "The models", figures=compared)
    return render(
        title=f"{material.file.name}: morex report",
        heading=material.file.name,
        subject=headline(material),
        result=result(material),
        missing=material.file.missing,
        sections=[table_section(material), summary, *_sections(material)],
    )


def _sections(material: Material) -> Iterator[Section]:
    makers = (gate_section, gallery_section, curves_section, breaks_section, training_section)
    for make in makers:
        if section := make(material):
            yield section
    yield from suite_sections(material)
    if audit := audit_section(material):
        yield audit
    yield provenance_section(material)


def render(
    *,
    sections: Sequence[Section],
    template: str = "page.html",
    brand: str = "morex report",
    refresh: int = 0,
    **context: Any,
) -> str:
    """Return a page made of sections, with style and script inside; empty sections are left out.

    Args:
        sections: the sections.
        template: the template of the page.
        brand: what the page calls itself.
        refresh: after how many seconds a browser should read the page again; 0 for never.
        context: further values for the template.
    """
    context |= {"style": asset("style.css"), "script": asset("page.js")}
    shown = [section for section in sections if section.figures or section.part]
    made = environment(_ROOM).get_template(template)
    return made.render(sections=shown, brand=brand, refresh=refresh, **context)


@cache
def environment(package: str) -> Environment:
    """Return what renders the templates of a package, with everything in them escaped."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str, package: str = _ROOM) -> Markup:
    """Return a style sheet or a script of a page, which goes into it unescaped."""
    text = files(package).joinpath("templates", name).read_text(encoding="utf-8")
    return Markup(text)
