from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from morex.attacks import PGD, Attack, Model, Passes, WorstOfDraws, cross_entropy, frozen
from morex.core.seeding import generator_for
from morex.perturbations import L2, Clean, Fog, Linf, Snow
from morex.training.drawn import OneDrawn
from morex.training.objectives import (
    Alternate,
    Average,
    Batch,
    Max,
    Objective,
    SideBySide,
    Single,
)

PIXELS = (3, 4, 4)
LABELS = torch.tensor([3, 0, 7, 4, 1, 8])


@dataclass(frozen=True)
class Stamp(Attack):
    """Writes its number into the second channel and leaves the others."""

    number: int

    @property
    def passes(self) -> Passes:
        return Passes()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        assert len(x)  # no member gets an empty batch
        moved = x.clone()
        moved[:, 1] = self.number
        return moved


def stamps(count: int) -> tuple[Attack, ...]:
    return tuple(Stamp(i) for i in range(count))


def numbered(n: int) -> tuple[Tensor, Tensor]:
    """Return images whose first channel is their number and whose label follows from it."""
    x = torch.zeros(n, *PIXELS)
    x[:, 0] = torch.arange(n).view(-1, 1, 1).float()
    return x, (7 * torch.arange(n) + 3) % 10


def built(objective: Objective, n: int, step: int = 0, seed: int = 0) -> Batch:
    generator = generator_for(seed)
    turn = objective.turn(step, generator.initial_seed())
    return objective.build(nn.Flatten(), *numbered(n), turn, generator)


def composition(batch: Batch) -> list[tuple[int, int]]:
    """Return (example, member) of every image, having checked labels and members against it."""
    examples, stamped = batch.x[:, 0, 0, 0].long(), batch.x[:, 1, 0, 0].long()
    assert torch.equal(batch.y, (7 * examples + 3) % 10)
    assert torch.equal(batch.member, stamped)
    assert batch.y.dtype == batch.member.dtype == torch.int64
    return list(zip(examples.tolist(), stamped.tolist(), strict=True))


# --- which member gets which example -------------------------------------------------------------


def test_single_gives_every_example_to_its_member() -> None:
    assert composition(built(Single(stamps(1)), 5)) == [(n, 0) for n in range(5)]


def test_average_gives_every_example_to_every_member() -> None:
    found = composition(built(Average(stamps(3)), 4))
    assert sorted(found) == [(n, i) for n in range(4) for i in range(3)]


def test_alternate_takes_turns_from_batch_to_batch() -> None:
    for step in range(7):
        found = composition(built(Alternate(stamps(3)), 4, step))
        assert found == [(n, step % 3) for n in range(4)]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 17), st.integers(1, 6), st.integers(0, 20))
def test_side_by_side_gives_every_example_to_one_member(n: int, count: int, step: int) -> None:
    found = composition(built(SideBySide(stamps(count)), n, step))
    assert sorted(found) == [(i, (i + step) % count) for i in range(n)]
    shares = Counter(member for _, member in found)
    assert max(shares.values()) - min(shares.get(i, 0) for i in range(count)) <= 1


def test_uneven_shares_of_side_by_side_even_out() -> None:
    total: Counter[int] = Counter()
    for step in range(3):
        total.update(member for _, member in composition(built(SideBySide(stamps(3)), 7, step)))
    assert total == {0: 7, 1: 7, 2: 7}


def test_a_member_with_two_shares_gets_twice_as_many_examples() -> None:
    total: Counter[int] = Counter()
    for step in range(4):
        found = composition(built(SideBySide(stamps(3), (2, 1, 1)), 6, step))
        assert sorted(n for n, _ in found) == [*range(6)]
        total.update(member for _, member in found)
    assert total == {0: 12, 1: 6, 2: 6}
    equal = composition(built(SideBySide(stamps(3), (1, 1, 1)), 7, 2))
    assert equal == composition(built(SideBySide(stamps(3)), 7, 2))
    assert SideBySide((PGD3, FOG), (1, 3)).passes == Passes(4 / 4 + 1, 3 / 4 + 1)


