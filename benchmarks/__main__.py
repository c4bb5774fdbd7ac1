"""Run benchmarks and print their ratios.

python -m benchmarks [NAME ...] [--out FILE]
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from benchmarks import attacks, memory, mixture, peak, serving, together, training, usual, weather
from benchmarks.measuring import Measurement
from morex.run.provenance import provenance

BENCHMARKS = {
    "training": training.measure,
    "together": together.measure,
    "peak": peak.measure,
    "usual": usual.measure,
    "weather": weather.measure,
    "corruptions": weather.measure_corruptions,
    "attacks": attacks.measure,
    "mixture": mixture.measure,
    "memory": memory.measure,
    "serving": serving.measure,
}


def main() -> None:
    """Run the named benchmarks, print each ratio as soon as it is measured, and write them all."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Run benchmarks and print their ratios.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"a benchmark: {', '.join(BENCHMARKS)} (default: all)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the ratios to this JSON file"
    )
    options = parser.parse_args()
    console = Console(soft_wrap=True)
    measured: list[Measurement] = []
    for name in options.names or BENCHMARKS:
        for measurement in BENCHMARKS[name]():
            measured.append(measurement)
            console.print(f"{measurement.value:8.2f}  {_goal(measurement):10}  {measurement.name}")
        if options.out:
            _write(measured, options.names, options.out)
    missed = [m for m in measured if m.met is False]
    console.print(f"{len(missed)} of {len(measured)} ratios miss their goal")


def _write(measured: list[Measurement], names: list[str], path: Path) -> None:
    """Write the ratios measured so far, with the hardware and versions."""
    content = {
        **provenance(torch.device("cpu")).content(),
        "command": " ".join(["python -m benchmarks", *names]),
        "ratios": [asdict(m) | {"met": m.met} for m in measured],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def _goal(measurement: Measurement) -> str:
    if measurement.goal is None:
        return ""
    sign = "<=" if measurement.most else ">="
    return f"{sign} {measurement.goal:g} {'' if measurement.met else '!'}"


if __name__ == "__main__":
    main()
