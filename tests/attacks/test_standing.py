"""Fooled examples leave a batch by halves, as on an accelerator, and nothing else changes.

Everything runs on the CPU: the policy is chosen, and questions that would wait are counted.
"""

import math
import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from digits_net import trained_net, unseen
from host_questions import host_questions
from linear import Counting, Linear, random_linear
from noise import Noise
from torch import Tensor, nn

from morex.attacks import (
    PGD,
    Attack,
    DeepFool,
    DrawnSteering,
    ExpertTransfer,
    GateSteering,
    GridSearch,
    InTurn,
    RandomNoise,
    RayS,
    SearchAround,
    Targeted,
    WorstOfDraws,
    WorstOfStrengths,
    fooled,
)
from morex.attacks.gradients import among, finite, note_zeros, watched
from morex.attacks.standing import AtOnce, ByHalves, Leaving, Standing, leaving, leaving_on
from morex.core.asking import as_on_an_accelerator
from morex.models.mixture import Mixture
from morex.perturbations import L1, L2, Around, Ball, Linf, RotateTranslate

HALVES = ByHalves(every=3, least=4)
BALL = Linf(0.12)


def mask(*over: int, n: int) -> Tensor:
    found = torch.zeros(n, dtype=torch.bool)
    found[list(over)] = True
    return found


# --- the policy ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "most", "size"),
    [(0, 9, 0), (1, 100, 4), (4, 100, 4), (5, 100, 7), (50, 100, 50), (51, 100, 100), (2, 3, 3)],
)
def test_a_batch_is_halved_as_often_as_it_can_be(count: int, most: int, size: int) -> None:
    assert HALVES.size(count, most) == size
    assert AtOnce().size(count, most) == count


def test_a_batch_of_any_size_has_few_sizes() -> None:
    for most in range(1, 200):
        sizes = {ByHalves(least=1).size(count, most) for count in range(1, most + 1)}
        assert len(sizes) <= math.ceil(math.log2(most)) + 1
        assert max(sizes) == most


def test_what_stands_is_kept_and_the_batch_filled_up() -> None:
    over = mask(0, 2, 3, 5, 6, 7, 8, 9, n=10)
    kept = HALVES.kept(over, 0)
    assert kept is not None
    assert kept.tolist() == [1, 4, 0, 2, 3]  # two that stand, and three more
    assert HALVES.kept(mask(0, 1, 2, 3, n=10), 0) is None
    at_once = AtOnce().kept(over, 0)
    assert at_once is not None
    assert at_once.tolist() == [1, 4]
    assert AtOnce().kept(mask(n=3), 0) is None


def test_the_question_is_asked_in_the_first_steps_and_then_every_few() -> None:
    over = mask(*range(5), n=10)
    asked = [step for step in range(10) if HALVES.kept(over, step) is not None]
    assert asked == [0, 1, 2, 3, 6, 9]


def test_what_is_over_stays_as_it_is_and_is_not_written() -> None:
    for how in (HALVES, AtOnce()):
        with leaving(how):
            standing = Standing(torch.zeros(6))
            kept = standing.drop(mask(1, 4, n=6), 0)
        stands = torch.tensor([0, 2, 3, 5])
        assert standing.rows.tolist() == ([*range(6)] if how is HALVES else stands.tolist())
        after = torch.arange(6.0)[slice(None) if kept is None else kept]
        held = standing.held(torch.full_like(after, -1.0), after)
        into = torch.zeros(6)
        standing.put(into, torch.ones(len(after), dtype=torch.bool), after + 10)
        assert into.tolist() == [10, 0, 12, 13, 0, 15]
        assert held.tolist() == ([0, -1, 2, 3, -1, 5] if how is HALVES else stands.tolist())


def test_a_cpu_drops_at_once_and_an_accelerator_by_halves() -> None:
    assert leaving_on(torch.device("cpu")) == AtOnce()
    assert leaving_on(torch.device("cuda")) == ByHalves()
    with as_on_an_accelerator():
        assert leaving_on(torch.device("cpu")) == ByHalves()
    with leaving(HALVES):
        assert leaving_on(torch.device("cpu")) == HALVES
    assert leaving_on(torch.device("cpu")) == AtOnce()


# --- what attacks find ---------------------------------------------------------------------------

SURE: dict[str, Callable[[Ball], Attack]] = {
    "pgd": lambda b: PGD(b, 12, random_start=False, stop_when_fooled=True),
    "pgd drawn": lambda b: PGD(b, 12, stop_when_fooled=True),
    "targeted": lambda b: Targeted(PGD(b, 6, random_start=False, stop_when_fooled=True)),
    "deepfool": lambda b: DeepFool(b, steps=10),
    "rays": lambda b: RayS(b, queries=60),
    "in turn": lambda b: InTurn((DeepFool(b, steps=2), RayS(b, queries=20))),
}
"""Attacks whose random draws, if any, are made before anything leaves."""