@pytest.mark.parametrize("shares", [(1,), (1, 0, 1), (1, 2, 3, 4)])
def test_there_is_a_share_for_every_member(shares: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a share >= 1 for each of 3 members"):
        SideBySide(stamps(3), shares)


def drawn(objective: Objective, seed: int) -> int:
    (member,) = {member for _, member in composition(built(objective, 3, seed=seed))}
    return member


def test_one_drawn_covers_all_members_evenly_and_depends_only_on_the_seed() -> None:
    objective = OneDrawn(stamps(3))
    members = [drawn(objective, seed) for seed in range(600)]
    assert all(160 < members.count(i) < 240 for i in range(3))  # 200 +- 3.5 sigma
    assert members[:50] == [drawn(objective, seed) for seed in range(50)]


def test_one_drawn_is_independent_of_what_else_the_step_draws() -> None:
    objective = OneDrawn(stamps(2))
    agree = 0
    for seed in range(400):
        first = int(torch.randint(2, (), generator=generator_for(seed)))
        agree += drawn(objective, seed) == first
    assert 160 < agree < 240  # 200 +- 4 sigma; 400 if the generator's own seed were used again

    used = generator_for(5)
    torch.rand(10, generator=used)
    turn = objective.turn(0, used.initial_seed())
    (member,) = set(objective.build(nn.Flatten(), *numbered(3), turn, used).member.tolist())
    assert member == drawn(objective, 5)


# --- losses --------------------------------------------------------------------------------------


class Net(nn.Module):
    """A small smooth network."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(48, 16, generator=generator) / 7)
        self.second = nn.Parameter(torch.randn(16, 10, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh((x.flatten(1) - 0.5) @ self.first * 4) @ self.second


def random_images(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.rand(n, *PIXELS, generator=generator), torch.randint(10, (n,), generator=generator)


@dataclass(frozen=True)
class Nudge(Attack):
    """Adds a fixed pattern, which hurts some images and helps others."""

    seed: int

    @property
    def passes(self) -> Passes:
        return Passes()

    def search(self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        pattern = torch.randn(PIXELS, generator=generator_for(self.seed))
        return (x + 0.2 * pattern.sign()).clamp(0, 1)


DETERMINISTIC: tuple[Attack, ...] = (
    PGD(Linf(0.02), steps=2, random_start=False),
    Nudge(1),
    Nudge(2),
    WorstOfDraws(Clean()),
)


def test_max_takes_the_worst_member_of_every_example() -> None:
    net, (x, y) = Net(), random_images(60)
    batch = Max(DETERMINISTIC).build(net, x, y, 0, generator_for(0))
    moved = torch.stack([member(net, x, y) for member in DETERMINISTIC])
    losses = torch.stack([cross_entropy(net(m), y) for m in moved]).detach()
    assert len(batch.member.unique()) >= 3  # no member is always the worst
    assert torch.equal(batch.member, losses.argmax(0))
    assert torch.equal(batch.y, y)
    assert torch.equal(batch.x, moved[batch.member, torch.arange(60)])
    assert (cross_entropy(net(batch.x), y) >= losses - 1e-6).all()


def test_the_mean_loss_of_average_is_the_mean_of_the_members_losses() -> None:
    net, (x, y) = Net(), random_images(20)
    batch = Average(DETERMINISTIC).build(net, x, y, 0, generator_for(0))
    losses = [cross_entropy(net(member(net, x, y)), y).mean() for member in DETERMINISTIC]
    torch.testing.assert_close(F.cross_entropy(net(batch.x), batch.y), torch.stack(losses).mean())


@pytest.mark.parametrize(("kind", "calls"), [(Max, [12] * 5 + [24]), (Average, [12] * 5)])
def test_balls_of_max_and_average_are_searched_together(
    kind: type[Objective], calls: list[int]
) -> None:
    members = (*(PGD(ball, steps=4) for ball in (L2(0.5), Linf(0.1))), WorstOfDraws(Snow(2.0)), FOG)
    torch.manual_seed(0)
    net, (x, y) = nn.Sequential(nn.Flatten(), nn.Linear(48, 10)), (torch.rand(6, *PIXELS), LABELS)
    asked: list[int] = []

    def model(images: Tensor) -> Tensor:
        asked.append(len(images))
        logits: Tensor = net(images)
        return logits

    objective = kind(members)
    batch = objective.build(model, x, y, 0, generator_for(5))
    assert asked == calls  # four steps and the last iterate; MAX then judges all candidates
    draws = generator_for(5)
    alone = torch.stack([m.search(model, x, y, draws) for m in objective.members])
    picked = torch.arange(6).repeat(len(batch.y) // 6)
    torch.testing.assert_close(batch.x, alone[batch.member, picked], rtol=0, atol=1e-5)


def test_msd_is_single_over_one_pgd_with_several_balls() -> None:
    net, (x, y) = Net(), random_images(40)
    linf, l2 = Linf(0.05), L2(0.27)
    batch = Single((PGD((linf, l2), steps=5),)).build(net, x, y, 0, generator_for(0))
    in_linf = linf.norm(batch.x - x) <= linf.eps + 1e-6
    in_l2 = l2.norm(batch.x - x) <= l2.eps + 1e-6
    assert (in_linf | in_l2).all()
    assert (~in_linf).any()  # both balls are used
    assert (~in_l2).any()
    assert (cross_entropy(net(batch.x), y) > cross_entropy(net(x), y)).all()


# --- cost ----------------------------------------------------------------------------------------


class Counting(nn.Module):
    """Counts the images of all forward and backward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        self.forwards += len(x)
        if logits.requires_grad:
            logits.register_hook(self.count_backward)
        return logits

    def count_backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def measured(objective: Objective, steps: int, n: int) -> Passes:
    """Return the passes per example and step of a training, the update included."""
    model, (x, y) = Counting(), random_images(n)
    for step in range(steps):
        generator = generator_for(1, step)
        turn = objective.turn(step, generator.initial_seed())
        with frozen(model):
            batch = objective.build(model, x, y, turn, generator)
        F.cross_entropy(model(batch.x), batch.y).backward()
    return Passes(model.forwards / (n * steps), model.backwards / (n * steps))


PGD3 = PGD(Linf(0.05), steps=3)
MSD = PGD((Linf(0.05), L2(0.5)), steps=2, restarts=2)
SNOW = WorstOfDraws(Snow(darkness=2.0), draws=3)
FOG = WorstOfDraws(Fog(t=0.1, light=0.5))


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Single((FOG,)), Passes(1, 1)),
        (Single((PGD3,)), Passes(5, 4)),
        (Single((MSD,)), Passes(2 * 7 + 1, 2 * 2 + 1)),
        (Max((PGD3, FOG, SNOW)), Passes(4 + 0 + 3 + 3 + 1, 3 + 1)),
        (Average((PGD3, FOG, SNOW)), Passes(4 + 0 + 3 + 3, 3 + 3)),
        (Alternate((PGD3, FOG, SNOW)), Passes(7 / 3 + 1, 2)),
        (SideBySide((PGD3, FOG, SNOW)), Passes(7 / 3 + 1, 2)),
    ],
    ids=["fog", "pgd", "msd", "max", "average", "alternate", "side-by-side"],
)
def test_passes_are_those_that_are_made(objective: Objective, expected: Passes) -> None:
    for passes in (objective.passes, measured(objective, steps=3, n=8)):
        assert passes.forward == pytest.approx(expected.forward)
        assert passes.backward == pytest.approx(expected.backward)


def test_passes_of_one_drawn_are_the_mean_over_its_members() -> None:
    members = (PGD3, FOG)
    each = [Single((member,)).passes for member in members]
    expected = Passes(sum(p.forward for p in each) / 2, sum(p.backward for p in each) / 2)
    assert OneDrawn(members).passes == expected
    costs = {measured(OneDrawn(members), steps=1, n=n) for n in range(1, 3)}
    assert costs <= set(each)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Max, Average, OneDrawn, Alternate, SideBySide])
def test_an_objective_without_members_raises(kind: Any) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__} needs at least one member"):
        kind(())


@pytest.mark.parametrize("count", [0, 2])
def test_single_takes_exactly_one_member(count: int) -> None:
    with pytest.raises(ValueError, match=f"takes one member, got {count}"):
        Single(stamps(count))
