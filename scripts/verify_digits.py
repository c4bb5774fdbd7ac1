"""Checks what the digits run must show; run it on a run directory after ``make demo``.

    python scripts/verify_digits.py runs/digits
"""

import json
import subprocess
import sys

ADVERSARIAL = [
    "deepfool-l2", "deepfool-linf", "pgd-l2", "pgd-linf", "rays-l2", "rays-linf",
]  # fmt: skip
OWN_ROWS = {
    "M2": ["deepfool-l2", "pgd-l2", "rays-l2"],
    "Minf": ["deepfool-linf", "pgd-linf", "rays-linf"],
    "Mfog": ["fog"],
    "Msnow": ["snow"],
}
COLUMNS = ["clean", *OWN_ROWS, "MAX", "AVG", "MSD", "MoRE", "MAX (all)", "AVG (all)", "MoRE (all)"]


def problems(table: dict) -> list[str]:
    """Return what the table falls short of."""
    rows, columns = table["rows"], table["columns"]
    found = []
    if columns != COLUMNS or list(rows) != ["clean", *ADVERSARIAL, "fog", "snow"]:
        found.append(f"expected the 12 columns and 9 rows of Table 1, got {columns}, {list(rows)}")
    clean = columns.index("clean")
    for row in [*ADVERSARIAL, "fog"]:
        if rows[row][clean] >= 40:
            found.append(f"the clean expert stands at {rows[row][clean]}% on {row}, expected < 40")
    for expert, own in OWN_ROWS.items():
        for row in own:
            gain = rows[row][columns.index(expert)] - rows[row][clean]
            if rows[row][clean] <= 75 and gain < 25:
                found.append(f"{expert} beats the clean expert by {gain:.1f} on {row}, expected 25")
    mean = dict(zip(columns, table["mean"], strict=True))
    for expert in ["clean", *OWN_ROWS]:
        if mean["MoRE (all)"] <= mean[expert]:
            found.append(f"MoRE (all) has mean {mean['MoRE (all)']}, {expert} {mean[expert]}")
    for column in columns:
        at = columns.index(column)
        if table["union"][at] > min(values[at] for values in rows.values()) + 15:
            found.append(f"the union of {column} is above its rows")
    return found


def main() -> int:
    """Print the problems; the exit code says whether there are any."""
    command = [sys.executable, "-m", "morex.cli", "table", sys.argv[1], "--format", "json"]
    table = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = problems(table)
    sys.stdout.write("\n".join(found or ["the digits run shows what it must"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
