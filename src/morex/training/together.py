"""What holds for a training on several processes: what they cannot divide, agree on, or write."""

import json
import signal

from morex.core.checksums import digest_of_tensors
from morex.core.stopping import Stopped, asked_to_stop
from morex.training.criteria import Criterion
from morex.training.objectives import Objective
from morex.training.state import Checkpoint, Snapshot
from morex.training.world import World


class UnlikeError(RuntimeError):
    """The processes of a training do not train the same model on the same data."""


def check_divisible(world: World, objective: Objective, criterion: Criterion, images: int) -> None:
    """Raise ``ValueError`` if processes cannot divide the batches of a training.

    Args:
        world: the processes.
        objective: makes the images to train on.
        criterion: what is learnt.
        images: the number of images in a batch.
    """
    if not world.several:
        return
    for part in (objective, criterion):
        if not part.divisible:
            raise ValueError(
                f"{type(part).__name__} cannot be trained on {world.size} processes: it may "
                "compare the images of a batch, of which each process has a part; train it in one "
                "process, or set divisible = True in the class if it treats every image by itself"
            )
    if images // world.size < objective.fewest:
        raise ValueError(
            f"a batch of {images} is too small for {world.size} processes: "
            f"{type(objective).__name__} needs at least {objective.fewest} images in each of them; "
            "use fewer processes or a larger batch_size"
        )


def check_alike(world: World, state: Snapshot) -> None:
    """Raise ``UnlikeError`` unless all processes have the same weights, data and settings.

    Weights drift apart if processors of different kinds round differently.
    """
    settings = json.dumps(state.values.get("training"), sort_keys=True)
    digests = world.from_all((settings, digest_of_tensors(sorted(state.part("model").items()))))
    for rank, (its_settings, its_weights) in enumerate(digests):
        if its_settings != settings or its_weights != digests[0][1]:
            what = "weights" if its_settings == settings else "data or settings"
            raise UnlikeError(
                f"processes 0 and {rank} have different {what}; use the same files, versions and "
                "kind of processor in all processes"
            )


class SharedCheckpoint:
    """The checkpoint of a training on several processes: the first one reads and writes it.

    All processes stop at the same step if a signal asked any of them to.

    Args:
        checkpoint: where the state is kept; only that of the first process counts.
        world: the processes.
    """

    def __init__(self, checkpoint: Checkpoint | None, world: World) -> None:
        self.checkpoint = checkpoint if world.leads else None
        self.world = world

    def load(self) -> Snapshot | None:
        """Return the state that the first process has found."""
        found = self.checkpoint.load() if self.checkpoint else None
        shared: Snapshot | None = self.world.from_leader(found)
        return shared

    def due(self) -> bool:
        """Return whether it is time to save, or all processes stop."""
        if self.world.stopping or self.checkpoint is None or asked_to_stop():
            return self.world.stopping  # a signal to this process alone: the others learn of it
        return self.checkpoint.due()

    def save(self, snapshot: Snapshot) -> None:
        """Save the state in the first process; then stop if any process was asked to."""
        if self.checkpoint:
            self.checkpoint.save(snapshot)
        if self.world.stopping:
            raise Stopped(signal.SIGTERM)
