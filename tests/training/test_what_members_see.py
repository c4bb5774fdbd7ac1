"""The inputs of the members of an objective, and which member is drawn."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from morex.attacks import Attack, Model, Passes
from morex.core.seeding import derived_seed, generator_for
from morex.perturbations import Clean, Perturbation
from morex.training.drawn import OneDrawn
from morex.training.objectives import (
    Alternate,
    Average,
    Max,
    Objective,
    SideBySide,
    Single,
)


@dataclass(frozen=True)
class Watching(Attack):
    """Leaves the images unchanged; records its inputs."""

    perturbation: Perturbation = Clean()  # noqa: RUF009
    seen: list[tuple[Any, ...]] = field(default_factory=list)
    passes = Passes()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        self.seen.append((model, x, y, generator))
        return x


X, Y = torch.rand(6, 3, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(6)


def model(x: Tensor) -> Tensor:
    return x.flatten(1)


@pytest.mark.parametrize(
    ("kind", "count"), [(Single, 1), (Max, 2), (Average, 2), (OneDrawn, 2), (Alternate, 2)]
)
def test_a_member_sees_the_model_the_batch_and_the_generator(
    kind: type[Objective], count: int
) -> None:
    members, generator = tuple(Watching() for _ in range(count)), generator_for(3)
    batch = kind(members).build(model, X, Y, 0, generator)
    seen = [what for member in members for what in member.seen]
    assert len(seen) == (count if kind in (Max, Average) else 1)
    for found in seen:
        asked, x, y, drawn = found
        assert asked is model
        assert drawn is generator
        assert torch.equal(x, X)
        assert torch.equal(y, Y)
    repeats = count if kind is Average else 1
    assert torch.equal(batch.x, X.repeat(repeats, 1, 1, 1))
    assert torch.equal(batch.y, Y.repeat(repeats))


@pytest.mark.parametrize("step", [0, 1, 5])
def test_side_by_side_members_see_their_own_share(step: int) -> None:
    members, generator = (Watching(), Watching(), Watching()), generator_for(3)
    objective = SideBySide(members)
    objective.build(model, X, Y, objective.turn(step, 0), generator)
    for which, member in enumerate(members):
        ((asked, x, y, drawn),) = member.seen
        assert asked is model
        assert drawn is generator
        first = (which - step) % 3  # example n goes to member (n + step) mod 3
        assert torch.equal(x, X[first::3])
        assert torch.equal(y, Y[first::3])


def test_the_member_is_drawn_by_the_seed_of_the_step() -> None:
    objective = OneDrawn(tuple(Watching() for _ in range(5)))
    seeds = [generator_for(s).initial_seed() for s in range(20)]
    turns = [objective.turn(0, seed) for seed in seeds]
    assert turns == [derived_seed(seed, "member") % 5 for seed in seeds]
    for turn in turns:
        assert {*objective.build(model, X, Y, turn, generator_for(0)).member.tolist()} == {turn}
