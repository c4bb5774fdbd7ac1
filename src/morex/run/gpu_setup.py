"""What a stage takes on a GPU before its first step: compiling its networks and capturing its step.

The seconds are those of a pilot on an H200. Compiled code is kept on disk, so each shape of a batch
is compiled only once in a run.
"""

from dataclasses import dataclass, field

from morex.recipe.phases import Phase
from morex.run.calibration import Way
from morex.training.objectives import Average, Max, Objective, SideBySide

START = 20.0
"""Seconds until the first stage: PyTorch, the GPU, and 60,000 pictures that are decoded."""

_FIRST, _FURTHER, _KNOWN = 40.0, 19.0, 3.0
"""Seconds to compile the first shape, a further one, and to read the code of one that is known.
The pilot saw 35 to 46 and 8 to 30; the last is a guess."""

_MOST_TURNS = 32

_CAPTURE, _WARM_UPS = 0.4, 3
"""Seconds to capture a step, and how often it is executed before."""


@dataclass
class Setups:
    """What the stages of a run take before their first step, one after the other."""

    known: set[tuple[object, ...]] = field(default_factory=set)

    def seconds(
        self, phase: Phase, objective: Objective, kinds: int, way: Way, step: float
    ) -> float:
        """Return the seconds of a stage, and remember what it compiled.

        Args:
            phase: the training.
            objective: makes its images.
            kinds: how many kinds of networks its model has; a gate has other outputs.
            way: how its steps are executed.
            step: seconds of one step.
        """
        captures = _turns(objective) * (_CAPTURE + _WARM_UPS * step)
        if way != "compiled":
            return captures
        return captures + sum(
            self._compile((kind, *shape))
            for kind in range(kinds)
            for shape in _shapes(objective, phase.training.batch_size)
        )

    def _compile(self, shape: tuple[object, ...]) -> float:
        if shape in self.known:
            return _KNOWN
        self.known.add(shape)
        return _FIRST if len(self.known) == 1 else _FURTHER


def searched_together(objective: Objective, batch: int) -> int:
    """Return how many images a call of the model has in an attack; ``batch`` without attacks."""
    are_searched = [member.passes.backward > 0 for member in objective.members]
    if not any(are_searched):
        return batch
    if isinstance(objective, SideBySide):
        shares = objective.shares or (1,) * len(are_searched)
        searched = sum(s for s, is_so in zip(shares, are_searched, strict=True) if is_so)
        return batch * searched // sum(shares)
    return batch * (sum(are_searched) if isinstance(objective, Max | Average) else 1)


def _shapes(objective: Objective, batch: int) -> set[tuple[str, int]]:
    """Return the shapes in which images go through a network: for what, and how many at a time."""
    found = {("update", batch * objective.updates)}
    if any(member.passes.backward for member in objective.members):
        found.add(("search", searched_together(objective, batch)))
    if isinstance(objective, Max):  # all of them are judged in one call
        found.add(("judge", batch * len(objective.members)))
    if any(m.passes.forward > m.passes.backward + 1 for m in objective.members):
        found.add(("judge", batch))  # proposals of MSD
    return found


def _turns(objective: Objective) -> int:
    """Return how many different steps an objective has, each of which is captured."""
    return len({objective.turn(step, seed=step) for step in range(_MOST_TURNS)})
