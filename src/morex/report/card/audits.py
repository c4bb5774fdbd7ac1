"""What audits say about the models of a card."""

from collections import Counter
from collections.abc import Iterator

from morex.artifacts.findings import Audit, AuditedAccuracy
from morex.core.units import percent, plural
from morex.report.card.subject import Subject
from morex.report.formats import escaped
from morex.report.material import Material


def audit_section(material: Material, subject: Subject) -> Iterator[str]:
    """Yield the parts of the section: the verdict on each audited model, flags and bounds."""
    yield "## Are the gradients hidden?"
    if not material.audits:
        yield (
            "**No model was audited.** A model that only hides its gradients looks robust under "
            f"the attacks above. `morex audit {subject.name}` checks it."
        )
        return
    yield (
        "`morex audit` checks seven points, such as whether more steps, larger balls and attacks "
        "without gradients find what the usual attack does."
    )
    for model, audit in material.audits.items():
        yield f"**{escaped(model)}**: {verdict(audit)}"
        yield "\n".join(
            [
                *(f"- flagged: {line}" for line in _flagged(audit)),
                *(f"- {_bound(found)}" for found in audit.accuracies),
            ]
        )


def verdict(audit: Audit) -> str:
    """Return what the checks of an audit say together."""
    counts = Counter(finding.verdict for finding in audit.findings)
    points = plural(len(audit.findings), "check")
    if counts["flag"]:
        return f"{counts['flag']} of {points} flagged; the gradients may be hidden."
    if counts["too few to say"]:
        return f"too few images to say, in {counts['too few to say']} of {points}."
    return f"no sign of hidden gradients in {points}; this does not mean that it is robust."


def _flagged(audit: Audit) -> Iterator[str]:
    for finding in audit.findings:
        if finding.verdict == "flag":
            where = f" in {finding.ball}" if finding.ball else ""
            yield escaped(f"{finding.name}{where}: {finding.reason}")


def _bound(found: AuditedAccuracy) -> str:
    low, high = found.interval
    where = f"under all attacks in {found.ball}, at most" if found.ball else "without an attack,"
    standing = "" if found.verdict == "better than one answer" else f": **{found.verdict}**"
    return escaped(
        f"{where} {percent(found.accuracy)} (95% interval {percent(low)} to {percent(high)}, "
        f"n = {found.n}){standing}"
    )
