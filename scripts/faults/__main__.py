"""Do the campaign, print each trial that is not good, and write the table."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch

from faults.bench import bench
from faults.damages import Damages
from faults.full import FullDisk
from faults.hostile import Hostile
from faults.inputs import BadInputs
from faults.kills import KillsAtFiles, KillsAtRandom
from faults.kind import Kind, Verdict
from faults.signals import Signals
from faults.table import to_markdown
from morex.run.provenance import provenance

KINDS: dict[str, Kind] = {
    "files": KillsAtFiles(),
    "kills": KillsAtRandom(),
    "signals": Signals(),
    "damages": Damages(),
    "full": FullDisk(),
    "hostile": Hostile(),
    "inputs": BadInputs(),
}
"""Every kind of fault, by the name that the command line gives it."""


def campaign(
    kinds: Sequence[Kind], seed: int, times: int, folder: Path, most: int | None = None
) -> list[tuple[str, str, Verdict]]:
    """Do all trials of some kinds.

    Args:
        kinds: the kinds.
        seed: decides everything that is drawn.
        times: how often each trial is done.
        folder: an empty folder.
        most: how many trials of each kind to do, drawn from all of them; None for all.

    Returns:
        The kind, the name and the verdict of each trial.
    """
    results = []
    with bench(folder) as ready:
        for kind in kinds:
            draw = Random(f"{seed} {kind.name}")
            trials = [*kind.trials(draw, times)]
            for trial in trials if most is None else draw.sample(trials, min(most, len(trials))):
                run = folder / "run"
                verdict = trial.attempt(ready, run)
                results.append((kind.name, trial.name, verdict))
                mark = "." if verdict.good else f"\n{kind.name}: {trial.name}: {verdict}\n"
                print(mark, end="", file=sys.stderr, flush=True)
                shutil.rmtree(run, ignore_errors=True)
    return results


def main() -> None:
    """Read the arguments, do the campaign, and exit with 1 if a trial is not good."""
    parser = argparse.ArgumentParser(prog="python -m faults", description="Do a campaign of faults")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)} (all)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--times", type=int, default=1, metavar="N")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table to this file")
    options = parser.parse_args()
    names = options.kinds or [*KINDS]
    with tempfile.TemporaryDirectory() as folder:
        kinds = [KINDS[name] for name in names]
        results = campaign(kinds, options.seed, options.times, Path(folder))
    made_by = provenance(torch.device("cpu"))
    command = f"python -m faults {' '.join(names)} --seed {options.seed} --times {options.times}"
    facts = [f"`{command}`, commit {made_by.commit}, {made_by.hardware.get('processor')}."]
    text = to_markdown(results, facts)
    if options.out:
        options.out.write_text(text)
    print(text)
    sys.exit(any(not verdict.good for _, _, verdict in results))


if __name__ == "__main__":
    main()