def run(attack: Attack, how: Leaving, model: Any, x: Tensor, y: Tensor) -> Tensor:
    with leaving(how):
        return attack(model, x, y, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("ball", [Linf(0.03), L2(0.15)], ids=str)
@pytest.mark.parametrize("name", [*SURE])
def test_the_same_images_are_found(name: str, ball: Ball) -> None:
    model, x, y = random_linear(4, seed=1, count=50)
    attack = SURE[name](ball)
    expected, found = (run(attack, how, model, x, y) for how in (AtOnce(), HALVES))
    with torch.no_grad():
        broken = fooled(model(found), y)
    assert 8 < int(broken.sum()) < 45
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("ball", [Linf(0.03), L2(0.15), L1(0.6)], ids=str)
def test_later_restarts_spare_what_has_fallen(ball: Ball) -> None:
    model, x, y = random_linear(4, seed=1, count=300)
    once, thrice = (PGD(ball, 3, restarts=n, stop_when_fooled=True) for n in (1, 3))
    first, last = (run(attack, HALVES, model, x, y) for attack in (once, thrice))
    with torch.no_grad():
        before, after = fooled(model(first), y), fooled(model(last), y)
    assert 30 < int(before.sum()) < 270
    assert bool((after | ~before).all())
    assert torch.equal(first[before], last[before])  # never overwritten
    assert float((ball.norm(last - x) - ball.eps).amax()) < 1e-6
    assert 0 <= float(last.amin()) <= float(last.amax()) <= 1


def test_what_follows_in_a_sequence_never_changes_what_has_fallen() -> None:
    model, x, y = random_linear(4, seed=1, count=50)
    noise = PGD(Linf(0.01), 1)
    first = run(InTurn((DeepFool(Linf(0.03), steps=2),)), HALVES, model, x, y)
    last = run(InTurn((DeepFool(Linf(0.03), steps=2), noise, noise)), HALVES, model, x, y)
    with torch.no_grad():
        before = fooled(model(first), y)
    assert 5 < int(before.sum()) < 45
    assert torch.equal(first[before], last[before])


@pytest.mark.parametrize("name", [*SURE])
def test_the_same_gradients_are_noted(name: str) -> None:
    linear, x, y = random_linear(4, seed=1, count=50)

    def model(x: Tensor) -> Tensor:
        """Has no gradient on every third image, and one that is NaN on every fifth."""
        number = (x[:, 0, 0, 0].detach() * 1e4).round().long()
        blind = (number % 3 == 0)[:, None]
        undefined = torch.where((number % 5 == 0), x[:, 0, 0, 1] * 0, 1).sqrt() - 1
        return linear(torch.where(blind[..., None, None], x.detach(), x)) + 0 * undefined[:, None]

    noted = []
    for how in (AtOnce(), HALVES):
        with watched(x) as watch:
            run(SURE[name](Linf(0.03)), how, model, x, y)
        noted.append((watch.zero.tolist(), watch.not_finite.tolist()))
    assert noted[0] == noted[1]
    if "rays" not in name:
        assert any(noted[0][0])


def test_no_note_is_taken_of_what_only_fills_a_batch() -> None:
    x, gradient = torch.rand(6, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    outer, inner = torch.tensor([5, 1, 3, 0]), torch.tensor([3, 1, 0])
    with watched(x) as watch, among(outer, mask(1, 2, 3, n=4)):  # not the fifth
        finite(torch.full_like(gradient, torch.nan), torch.tensor([0, 1, 2]))
        with among(inner, mask(1, 2, n=3)):  # not the 0th
            note_zeros(gradient, torch.arange(3))
    assert watch.not_finite.nonzero().flatten().tolist() == [1, 3]
    assert watch.zero.nonzero().flatten().tolist() == [1]


# --- shapes and questions ------------------------------------------------------------------------


class Gate(nn.Module):
    """Scores two experts by the brightness of the images."""

    def forward(self, x: Tensor) -> Tensor:
        light = x.flatten(1).mean(1, keepdim=True)
        return torch.cat([light, 1 - light], 1)


def mixture() -> Mixture:
    net = trained_net()
    return Mixture({"a": net, "b": net}, Gate(), last_layers="6").eval()


STEPS, QUERIES, N = 20, 40, 64
ASKED_IN_STEPS = 4 + 4
"""The first four steps, and each fourth of the other sixteen."""

CHECKS = 2
"""Images and labels of a batch are checked with one transfer each."""

QUESTIONS: dict[str, tuple[Attack, int]] = {
    "pgd": (PGD(BALL, STEPS, stop_when_fooled=True), ASKED_IN_STEPS),
    "pgd to the end": (PGD(BALL, STEPS, restarts=3), 0),
    "pgd, three restarts": (
        PGD(BALL, STEPS, restarts=3, stop_when_fooled=True),
        3 * ASKED_IN_STEPS + 2,  # and which ones begin a restart
    ),
    "pgd in l1": (PGD(L1(1.5), STEPS, stop_when_fooled=True), ASKED_IN_STEPS),
    "pgd in l2": (PGD(L2(0.5), STEPS, stop_when_fooled=True), ASKED_IN_STEPS),
    "targeted": (Targeted(PGD(BALL, STEPS, stop_when_fooled=True)), ASKED_IN_STEPS),
    "composed": (
        SearchAround(Around(Noise(), BALL), PGD(BALL, STEPS, stop_when_fooled=True)),
        ASKED_IN_STEPS,
    ),
    "deepfool": (DeepFool(BALL, steps=STEPS), ASKED_IN_STEPS),
    "rays": (RayS(BALL, queries=QUERIES), 1 + 3 + QUERIES // 4),
    "rays in l2": (RayS(L2(0.5), queries=QUERIES), 1 + 3 + QUERIES // 4),
    "steering": (
        GateSteering(BALL, STEPS, pushes=(1.0,)),
        4 * ASKED_IN_STEPS + 5,  # four searches; which ones begin them, and which fall in the last
    ),
    "drawn steering": (DrawnSteering(BALL, STEPS), 0),
    "transfer": (ExpertTransfer(BALL, STEPS), 4),
    "in turn": (InTurn((PGD(BALL, 5), PGD(BALL, 5))), 3),
    "noise": (RandomNoise(BALL, draws=5), 0),
    "draws": (WorstOfDraws(Noise(), draws=5), 0),
    "strengths": (WorstOfStrengths(Noise(), draws=2), 1 + 2 * 4),
    "grid": (
        GridSearch(RotateTranslate(10, 0.1), points=2),
        1 + 2**3 + 1,  # and the points of the grid, which are on the host
    ),
}
"""How often at most each attack on a batch asks the host, apart from ``CHECKS``."""


@pytest.mark.parametrize("name", [*QUESTIONS])
def test_an_attack_asks_the_host_few_questions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attack, most = QUESTIONS[name]
    x, y = unseen(N)
    model = mixture() if name in ("steering", "drawn steering", "transfer") else trained_net()
    with leaving(ByHalves(least=4)), host_questions(monkeypatch) as questions:
        attack(model, x, y)
    assert sum(questions.values()) <= most + CHECKS, questions
    assert "nonzero" not in questions  # the shape of nothing depends on what has fallen


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", [n for n in QUESTIONS if n != "grid"])
def test_an_attack_on_a_gpu_waits_as_seldom_as_was_counted(name: str) -> None:
    attack, most = QUESTIONS[name]
    model = mixture() if name in ("steering", "drawn steering", "transfer") else trained_net()
    model, (x, y) = deepcopy(model).cuda(), (t.cuda() for t in unseen(N))
    draws = torch.Generator("cuda")
    attack(model, x, y, generator=draws)  # what is set up once does not count
    with leaving(ByHalves(least=4)), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            attack(model, x, y, generator=draws)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    said = [str(warning.message) for warning in warned]
    waits = [text for text in said if "called a synchronizing" in text]
    assert len(waits) <= most + CHECKS, said


def test_the_counter_of_questions_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    t = torch.arange(4)
    with host_questions(monkeypatch) as questions:
        assert t.sum() > 2  # one
        t[t > 1]  # another
        t[torch.tensor([0])]  # none
        t.tolist()
    assert questions == {"_local_scalar_dense": 1, "index": 1, "tolist": 1}


@pytest.mark.parametrize(
    "attack",
    [
        PGD(BALL, STEPS, restarts=3, stop_when_fooled=True),
        DeepFool(BALL, steps=STEPS),
        RayS(Linf(0.3), queries=QUERIES),
        InTurn((PGD(BALL, 5), PGD(BALL, 5))),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_a_model_sees_few_shapes(attack: Attack) -> None:
    x, y = unseen(N)
    model = Counting(trained_net())
    with leaving(ByHalves(every=1, least=1)):
        attack(model, x, y)
    assert len(model.calls) > 8
    assert {*model.calls} <= {64, 32, 16, 8, 4, 2, 1}
    assert len({*model.calls}) > 1


def test_labels_are_checked_once_and_bad_ones_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = random_linear(3, seed=0, count=8)
    y[5] = 3
    with pytest.raises(ValueError, match="has 3 classes, so expected labels from 0 to 2, got 3"):
        RayS(Linf(0.01), queries=5)(Linear(model.weight, model.bias), x, y)
    with host_questions(monkeypatch) as few:
        RandomNoise(Linf(0.01), draws=1)(model, x, y.clamp(max=2))
    with host_questions(monkeypatch) as many:
        RandomNoise(Linf(0.01), draws=9)(model, x, y.clamp(max=2))
    assert few == many
