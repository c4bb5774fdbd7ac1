"""How much of an evaluation is done."""

import pytest
import torch
from routed import Routed
from torch import Tensor, nn

from morex.attacks import PGD, Attack, DeepFool, GateSteering, SearchAround, WorstOfDraws
from morex.evaluation.workload import Workload, most_work
from morex.perturbations import Clean, Fog, Linf, compose

BALL = Linf(0.1)


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2]


@pytest.fixture
def load() -> Workload:
    return Workload({"clean": 10.0, "pgd": 80.0, "square": 10.0})


def test_a_call_adds_its_images_and_three_times_as_many_with_a_gradient(load: Workload) -> None:
    model, seen = Constant(), []
    x = torch.zeros(4, 1, 2, 2)
    with load.counting(model, lambda share, part: seen.append((round(share, 4), part))):
        model(x)
        load.reach("clean")
        model(x.requires_grad_())
        with torch.no_grad():
            model(x)
    assert seen == [(0.04, "clean"), (0.1, "pgd"), (0.22, "pgd"), (0.26, "pgd")]
    model(x)
    assert len(seen) == 4


def test_calls_do_not_go_beyond_the_end_of_a_part(load: Workload) -> None:
    load.add(99)
    assert (load.share, load.part) == (0.1, "clean")
    load.reach("pgd")
    load.add(99)
    assert (load.share, load.part) == (1.0, "square")
    load.reach("square")
    assert (load.share, load.part) == (1.0, "square")


def test_a_share_of_a_part_leaves_the_rest_to_do(load: Workload) -> None:
    load.reach("pgd", 0.25)
    assert (load.share, load.part) == (0.3, "pgd")


@pytest.mark.parametrize(
    ("attack", "forward", "backward"),
    [
        (WorstOfDraws(Clean()), 0, 0),
        (PGD(BALL, 20, restarts=2), 42, 40),
        (SearchAround(compose(Fog(0.2, 0.5), BALL), PGD(BALL, 20)), 21, 20),
        (DeepFool(BALL, steps=5, candidates=None), 11, 10),  # as with the three classes there are
        (GateSteering(BALL, 20), 126, 120),  # to each of two experts
    ],
    ids=lambda value: type(value).__name__,
)
def test_work_is_what_the_attack_says_and_one_decision(
    attack: Attack, forward: int, backward: int
) -> None:
    assert most_work(attack, Routed(), images=10, classes=3) == 10 * (forward + 2 * backward + 1)
