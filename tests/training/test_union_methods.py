"""RAMP and E-AT against their formulas."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_training import CLEAN, Memory, Small, config, same, state
from torch import Tensor, nn

from morex.attacks import PGD, AwayFromOwnAnswers, Passes
from morex.perturbations import L1, Linf
from morex.training import (
    Batch,
    CheckpointError,
    ClassOfImage,
    Criterion,
    LogitPairing,
    NotFiniteError,
    PerturbedWeights,
    Trades,
    TrainingConfig,
    TrainingData,
    train,
)
from morex.training.distillation import AnswersOfTeacher
from morex.training.drawn import OneDrawn
from morex.training.loop import Training
from morex.training.natural import projected
from morex.training.objectives import Average, Max, Objective, Single

LINF, ONE = PGD(Linf(0.1), steps=1), PGD(L1(2.0), steps=1)
AWP = {"awp": PerturbedWeights(0.05)}
LATE_AWP = {"awp": PerturbedWeights(0.05, warm_up=0.4)}


class Table(nn.Module):
    """Answers each image with the logits that its first row of pixels holds."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0]


def paired(first: list[list[float]], second: list[list[float]], y: list[int]) -> tuple[Any, Any]:
    logits = torch.tensor(first + second).requires_grad_()
    member = torch.arange(2).repeat_interleave(len(y))
    return logits, Batch(logits[:, None, None], torch.tensor(y * 2), member)


FIRST = [[2.0, 0.0, 1.0], [0.0, 3.0, 1.0], [1.0, 2.0, 0.0]]
SECOND = [[0.5, 1.0, 0.0], [0.0, 4.0, 0.0], [3.0, 0.0, 1.0]]


def test_logit_pairing_is_that_of_ramp() -> None:
    _, batch = paired(FIRST, SECOND, [0, 1, 0])  # the first answers are right, right, wrong
    p, q = (torch.tensor(part).softmax(1) for part in (FIRST, SECOND))
    y = torch.tensor([0, 1, 0])
    worst = torch.maximum(*(-part[torch.arange(3), y].log() for part in (p, q)))
    divergence = (p * (p / q).log()).sum(1)
    expected = worst.mean() + 1.5 * (divergence[0] + divergence[1]) / 2
    torch.testing.assert_close(LogitPairing(1.5).loss(Table(), batch).detach(), expected)


def test_smoothing_is_for_the_classes_only() -> None:
    _, batch = paired(FIRST, SECOND, [0, 1, 0])
    smoothed = LogitPairing(1.0).smoothed(0.2)
    assert smoothed.smoothed(0.7) == smoothed
    apart = LogitPairing(2.0).loss(Table(), batch) - LogitPairing(1.0).loss(Table(), batch)
    losses = F.cross_entropy(batch.x[:, 0, 0], batch.y, reduction="none", label_smoothing=0.2)
    expected = losses.view(2, 3).amax(0).mean() + apart
    torch.testing.assert_close(smoothed.loss(Table(), batch), expected)


def test_nothing_is_paired_where_every_first_answer_is_wrong() -> None:
    logits, batch = paired(FIRST[:1], SECOND[:1], [1])
    loss = LogitPairing(5.0).loss(Table(), batch)
    torch.testing.assert_close(loss, F.cross_entropy(logits[:1], batch.y[:1]))
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[1].any()  # the second is the better one


def test_both_answers_move_towards_each_other() -> None:
    logits, batch = paired(FIRST[:1], SECOND[:1], [0])
    heavy, light = (LogitPairing(weight).loss(Table(), batch) for weight in (2.0, 1.0))
    (found,) = torch.autograd.grad(heavy - light, logits)
    p, q = logits.detach().softmax(1)
    divergence = (p * (p / q).log()).sum()
    torch.testing.assert_close(found[0], p * ((p / q).log() - divergence))
    torch.testing.assert_close(found[1], q - p)


def test_a_weight_of_pairing_is_positive() -> None:
    with pytest.raises(ValueError, match="weight of logit pairing must be positive, got 0"):
        LogitPairing(0.0)


