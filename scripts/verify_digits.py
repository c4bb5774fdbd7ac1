"""Checks what the digits run must show: ``python scripts/verify_digits.py runs/digits``."""

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
GAIN = 25  # points by which an expert must beat the clean one on its own rows, if there is room
ROOM = 100 - GAIN
WEAK = 40  # the clean expert must be below this, so that an attack means something


def problems(table: dict[str, Any]) -> Iterator[str]:
    """Yield what the table falls short of."""
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
            yield f"{ours} has mean {mean[ours]}, {expert} has {mean[expert]}"


def shortfalls(row: str, expert: str, figures: dict[str, float]) -> Iterator[str]:
    """Yield what the row of an expert falls short of."""
    clean, own = figures["clean"], figures[expert]
    if row not in ("fog", "snow") and clean >= WEAK:
        yield f"the clean expert stands at {clean}% on {row}, expected less than {WEAK}"
    if clean <= ROOM and own < clean + GAIN:
        yield f"{expert} has {own}% on {row}, the clean expert {clean}%, expected {GAIN} more"


def main() -> int:
    """Print the problems; the exit code says whether there are any."""
    command = [sys.executable, "-m", "morex.cli", "table", sys.argv[1], "--format", "json"]
    table = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = list(problems(table))
    sys.stdout.write("\n".join(found or ["the digits run shows what it must"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
