"""What ``on_gpu.py`` leaves: a summary of its parts, and one archive of limited size."""

import io
import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ARCHIVE, SUMMARY = "on_gpu.tar.gz", "summary.md"
LIMIT = 15.5 * 2**20
"""Bytes of compressed files in an archive; below 16 MB with the headers of the files."""

_WANTED = (
    *(SUMMARY, "state.json", "bench.json", "bench.md", "plan.json", "table.md"),
    *("run/results*.json", "run/recipe.yaml", "run/test-labels.json", "run/errors.log"),
    *("run/stages/*.json", "run/audits/*.json", "run/outcomes/**/*.npz", "logs/*.log"),
    *("run/report.html", "run/illustrations/*.npz"),
)
"""What is archived, the most important first."""


def write_archive(out: Path) -> list[str]:
    """Write the archive of a folder, and return the files that did not fit into it."""
    new, left, left_out = out / f"{ARCHIVE}.new", LIMIT, []
    with tarfile.open(new, "w:gz", compresslevel=6) as archive:
        for file in _files(out):
            content = file.read_bytes()
            size = len(zlib.compress(content, 6)) + 1024
            name = str(file.relative_to(out))
            if size > left:
                left_out.append(name)
                continue
            left -= size
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), int(file.stat().st_mtime)
            archive.addfile(entry, io.BytesIO(content))
    new.replace(out / ARCHIVE)
    return left_out


def _files(out: Path) -> Iterator[Path]:
    for pattern in _WANTED:
        yield from (file for file in sorted(out.glob(pattern)) if file.is_file())


def write_summary(out: Path, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Write how each part ended, and the seconds of each stage beside those that were planned."""
    lines = ["| part | status | seconds |", "|---|---|---:|"]
    lines += [f"| {n} | {part['status']} | {part['seconds']:.0f} |" for n, part in parts.items()]
    planned, taken = _planned(out), _taken(out)
    if taken:
        lines += ["", "| stage | planned | took |", "|---|---:|---:|"]
        lines += [f"| {n} | {planned.get(n, 0):.1f} | {taken[n]:.1f} |" for n in sorted(taken)]
        both = [name for name in taken if name in planned]
        sums = sum(planned[n] for n in both), sum(taken[n] for n in both)
        lines.append(f"| all of these that were planned | {sums[0]:.1f} | {sums[1]:.1f} |")
    (out / SUMMARY).write_text("\n".join(lines) + "\n")


def _planned(out: Path) -> dict[str, float]:
    try:
        stages = json.loads((out / "plan.json").read_text())["stages"]
    except (OSError, ValueError, KeyError):
        return {}
    return {stage["stage"]: stage["usual_seconds"] for stage in stages}


def _taken(out: Path) -> dict[str, float]:
    files = (out / "run/stages").glob("*.json")
    return {file.stem: json.loads(file.read_text())["seconds"] for file in files}
