"""Files of a run that are cut, changed, empty, missing or something else."""

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from random import Random

from faults.bench import Bench
from faults.kind import Kind, Trial, Verdict, resumed
from faults.server import AFTER

FINISHED = (
    "recipe.yaml",
    "results.json",
    "results-quick.json",
    "test-labels.json",
    "models/mfog/model.json",
    "models/mfog/model.safetensors",
    "models/more/gate/model.safetensors",
    "outcomes/more.npz",
    "outcomes/quick/more.npz",
    "illustrations/more.npz",
    "stages/train-mfog.json",
    "stages/evaluate-more.json",
    ".owner.json",
)
"""Files of a finished run."""

UNFINISHED = {"checkpoint": 9, "rows.npz": 3}
"""Files of an unfinished stage, and after which of them the run is killed."""


def _cut(path: Path, draw: Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def _flip(path: Path, draw: Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _zeros(path: Path, draw: Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _empty(path: Path, draw: Random) -> None:
    path.write_bytes(b"")


def _lose(path: Path, draw: Random) -> None:
    path.unlink()


DAMAGES: Mapping[str, Callable[[Path, Random], None]] = {
    "cut": _cut,
    "one bit of": _flip,
    "zeros for": _zeros,
    "empty": _empty,
    "lost": _lose,
}


class Damages(Kind):
    """A file of a run is damaged: the same command heals the run."""

    name = "damaged file"

    def trials(self, draw: Random, times: int) -> Iterator[Trial]:
        """Yield one trial for every file and damage, ``times`` times."""
        for _ in range(times):
            for how in DAMAGES:
                seed = draw.randrange(2**32)
                for file in FINISHED:
                    yield Trial(f"{how} {file}", partial(_damage_finished, how, file, seed))
                for file in UNFINISHED:
                    yield Trial(f"{how} {file}", partial(_damage_unfinished, how, file, seed))


def _damage_finished(how: str, file: str, seed: int, bench: Bench, run: Path) -> Verdict:
    shutil.copytree(bench.whole, run)
    DAMAGES[how](run / file, Random(seed))
    return resumed(bench, run)


def _damage_unfinished(how: str, file: str, seed: int, bench: Bench, run: Path) -> Verdict:
    ended = bench.run(run, file=file, when=AFTER, nth=UNFINISHED[file])
    if ended.code != -signal.SIGKILL:
        return Verdict(False, "never killed", f"exit code {ended.code}: {ended.err}")
    (path,) = (run / "work").rglob(file)
    DAMAGES[how](path, Random(seed))
    return resumed(bench, run)
