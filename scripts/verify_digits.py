"""Check the figures of a digits run: ``python scripts/verify_digits.py runs/digits``."""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from typing import Any

ROWS = {
    "M2": ["deepfool-l2", "pgd-l2", "rays-l2"],
    "Minf": ["deepfool-linf", "pgd-linf", "rays-linf"],
    "Mfog": ["fog"],
    "Msnow": ["snow"],
}
OURS = ["MoRE (all)", "MoRE+ (all)"]
COLUMNS = ["clean", *ROWS, "MAX", "AVG", "MSD", "MoRE", "MAX (all)", "AVG (all)", *OURS]
GAIN = 25  # points by which an expert must beat the clean one on its rows, where that is possible
ROOM = 100 - GAIN
WEAK = 40  # the clean expert must be below this under attack, or the attack shows nothing


def problems(table: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for every expectation that the table does not meet."""
    expected = {"clean"}.union(*ROWS.values())
    if table["columns"] != COLUMNS or set(table["rows"]) != expected:
        yield f"expected Table 1's columns and rows, got {table['columns']}, {[*table['rows']]}"
        return
    for expert, rows in ROWS.items():
        for row in rows:
            yield from shortfalls(row, expert, dict(zip(COLUMNS, table["rows"][row], strict=True)))
    mean = dict(zip(COLUMNS, table["mean"], strict=True))
    for ours, expert in product(OURS, ["clean", *ROWS]):
        if mean[ours] <= mean[expert]:
            yield f"{ours} has mean {mean[ours]}, expected more than the {mean[expert]} of {expert}"


def shortfalls(row: str, expert: str, figures: dict[str, float]) -> Iterator[str]:
    """Yield a sentence for every expectation that an expert does not meet on a row."""
    clean, own = figures["clean"], figures[expert]
    if row not in ("fog", "snow") and clean >= WEAK:
        yield f"the clean expert has {clean}% on {row}, expected less than {WEAK}%"
    if clean <= ROOM and own < clean + GAIN:
        yield f"{expert} has {own}% on {row}, expected {GAIN} more than the clean expert's {clean}%"


def main() -> int:
    """Print what is wrong; the exit code is 1 if anything is."""
    command = [sys.executable, "-m", "morex.cli", "table", sys.argv[1], "--format", "json"]
    table = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = list(problems(table))
    sys.stdout.write("\n".join(found or ["all figures of the digits run are as expected"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