@pytest.mark.parametrize("objective", [Average((LINF, ONE, CLEAN)), Max((LINF, ONE))])
def test_pairs_come_from_the_average_of_two(objective: Objective, few: TrainingData) -> None:
    with pytest.raises(ValueError, match="LogitPairing needs Average over two members, got"):
        train(Small(), objective, few, config(), criterion=LogitPairing(1.0))


# --- gradient projection -------------------------------------------------------------------------


def test_updates_are_projected_as_in_ramp() -> None:
    w = torch.tensor([[1.0, 1.0]])
    g, n = torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0]])  # the cosine is 0.6
    joined = projected(w, w + g, w + n, 0.25)
    torch.testing.assert_close(joined, w + 0.75 * g + 0.25 * 0.6 * n)
    against = projected(w, w + g, w - n, 0.25)
    torch.testing.assert_close(against, w + 0.75 * g)
    torch.testing.assert_close(projected(w, w, w + n, 0.25), w)


@pytest.mark.parametrize(
    ("objective", "criterion", "also"),
    [
        (Single((LINF,)), ClassOfImage(), {}),
        (Average((LINF, ONE)), LogitPairing(1.5), {"label_smoothing": 0.1}),
        (Average((LINF, ONE)), LogitPairing(1.5), AWP),
        (OneDrawn((LINF, CLEAN), by_error=True), ClassOfImage(), AWP),
        (Single((AwayFromOwnAnswers(LINF),)), Trades(6.0), LATE_AWP),
    ],
    ids=["single", "pairing smoothed", "pairing awp", "drawn awp", "trades awp"],
)
def test_an_epoch_ends_with_the_projection_of_two_trainings(
    objective: Objective, criterion: Criterion, also: dict[str, Any], few: TrainingData
) -> None:
    """By hand: one training on x', one on x, with the same batches, and their projection.

    AWP and the criterion belong to the first one alone.
    """
    plain = config(epochs=1, validate_every=None)
    settings = replace(plain, **also)
    start = Small()
    adversarial, natural, model = (copy.deepcopy(start) for _ in range(3))
    train(adversarial, objective, few, settings, criterion=criterion)
    train(natural, Single((CLEAN,)), few, replace(settings, awp=None))
    joined = replace(settings, gradient_projection=0.5)
    train(model, objective, few, joined, criterion=criterion)
    for name, tensor in state(model).items():
        w, g, n = (state(part)[name] for part in (start, adversarial, natural))
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, projected(w, g, n, 0.5), rtol=1e-5, atol=1e-6)
        else:
            assert tensor == g


def test_the_copy_goes_on_from_the_projection(few: TrainingData) -> None:
    work = Training(
        Small(),
        Average((LINF, ONE)),
        few,
        config(gradient_projection=0.5, validate_every=None),
        LogitPairing(1.0),
        seed=0,
        name="model",
    )
    twin = work.state.natural
    assert twin
    work.advance()
    assert not same(state(twin.model), state(work.model))
    while not work.epoch_ended():
        work.advance()
    work.end_epoch()
    assert same(state(twin.model), state(work.model))
    assert same(twin.before, twin.learning)


def test_the_copy_needs_a_training_on_labels(few: TrainingData) -> None:
    how, answers = config(gradient_projection=0.5), AnswersOfTeacher(Small())
    with pytest.raises(ValueError, match="on labels, but AnswersOfTeacher teaches other answers"):
        train(Small(), Single((LINF,)), few, how, criterion=answers)


def test_a_copy_that_is_not_finite_is_an_error_before_it_is_joined(few: TrainingData) -> None:
    how = config(gradient_projection=0.5, validate_every=None)
    work = Training(Small(), Single((LINF,)), few, how, ClassOfImage(), seed=0, name="model")
    while not work.epoch_ended():
        work.advance()
    assert work.state.natural
    next(iter(work.state.natural.learning.values())).data.fill_(torch.nan)
    with pytest.raises(NotFiniteError, match="weights of the natural training"):
        work.end_epoch()


def test_passes_of_natural_training_are_counted(few: TrainingData) -> None:
    def passes(**changes: Any) -> float:
        how = (config(validate_every=None, **changes), LogitPairing(1.0))
        return Training(Small(), Average((LINF, ONE)), few, *how, seed=0, name="m").passes

    assert passes(gradient_projection=0.5) - passes() == 3 * 10  # two epochs of five steps


