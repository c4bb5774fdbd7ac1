"""Attacks on the parts of mixtures: the gate, and single experts."""

import pytest
import torch
from digits_net import trained_net, unseen
from linear import right
from routed import BALL, Routed, Strong, Weak, pictures
from torch import Tensor, nn

from morex.attacks import (
    PGD,
    Attack,
    AwayFromChoices,
    DrawnSteering,
    ExpertTransfer,
    GateSteering,
    InTurn,
    WorstOfDraws,
    WorstOfStrengths,
)
from morex.attacks.gate_losses import TowardsExpert
from morex.attacks.sequence import first_that_fools
from morex.evaluation.feasibility import check_feasible
from morex.perturbations import L2, Clean, Fog, Linf

BLUR = 40.0


def test_steering_breaks_a_gate_that_hides_a_weak_expert() -> None:
    model, (x, y) = Routed(), pictures()
    plain = PGD(BALL, steps=20, restarts=5, random_start=False)(model, x, y)
    assert right(model, plain, y).all()  # the gate's gradient is lost
    moved = GateSteering(BALL, steps=20)(model, x, y)
    assert not right(model, moved, y).any()
    check_feasible(BALL, x, moved, "steering")


class Opposed(nn.Module):
    """A mixture in which the gate and the class pull one quantity in opposite directions.

    In radii of the ball, c is how bright the first channel is and d the second. The gate gives
    the second expert the weight sigmoid(8 c - 5). The first expert is always right, but its margin
    climbs steeply with c at every point, falling back in tiny jumps that have no gradient: the
    cross-entropy pulls c down, away from the second expert.

    Args:
        slope: of the first expert's margin.
        always: whether the second expert is always wrong; otherwise only where d < -0.8.
    """

    def __init__(self, slope: float, always: bool) -> None:
        super().__init__()
        self.slope, self.always = slope, always

    def gate_weights(self, x: Tensor) -> Tensor:
        c = (x[:, 0].mean((1, 2)) - 0.5) / BALL.eps
        return torch.stack([0 * c, 8 * c - 5], 1).softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        c, d = ((x[:, k].mean((1, 2)) - 0.5) / BALL.eps for k in (0, 1))
        steep = self.slope * c
        margins = [1 + steep - steep.detach().floor(), 0 * d - 10 if self.always else 20 * d + 16]
        margin = (self.gate_weights(x) * torch.stack(margins, 1)).sum(1)
        return torch.stack([margin, 0 * margin], 1)


def grey() -> tuple[Tensor, Tensor]:
    return torch.full((8, 3, 4, 4), 0.5), torch.zeros(8, dtype=torch.int64)


def pushed(push: float, fool: bool = True) -> PGD:
    loss = TowardsExpert(1, push, fool)
    return PGD(BALL, steps=20, stop_when_fooled=fool, loss=loss)


def test_two_phases_find_what_pushing_and_fooling_together_do_not() -> None:
    model, (x, y) = Opposed(slope=1000, always=True), grey()
    for attack in (PGD(BALL, restarts=3), *(pushed(push) for push in GateSteering.pushes)):
        assert right(model, attack(model, x, y), y).all()
    moved = GateSteering(BALL)(model, x, y)
    assert not right(model, moved, y).any()
    check_feasible(BALL, x, moved, "steering")


def test_pushing_and_fooling_together_find_what_two_phases_do_not() -> None:
    model, (x, y) = Opposed(slope=70, always=False), grey()
    steered = pushed(1.0, fool=False)(model, x, y)
    assert (model.gate_weights(steered)[:, 1] > 0.9).all()
    plain = PGD(BALL, steps=20, stop_when_fooled=True)
    for second in (plain(model, x, y), plain.go_on(model, x, y, steered, _seeded())):
        assert right(model, second, y).all()
    moved = GateSteering(BALL)(model, x, y)
    assert not right(model, moved, y).any()
    check_feasible(BALL, x, moved, "steering")


def test_pushing_only_the_gate_moves_its_weight() -> None:
    model, (x, y) = Routed(), pictures()
    loss = TowardsExpert(1, fool=False)
    moved = PGD(BALL, steps=20, loss=loss)(model, x, y)
    assert (model.gate_weights(moved)[:, 1] > 0.99).all()
    assert (model.gate_weights(x)[:, 1] < 0.01).all()


def test_an_attack_on_the_choices_evaluates_only_the_gate() -> None:
    model, (x, y) = Routed(), pictures()
    model.experts = nn.ModuleList()  # so that running them raises
    weights, loss = AwayFromChoices((0,))(model, x, y)
    torch.testing.assert_close(loss, -weights[:, 0].log())
    assert (weights[:, 0] > 0.99).all()
    moved = PGD(BALL, steps=10, loss=AwayFromChoices((0,)))(model, x, y)
    assert (model.gate_weights(moved)[:, 0] < 0.5).all()
    check_feasible(BALL, x, moved, "astray")
    everything = AwayFromChoices((0, 1))(model, x, y)[1]
    torch.testing.assert_close(everything, torch.zeros(8))
    with pytest.raises(TypeError, match="Weak has no choice_weights"):
        AwayFromChoices((0,))(Weak(), x, y)


def test_steering_a_model_without_gate_is_plain_pgd() -> None:
    net, (x, y) = trained_net(), unseen(60)
    ball = Linf(0.05)
    generator = torch.Generator().manual_seed(1)
    same = torch.Generator().manual_seed(1)
    steered = GateSteering(ball, steps=5, pushes=(1.0,))(net, x, y, generator=generator)
    plain = PGD(ball, 5, restarts=2, stop_when_fooled=True)(net, x, y, generator=same)
    assert torch.equal(steered, plain)


