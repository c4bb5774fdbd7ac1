"""The GPU half of ``make bench``: training steps and attacks, in one table each.

    python -m benchmarks.gpu [--device cuda] [--tiny] [--minutes 8] [--out FILE]

The product's training step is compared with the same step written out (``bare``): compiled and
captured in a CUDA graph, and as a script would call it. Attacks are compared with those of foolbox
and pyautoattack where these are installed. On a CPU nothing is compiled or captured: ``--device cpu
--tiny`` only rehearses.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.bare import compiled_and_captured
from benchmarks.gpu_attacks import HEAD, AttackRate, attack_rates
from benchmarks.gpu_steps import KINDS, Setup, bare_step, product_step, work_of
from morex.core.precision import resolved
from morex.run.provenance import provenance

Step = Callable[[], object]

GOALS = {"linf": 10_000, "clean": 60_000}
"""Examples per second at width 64 and batch 256 on an H100 or H200."""

_FOR_STEPS = 0.8
"""The share of the time after which no further kind of step is begun; the rest is for attacks."""

MOST_OVER_BARE = 1.10
"""The product's step takes at most this many times as long as the bare captured one."""


@dataclass(frozen=True)
class StepRate:
    """Examples per second of a training step, and the operations of the product's.

    ``bare`` is None on a CPU, and ``failed`` says why a figure is missing.
    """

    kind: str
    width: int
    batch: int
    product: float
    eager: float
    bare: float | None
    tflops: float
    failed: str = ""

    @property
    def over_bare(self) -> float | None:
        """How many times as long as the bare step the product's takes."""
        return self.bare / self.product if self.bare and self.product else None


def main() -> int:
    """Measure, print the tables, and return 1 if a goal is missed."""
    options = _options()
    setup = Setup.tiny(options.device) if options.tiny else Setup.full(options.device)
    if setup.device.type == "cuda" and not torch.cuda.is_available():
        print("no GPU here: the GPU half of the benchmarks is skipped", file=sys.stderr)
        return 0
    begun = time.monotonic()
    steps_end, ends = (begun + share * 60 * options.minutes for share in (_FOR_STEPS, 1))
    steps, attacks = list[StepRate](), list[AttackRate]()
    print(f"{_machine(setup)}\n\n{_HEAD}")
    for rate in step_rates(setup, steps_end):
        steps.append(rate)
        print(_row(rate), flush=True)
        _write(options.out, setup, steps, attacks)
    print(f"\n{HEAD}")
    for found in attack_rates(setup, ends):
        attacks.append(found)
        print(found.row(), flush=True)
        _write(options.out, setup, steps, attacks)
    missed = [] if options.tiny else [*missed_goals(steps)]
    print("\n" + ("\n".join(f"- {line}" for line in missed) or "All goals that apply are reached."))
    return 1 if missed and setup.device.type == "cuda" else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--tiny", action="store_true", help="small networks and few steps")
    parser.add_argument("--minutes", type=float, default=8, help="start nothing after this time")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    return parser.parse_args()


def step_rates(setup: Setup, ends: float) -> Iterator[StepRate]:
    """Measure every kind of step at every width, the largest first, until the time is over."""
    for width in setup.widths:
        for kind in KINDS:
            if time.monotonic() < ends:
                yield _step_rate(setup, kind, width)


def _step_rate(setup: Setup, kind: str, width: int) -> StepRate:
    batch, failed = setup.batch_of(kind), list[str]()

    def rate(name: str, make: Callable[[], AbstractContextManager[Step]]) -> float:
        try:
            with make() as step:
                return batch / setup.seconds(step, together=10)
        except Exception as error:  # one figure that fails does not end the table
            failed.append(f"{name}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
            return 0.0

    product = rate("product", lambda: product_step(setup, kind, width))
    eager = rate("eager", lambda: nullcontext(bare_step(setup, kind, width)))
    bare = None
    if setup.device.type == "cuda":
        captured = partial(compiled_and_captured, bare_step(setup, kind, width))
        bare = rate("bare", lambda: nullcontext(captured()))
        torch._dynamo.reset()
        torch.cuda.empty_cache()
    tflops = product * work_of(setup, kind, width) / 1e12
    return StepRate(kind, width, batch, product, eager, bare, tflops, "; ".join(failed))


def missed_goals(steps: list[StepRate]) -> Iterator[str]:
    """Yield a line for every goal that is missed, and for every figure that failed."""
    for rate in steps:
        name = f"{rate.kind}, width {rate.width}"
        if rate.failed:
            yield f"{name}: {rate.failed}"
        goal = GOALS.get(rate.kind, 0) if rate.width == 64 else 0
        if rate.product < goal:
            yield f"{name}: {rate.product:.0f} examples/s, the goal is {goal}"
        if rate.over_bare and rate.over_bare > MOST_OVER_BARE:
            yield f"{name}: {rate.over_bare:.2f} of the bare step, the goal is {MOST_OVER_BARE}"


_HEAD = (
    "| step | width | batch | examples/s | TFLOP/s | bare, captured | of the bare step | eager |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|"
)


def _row(rate: StepRate) -> str:
    bare = f"{rate.bare:,.0f}" if rate.bare else ""
    over = f"{rate.over_bare:.2f}" if rate.over_bare else ""
    return (
        f"| {rate.kind} | {rate.width} | {rate.batch} | {rate.product:,.0f} | {rate.tflops:.3g} | "
        f"{bare} | {over} | {rate.eager:,.0f} |"
    )


def _machine(setup: Setup) -> str:
    name = torch.cuda.get_device_name(setup.device) if setup.device.type == "cuda" else "CPU"
    number_format = resolved("auto", setup.device)
    return f"{name}, torch {torch.__version__}, {number_format}, time per step: the median"


def _write(
    out: Path | None, setup: Setup, steps: list[StepRate], attacks: list[AttackRate]
) -> None:
    if out is None:
        return
    content: dict[str, Any] = {
        **provenance(setup.device).content(),
        "steps": [asdict(rate) | {"over_bare": rate.over_bare} for rate in steps],
        "attacks": [asdict(rate) for rate in attacks],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
