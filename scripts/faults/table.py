"""What came of all trials, as Markdown."""

from collections import Counter
from collections.abc import Iterable, Sequence

from faults.kind import Verdict

Results = Sequence[tuple[str, str, Verdict]]
"""The kind, the name and the verdict of each trial."""


def to_markdown(results: Results, facts: Iterable[str]) -> str:
    """Return a table with a line for each kind, what was not good, and how to repeat it."""
    lines = ["# Faults", "", *facts, "", "| kind | trials | good | what came of them |"]
    lines.append("|---|---:|---:|---|")
    for kind in dict.fromkeys(kind for kind, _, _ in results):
        found = [verdict for name, _, verdict in results if name == kind]
        counts = Counter(verdict.what for verdict in found)
        what = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        lines.append(f"| {kind} | {len(found)} | {sum(v.good for v in found)} | {what} |")
    bad = [result for result in results if not result[2].good]
    lines += ["", f"{len(results)} trials, {len(bad)} of them not good."]
    lines += [f"- {kind}: {name}: {v.what}: {v.details.strip()[-500:]}" for kind, name, v in bad]
    return "\n".join(lines) + "\n"