class Average(nn.Module):
    """Answers with the first expert's logits, but so coarsely that they have no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([Weak(), Weak()])

    def forward(self, x: Tensor) -> Tensor:
        return (self.experts[0](x) * BLUR).round() + 0 * x.mean((1, 2, 3))[:, None]


def test_transfer_finds_what_a_masked_model_hides() -> None:
    model, (x, y) = Average(), pictures()
    plain = PGD(BALL, steps=10, random_start=False)(model, x, y)
    assert right(model, plain, y).all()
    moved = ExpertTransfer(BALL, steps=10)(model, x, y)
    assert not right(model, moved, y).any()
    check_feasible(BALL, x, moved, "transfer")


def test_transfer_on_a_model_without_experts_is_plain_pgd() -> None:
    net, (x, y) = trained_net(), unseen(5)
    plain = PGD(BALL, ExpertTransfer.steps, ExpertTransfer.relative_step)
    moved = ExpertTransfer(BALL)(net, x, y, generator=_generator())
    assert torch.equal(moved, plain(net, x, y, generator=_generator()))


def test_in_turn_is_at_least_as_strong_as_each() -> None:
    net, (x, y) = trained_net(), unseen(100)
    ball = L2(0.4)
    parts: tuple[Attack, ...] = (PGD(ball, 2), PGD(ball, 10))
    both = right(net, InTurn(parts)(net, x, y), y)
    for part in parts:
        alone = right(net, part(net, x, y), y)
        assert 0 < both.sum() <= alone.sum()
    assert not both[~right(net, parts[0](net, x, y, generator=_generator()), y)].any()
    assert InTurn(parts).perturbation == ball
    assert InTurn((*parts, WorstOfDraws(Clean()))).perturbation == (ball, Clean())
    assert InTurn(parts).passes.backward == 12


def _generator() -> torch.Generator:
    from morex.core.seeding import generator_for

    return generator_for(0, "InTurn")


def test_a_search_gets_only_the_examples_that_are_still_right() -> None:
    model, (x, y) = Strong(), pictures()
    seen: list[int] = []

    def flip_first(x: Tensor, y: Tensor) -> Tensor:
        seen.append(len(x))
        return torch.cat([1 - x[:1], x[1:]])

    moved = first_that_fools(model, x, y.clone(), [flip_first] * 20)
    assert seen == [8, 7, 6, 5, 4, 3, 2, 1]
    assert torch.equal(moved, 1 - x)


def test_a_misclassified_image_stays_unchanged() -> None:
    model, (x, y) = Strong(), pictures()
    moved = first_that_fools(model, x, 1 - y, [lambda x, y: 1 - x])
    assert torch.equal(moved, x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InTurn(()), "at least one attack"),
        (lambda: GateSteering(BALL, pushes=()), "lambdas > 0"),
        (lambda: GateSteering(BALL, pushes=(0.0,)), "lambdas > 0"),
        (lambda: GateSteering(BALL, steps=0), "steps >= 1"),
        (lambda: ExpertTransfer(BALL, relative_step=0), "relative_step > 0"),
    ],
)
def test_bad_budgets_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_model_without_gate_cannot_be_pushed() -> None:
    net, (x, y) = trained_net(), unseen(3)
    with pytest.raises(TypeError, match="no gate_weights"):
        PGD(BALL, loss=TowardsExpert(0))(net, x, y)


class Band(nn.Module):
    """Right unless the pictures' light lies in a narrow band between clean and full fog."""

    def forward(self, x: Tensor) -> Tensor:
        light = x.mean((1, 2, 3))
        wrong = ((light > 0.3) & (light < 0.35)).float()
        return torch.stack([1 - wrong, wrong], 1)


def test_a_weaker_strength_may_be_the_worst() -> None:
    x, y = torch.full((4, 3, 4, 4), 0.2), torch.zeros(4, dtype=torch.int64)
    fog = Fog(t=0.0, light=0.6)
    assert right(Band(), WorstOfDraws(fog)(Band(), x, y), y).all()
    moved = WorstOfStrengths(fog, draws=1)(Band(), x, y)
    assert not right(Band(), moved, y).any()
    torch.testing.assert_close(moved, fog.scaled(0.75)(x))


def test_where_nothing_fools_the_full_strength_comes_back() -> None:
    model, (x, y) = Strong(), pictures()
    fog = Fog(t=-2.0, light=0.5)
    assert torch.equal(WorstOfStrengths(fog)(model, x, y), fog(x))


def test_every_example_is_steered_its_own_way() -> None:
    model, (x, y) = Routed(), pictures()
    x, y = x.repeat(8, 1, 1, 1), y.repeat(8)
    moved = DrawnSteering(BALL, steps=20, push=5.0)(model, x, y)
    check_feasible(BALL, x, moved, "drawn")
    weak = model.gate_weights(moved)[:, 1]
    assert 10 < (weak > 0.9).sum() < 40  # a third of 64, by chance
    assert (weak < 0.1).sum() > 20
    net, (a, b) = trained_net(), unseen(10)
    same = DrawnSteering(BALL, steps=3)(net, a, b, generator=_seeded())
    assert torch.equal(same, PGD(BALL, 3)(net, a, b, generator=_seeded()))
    with pytest.raises(ValueError, match="push > 0"):
        DrawnSteering(BALL, push=0)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)
