"""Whether the peak memory of a training grows with its number of batches."""

import resource
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.measuring import Measurement
from benchmarks.networks import images, resnet18
from morex import TrainingConfig, TrainingData, train
from morex.attacks import PGD
from morex.data import ImageSet
from morex.perturbations import Linf
from morex.training import Single

_BATCH = 64


def measure() -> Iterator[Measurement]:
    """Train in separate processes, whose peaks the system reports."""
    few, many = (_peak_of(epochs) for epochs in (2, 16))
    about = {"megabytes": round(many / 2**20), "against_megabytes": round(few / 2**20)}
    name = "peak memory of 16 epochs / of 2 (16 batches each)"
    yield Measurement(name, many / few, 1.05, most=True, about=about)


def _peak_of(epochs: int) -> int:
    command = [sys.executable, "-m", "benchmarks.memory", str(epochs)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _train(epochs: int) -> None:
    x, y = images(_BATCH * 16)
    whole = ImageSet((x * 255).round().byte(), y, tuple("0123456789"))
    config = TrainingConfig(epochs=epochs, batch_size=_BATCH)
    objective = Single((PGD(Linf(8 / 255), steps=2),))
    train(resnet18(8), objective, TrainingData(whole, whole.first(_BATCH)), config)


if __name__ == "__main__":
    _train(int(sys.argv[1]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