def test_an_average_would_be_of_weights_before_their_projection() -> None:
    with pytest.raises(ValueError, match="gradient_projection needs average: null"):
        TrainingConfig(gradient_projection=0.5, average=0.9)
    with pytest.raises(ValueError, match=r"gradient_projection must be in \[0, 1\], got 2"):
        TrainingConfig(gradient_projection=2.0)


# --- drawn by error ------------------------------------------------------------------------------


def test_members_are_drawn_in_proportion_to_their_errors() -> None:
    even = OneDrawn((CLEAN, LINF, ONE), by_error=True)
    drawn = even.after((0.1, 0.0, 0.3))
    turns = [drawn.turn(0, seed) for seed in range(1000)]
    assert turns.count(1) == 0
    assert 200 < turns.count(0) < 300  # 250 +- 3.6 sigma
    plain = OneDrawn((CLEAN, LINF, ONE))
    for evenly in (even, even.after((0.0, 0.0, 0.0)), plain, plain.after((1.0, 0.0, 0.0))):
        assert [evenly.turn(0, seed) for seed in range(50)] == [
            plain.turn(0, seed) for seed in range(50)
        ]


def test_drawing_by_error_costs_a_forward_pass() -> None:
    plain = OneDrawn((CLEAN, LINF)).passes
    assert OneDrawn((CLEAN, LINF), by_error=True).passes == plain + Passes(forward=1)


def test_errors_are_those_of_the_frozen_model_on_its_batches(few: TrainingData) -> None:
    objective = OneDrawn((CLEAN, PGD(Linf(0.3), steps=1)), by_error=True)
    work = Training(Small(), objective, few, config(), ClassOfImage(), seed=0, name="model")
    counted = torch.zeros(2, 2, dtype=torch.int64)
    for step in range(5):
        x, y, generator = work.batches.draw(step)
        turn = work.objective.turn(step, generator.initial_seed())
        batch = objective.build(work.model.eval(), x, y, turn, generator)
        counted[0, turn] += (work.model(batch.x).argmax(1) != y).sum()
        counted[1, turn] += len(y)
        work.state.tally += work.state.counts(batch.member, batch.wrong)
    assert torch.equal(work.state.tally, counted)
    work.state.measure_errors()
    assert work.state.errors == tuple((counted[0].double() / counted[1]).tolist())


def test_errors_are_unknown_until_every_member_was_drawn(few: TrainingData) -> None:
    objective = OneDrawn((CLEAN, LINF), by_error=True)
    work = Training(Small(), objective, few, config(), ClassOfImage(), seed=0, name="model")
    wrong = torch.ones(4, dtype=torch.bool)
    work.state.tally += work.state.counts(torch.zeros(4, dtype=torch.int64), wrong)
    work.state.measure_errors()
    assert work.state.errors == ()


def test_there_is_an_error_for_every_member() -> None:
    with pytest.raises(ValueError, match=r"an error in \[0, 1\] for each of 2 members"):
        OneDrawn((CLEAN, LINF), by_error=True, errors=(0.5,))
    with pytest.raises(ValueError, match=r"an error in \[0, 1\] for each of 2 members"):
        OneDrawn((CLEAN, LINF), by_error=True, errors=(0.5, 1.5))


def test_a_checkpoint_without_its_parts_is_refused(few: TrainingData) -> None:
    memory, plain = Memory(), OneDrawn((CLEAN, LINF))
    train(Small(), plain, few, config(epochs=1), checkpoint=memory)
    saved = memory.saved[1]
    saved.values.pop("training")  # as one of an older version
    changes: list[tuple[Any, Any]] = [
        (OneDrawn((CLEAN, LINF), by_error=True), {}),
        (plain, {"gradient_projection": 0.5}),
    ]
    for objective, how in changes:
        with pytest.raises(CheckpointError, match=r"no errors of 2 members|natural tensors"):
            train(Small(), objective, few, config(epochs=1, **how), checkpoint=Memory(start=saved))
