"""What the criteria teach, and which parameters of a mixture learn it."""

import math

import pytest
import torch
from small_training import CLEAN, Invert, Onlooker, Small, config, state
from torch import Tensor, nn

from morex.attacks import PGD, Model, WorstOfDraws
from morex.models.mixture import Mixture
from morex.perturbations import Linf
from morex.training import TrainingData, train
from morex.training.criteria import ClassOfImage, ExpertForMember
from morex.training.objectives import Alternate, Batch, SideBySide, Single


def mixture() -> Mixture:
    return Mixture({"a": Small(1), "b": Small(2)}, Small(3, outputs=2))


def changed(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    return {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}


def test_a_mixture_learns_with_gate_and_last_layers_alone(few: TrainingData) -> None:
    model = mixture()
    before = state(model)
    train(model, SideBySide((CLEAN, PGD(Linf(0.1), steps=1))), few, config(epochs=1))
    learnt = {name for name in before if name.startswith("gate.") or ".head." in name}
    assert changed(before, model) == learnt


def test_attacks_see_the_whole_mixture(few: TrainingData) -> None:
    seen: list[Model] = []
    model = mixture()
    train(model, Alternate((Onlooker(lambda m, *_: seen.append(m)),)), few, config(epochs=1))
    assert len(seen) == 6
    assert all(m is model for m in seen)


def test_the_warm_up_teaches_the_gate_alone_to_name_the_perturbation(
    digits: TrainingData,
) -> None:
    model = mixture()
    before = state(model)
    # the first member is for the second expert
    criterion, objective = (
        ExpertForMember(((1,), (0,))),
        SideBySide((CLEAN, WorstOfDraws(Invert()))),
    )
    assert {id(p) for p in criterion.parameters(model)} == {id(p) for p in model.gate.parameters()}
    fit = train(model, objective, digits, config(epochs=1), criterion=criterion)
    assert {name.split(".")[0] for name in changed(before, model)} == {"gate"}
    assert fit.history[-1]["score"] > 0.98
    x = digits.validation.pixels(slice(None))
    with torch.no_grad():
        assert (model.gate_weights(x)[:, 1] > 0.5).float().mean() > 0.95
        assert (model.gate_weights(1 - x)[:, 0] > 0.5).float().mean() > 0.95
    assert [p.requires_grad for p in model.parameters()] == [
        p.requires_grad for p in mixture().parameters()
    ]


def test_experts_that_are_right_together_share_the_weight(few: TrainingData) -> None:
    model, config_ = mixture(), config(epochs=1)
    criterion = ExpertForMember(((0, 1), (1,)))
    batch = Batch(few.train.pixels(slice(0, 4)), few.train.labels[:4], torch.tensor([0, 0, 1, 1]))
    scores = model.gate(batch.x).detach()
    expected = torch.nn.functional.cross_entropy(scores[2:], torch.ones(2).long()) / 2
    torch.testing.assert_close(criterion.loss(model, batch).detach(), expected)  # both: certain
    assert criterion.hits(model, batch)[:2].all()
    fit = train(
        model, SideBySide((CLEAN, WorstOfDraws(Invert()))), few, config_, criterion=criterion
    )
    assert fit.history


def test_only_the_gate_of_a_mixture_can_be_warmed_up(few: TrainingData) -> None:
    with pytest.raises(TypeError, match="only a Mixture has a gate to warm up, got a Small"):
        train(Small(), Single((CLEAN,)), few, config(), criterion=ExpertForMember(((0,),)))
    for wrong in (((2,),), ((-1,),), ((),)):
        with pytest.raises(ValueError, match="chooses among 2: expected indices below that"):
            train(mixture(), Single((CLEAN,)), few, config(), criterion=ExpertForMember(wrong))


class Fixed(nn.Module):
    """Gives the same logits, in bfloat16, to every image."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits, dtype=torch.bfloat16))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits


def test_the_loss_is_the_mean_cross_entropy_in_float32_also_of_bf16_logits() -> None:
    batch = Batch(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]), torch.tensor([0, 0]))
    loss = ClassOfImage().loss(Fixed([[1, 2, 0], [0, 0, 9]]), batch)
    rows = math.log(1 + math.e + math.exp(-1)), math.log(2 + math.exp(9))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(sum(rows) / 2, rel=1e-6)


def test_the_loss_of_a_choice_is_that_of_all_right_choices_together_in_float32() -> None:
    model = Mixture({name: Small(i) for i, name in enumerate("abc")}, Small(3, outputs=3))
    model.gate = Fixed([[1, 2, 0], [0, 0, 9], [3, 3, 3]])
    batch = Batch(torch.zeros(3, 3, 8, 8), torch.zeros(3).long(), torch.tensor([0, 1, 0]))
    loss = ExpertForMember(((0, 1), (2,))).loss(model, batch)
    # member 0 may have expert 0 or 1, member 1 needs expert 2
    right = (math.e + math.e**2) / (math.e + math.e**2 + 1), 1 / (1 + 2 * math.exp(-9)), 2 / 3
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(-sum(map(math.log, right)) / 3, rel=1e-5)
