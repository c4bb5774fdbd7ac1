"""Which weights a training returns."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from small_training import (
    CLEAN,
    STOCHASTIC,
    Invert,
    Onlooker,
    Small,
    accuracy,
    config,
    network,
    same,
    state,
)
from torch import Tensor, nn

from morex.attacks import (
    PGD,
    Attack,
    AwayFromOwnAnswers,
    JudgedBy,
    Model,
    NoisyFGSM,
    SearchAround,
    Targeted,
    WorstOfDraws,
)
from morex.attacks.freezing import frozen
from morex.attacks.gate_steering import DrawnSteering
from morex.core.seeding import generator_for
from morex.perturbations import L2, AdversarialFog, Around, Fog, Linf
from morex.recipe.fields import InnerSearch, SingleStep
from morex.training import TrainingData, train
from morex.training.criteria import ClassOfImage
from morex.training.objectives import Average, Batch, Single


def test_the_best_model_on_validation_comes_back(digits: TrainingData) -> None:
    blow_up = ((0.0, 1.0), (0.6, 1.0), (0.6, 300.0), (1.0, 300.0))
    data = TrainingData(digits.train.sample(200, 0), digits.validation)
    model = Small()
    fit = train(
        model, Single((CLEAN,)), data, config(epochs=5, learning_rate=0.02, schedule=blow_up)
    )
    scores = [entry["score"] for entry in fit.history]
    assert scores[-1] < max(scores) - 0.1
    assert not model.training
    assert accuracy(model, data.validation) == pytest.approx(max(scores))


def test_the_last_of_equally_good_models_comes_back(few: TrainingData) -> None:
    class Content(ClassOfImage):
        def hits(self, model: nn.Module, batch: Batch) -> Tensor:
            return torch.ones_like(batch.y, dtype=torch.bool)

    model = Small()
    fit = train(model, Single((CLEAN,)), few, config(epochs=3), criterion=Content())
    assert [entry["score"] for entry in fit.history] == [1.0] * 3
    assert model.norm.num_batches_tracked == 15


def test_averaged_weights_are_validated(few: TrainingData) -> None:
    model = Small()
    settings = config(epochs=1, average=0.9999, learning_rate=0.5)
    fit = train(model, Single((CLEAN,)), few, settings)
    assert fit.history[0]["score"] == pytest.approx(accuracy(model, few.validation))


def test_models_are_chosen_on_plain_validation_images_under_every_member(
    few: TrainingData,
) -> None:
    @dataclass(frozen=True)
    class Mark:
        """Takes the place of an augmentation."""

        def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
            return x.clone().fill_(0.25)

    seen: list[Tensor] = []
    members = (Onlooker(lambda _m, x, _g: seen.append(x.clone())), WorstOfDraws(Invert()))
    marked = replace(few, augment=Mark())  # type: ignore[arg-type]
    model = Small()
    fit = train(model, Average(members), marked, config(epochs=2, batch_size=10))
    in_training = [x for x in seen if (x == 0.25).all()]
    assert [len(x) for x in in_training] == [10] * 20
    validated = torch.cat([x for x in seen if not (x == 0.25).all()])
    pixels = few.validation.pixels(slice(None))
    assert torch.equal(validated, torch.cat([pixels, pixels]))
    for entry in fit.history:
        assert len(entry["validation"]) == 2
        assert entry["score"] == pytest.approx(sum(entry["validation"]) / 2)
    best = max(fit.history, key=lambda entry: (entry["score"], entry["epoch"]))
    with torch.no_grad():
        hits = [(model(x).argmax(1) == few.validation.labels) for x in (pixels, 1 - pixels)]
    assert best["validation"] == pytest.approx([h.float().mean().item() for h in hits])


def test_validation_draws_the_same_every_time_and_something_else_for_every_member(
    few: TrainingData,
) -> None:
    def drawn(**how: Any) -> list[float]:
        """Return what the validations of two epochs draw for two members."""
        numbers: list[float] = []

        def look(model: Model, x: Tensor, generator: torch.Generator) -> None:
            if len(x) == 30:
                numbers.append(torch.rand((), generator=generator).item())

        train(Small(), Average((Onlooker(look), Onlooker(look))), few, config(), **how)
        return numbers

    first = drawn(seed=1, name="a")
    assert len(first) == 4
    assert first[:2] == first[2:]
    assert len({*first, *drawn(seed=2, name="a"), *drawn(seed=1, name="b")}) == 6


def test_the_last_epoch_is_always_validated(few: TrainingData) -> None:
    fit = train(Small(), Single((CLEAN,)), few, config(epochs=5, validate_every=2))
    assert [entry["epoch"] for entry in fit.history] == [1, 2, 3, 4, 5]
    assert ["score" in entry for entry in fit.history] == [False, True, False, True, True]


def test_without_validation_the_last_weights_are_kept_averaged_if_they_are_averaged(
    few: TrainingData,
) -> None:
    once = config(epochs=3, average=0.9, validate_every=3)  # there is only one to choose
    chosen, last = network(), network()
    train(chosen, STOCHASTIC, few, once)
    fit = train(last, STOCHASTIC, few, replace(once, validate_every=None))
    assert not any("score" in entry or "validation" in entry for entry in fit.history)
    assert same(state(last), state(chosen))


def test_single_steps_are_validated_with_pgd_and_both_are_in_the_history(
    digits: TrainingData,
) -> None:
    ball = Linf(0.15)
    pgd = PGD(ball, steps=5)
    model, data = Small(), TrainingData(digits.train.sample(200, 0), digits.validation)
    settings = config(epochs=2, learning_rate=0.05)
    fit = train(model, Single((JudgedBy(NoisyFGSM(ball), pgd),)), data, settings, name="n")
    scores = [entry["score"] for entry in fit.history]
    x, y = data.validation.pixels(slice(None)), data.validation.labels

    def under(attack: PGD | NoisyFGSM) -> float:
        right = 0.0
        generator = generator_for(0, "n", "validation", 0)
        with frozen(model):
            for start in range(0, len(y), 2 * settings.batch_size):
                rows = slice(start, start + 2 * settings.batch_size)
                moved = attack.search(model, x[rows], y[rows], generator)
                right += (model(moved).argmax(1) == y[rows]).sum().item()
        return right / len(y)

    best = scores.index(max(scores))
    assert under(pgd.by_loss()) == pytest.approx(max(scores), abs=0.01)
    assert under(NoisyFGSM(ball)) == pytest.approx(fit.history[best]["single_step"][0], abs=0.01)
    for entry in fit.history:
        assert entry["validation"] == [entry["score"]]
        assert len(entry["single_step"]) == 1
    plain = train(Small(), Single((pgd,)), data, settings)
    one = train(Small(), Single((PGD(ball, steps=1),)), data, settings)
    assert all(len(entry["single_step"]) == 1 for entry in one.history)
    assert all("single_step" not in entry for entry in plain.history)


BALL, FOG = Linf(0.1), AdversarialFog(0.5)
ONE = PGD(BALL, steps=1)


@pytest.mark.parametrize(
    "way",
    [
        ONE,
        PGD((BALL, L2(0.5)), steps=1, restarts=2),
        PGD(FOG, steps=1, keep="last"),
        NoisyFGSM(BALL),
        JudgedBy(NoisyFGSM(BALL), ONE),
        AwayFromOwnAnswers(ONE),
        SearchAround(Around(Fog(0.1, 0.6), BALL), ONE),
        DrawnSteering(BALL, steps=1),
        Targeted(ONE),
        InnerSearch(single_step=SingleStep()).attack(BALL),
        InnerSearch(steps=1, single_step=SingleStep()).attack(BALL),
        InnerSearch(single_step=SingleStep()).attack(FOG),
    ],
    ids=str,
)
def test_every_way_with_a_single_step_is_judged_by_pgd_10(way: Attack) -> None:
    judge = Single((way,)).members[0].judge
    assert way.takes_single_step
    assert not judge.takes_single_step
    assert judge.perturbation == way.perturbation
    assert judge.passes.backward >= 10
    assert judge.judge == judge


def test_several_steps_judge_themselves() -> None:
    for way in (PGD(BALL, steps=2), SearchAround(Around(Fog(0.1, 0.6), BALL), PGD(BALL, 2))):
        assert way.judge is way
        assert not way.takes_single_step
    assert AwayFromOwnAnswers(PGD(BALL, 2)).judge == PGD(BALL, 2).by_loss()
