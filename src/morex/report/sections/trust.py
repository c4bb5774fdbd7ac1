"""Audits with their evidence, and the provenance of the figures."""

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from morex.artifacts.findings import AuditedAccuracy, Finding
from morex.artifacts.results import StageEntry
from morex.core.units import duration, percent, plural
from morex.report.formats import to_csv, to_json
from morex.report.material import Material
from morex.report.sections.base import Section

_SIGNS = {"pass": "✓", "flag": "⚑", "too few to say": "?", "does not apply": "–"}


def audit_section(material: Material) -> Section | None:
    """Return the findings of the audits in the run directory, flagged points first."""
    if not material.audits:
        return None
    question = "Is the model robust, or does it hide its gradients?"
    intro = (
        f"{question} Each point is a measurement on n images that the model gets right. "
        f"{_verdict([f for audit in material.audits.values() for f in audit.findings])}"
    )
    audits = {
        name: {
            "findings": [*map(_finding, _flags_first(audit.findings))],
            "accuracies": [*map(_accuracy, audit.accuracies)],
        }
        for name, audit in material.audits.items()
    }
    return Section("audit", "Audit", intro, part="audit.html", content={"audits": audits})


def _verdict(findings: Sequence[Finding]) -> str:
    """Return what all findings say together."""
    counts = Counter(finding.verdict for finding in findings)
    if counts["flag"]:
        return f"{counts['flag']} of {plural(len(findings), 'point')} flagged."
    if few := counts["too few to say"]:
        return f"Too few images to say: {few} of {plural(len(findings), 'point')}."
    return "No sign of masking, which does not mean that the model is robust."


def _flags_first(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: f.verdict != "flag")  # stable


def _finding(f: Finding) -> dict[str, str]:
    return {
        "sign": _SIGNS[f.verdict],
        "verdict": f.verdict,
        "name": f"{f.point}. {f.name}",
        "ball": f.ball or "",
        "n": "" if f.n is None else str(f.n),
        "reason": f.reason,
        "evidence": f.measured,
    }


def _accuracy(found: AuditedAccuracy) -> str:
    """Return the accuracy that an audit left, and what it is no better than."""
    low, high = found.interval
    bound = f"Under all attacks in {found.ball} at most" if found.ball else "Without an attack"
    return (
        f"{bound} {percent(found.accuracy)} are right (95% interval {percent(low)} to "
        f"{percent(high)}, n = {found.n}): {found.verdict}. One answer to all of them gets "
        f"{percent(found.one_answer)}."
    )


def provenance_section(material: Material) -> Section:
    """Return recipe, seed, versions, hardware, commit, command, and the raw figures."""
    file = material.file
    made_by = file.provenance
    facts = {
        "run": file.name,
        "seed": str(file.seed),
        "command": made_by.command or "unknown",
        "commit": made_by.commit or "not from a repository",
        "hardware": _joined(made_by.hardware),
        "versions": _joined(made_by.versions),
        "stages": _stages(file.stages),
    }
    content = {
        "facts": {name: fact for name, fact in facts.items() if fact},
        "recipe": material.recipe,
        "downloads": list(_downloads(material)),
        "notes": material.notes,
    }
    intro = "Everything needed to reproduce these figures, and the figures themselves."
    return Section("provenance", "Provenance", intro, part="provenance.html", content=content)


def _joined(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def _stages(stages: Mapping[str, StageEntry]) -> str:
    """Return how many stages are finished, their time, the end of the last, and their commits."""
    if not stages:
        return ""
    seconds = sum(stage.seconds for stage in stages.values())
    last = max(stage.finished for stage in stages.values())
    made_by = (stage.provenance.commit for stage in stages.values())
    commits = sorted({commit[:9] for commit in made_by if commit})
    return (
        f"{plural(len(stages), 'stage')} finished in {duration(seconds)} of work, "
        f"the last at {last}"
        + (f", from {plural(len(commits), 'commit')} ({', '.join(commits)})" if commits else "")
    )


def _downloads(material: Material) -> Iterator[tuple[str, str, str]]:
    """Yield the name of a file, its content in words, and its ``data:`` address."""
    tables = {"table": material.table, **material.suites}
    for name, table in tables.items():
        yield f"{name}.json", "all figures and provenance", _address("json", to_json(table))
        yield f"{name}.csv", "one line per cell", _address("csv", to_csv(table))
    if material.trainings:
        histories = {t.stage: [e.model_dump() for e in t.epochs] for t in material.trainings}
        yield "trainings.json", "every epoch", _address("json", json.dumps(histories))


def _address(kind: str, text: str) -> str:
    mime = {"json": "application/json", "csv": "text/csv"}[kind]
    return f"data:{mime};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"
