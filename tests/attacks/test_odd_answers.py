"""What attacks make of odd models: the right value, or one clear error."""

from dataclasses import replace
from itertools import pairwise
from math import log
from typing import Any

import pytest
import torch
from digits_net import trained_net, unseen
from odd_models import EVERY, Shades, accuracy, brightness, grey
from torch import Tensor

from morex.attacks import (
    PGD,
    Attack,
    AutoAttack,
    DeepFool,
    ExpertTransfer,
    GateSteering,
    InTurn,
    OfLogits,
    RayS,
    Targeted,
    WorstOfDraws,
    cross_entropy,
    fooled,
)
from morex.attacks.gradients import finite, watched
from morex.attacks.losses import margin, scale_free_cross_entropy
from morex.core.seeding import generator_for
from morex.data import ImageSet
from morex.evaluation import Row, evaluate
from morex.perturbations import L1, L2, Ball, Linf
from morex.training import Max, Single

NAN, INF = torch.nan, torch.inf


def test_a_wrong_class_fools_and_so_does_an_answer_that_is_not_finite():
    logits = torch.tensor([[2.0, 1], [1, 2], [INF, 1], [NAN, 1], [2, NAN], [2, -INF], [1, 1]])
    expected = [False, True, True, True, True, True, False]
    assert fooled(logits, torch.zeros(7, dtype=torch.int64)).tolist() == expected


@pytest.mark.parametrize("attack", [a for name, a in EVERY.items() if name != "fab-t"], ids=str)
@pytest.mark.parametrize("odd", [INF, NAN])
def test_every_attack_finds_answers_that_are_not_finite(attack: Attack, odd: float):
    def model(x: Tensor) -> Tensor:
        """Right at the image; the true class gets an odd logit where it is brighter or darker."""
        m = brightness(x)
        elsewhere = (m - 128 / 255).abs() > 0.005
        return torch.cat([2 - m, m], 1).masked_fill(torch.tensor([True, False]) & elsewhere, odd)

    assert accuracy(model, attack, grey(3)) == 0


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize(
    "attack",
    [
        PGD(L2(3.0), random_start=False),
        PGD(L2(3.0), random_start=False, stop_when_fooled=True),
        PGD(Linf(0.3), random_start=False),
        PGD(L1(30.0), random_start=False),
        PGD((L2(3.0), Linf(0.01)), random_start=False),
        DeepFool(L2(3.0)),
        DeepFool(Linf(0.3)),
        AutoAttack(L2(3.0), ("apgd-ce",), steps=20),
    ],
    ids=str,
)
def test_an_infinite_slope_does_not_end_a_search(attack: Attack, label: int):
    def model(x: Tensor) -> Tensor:
        m = brightness(x.sqrt())  # a gamma correction: its slope at black is infinite
        return torch.cat([0.7 - m, m - 0.7], 1).roll(label, 1)

    data = grey(2, label)
    data.images[..., 0, 0] = 0
    assert accuracy(model, attack, data) == 0


def test_gradients_become_finite_and_sane_ones_keep_their_bits():
    odd = torch.tensor([NAN, INF, -INF, 1.5]).view(1, 1, 2, 2)
    most = torch.finfo(torch.float32).max
    assert finite(odd).flatten().tolist() == [0, most, -most, 1.5]
    sane = torch.randn(3, 3, 4, 4)
    assert torch.equal(finite(sane), sane)


def test_a_watch_counts_every_image_once():
    x = torch.full((3, 3, 2, 2), 0.5)
    x[1, 0, 0, 0] = 0
    y = torch.tensor([0, 0, 0])

    def model(z: Tensor) -> Tensor:
        m = brightness(z.sqrt())
        return torch.cat([m, 0.1 * m], 1) * torch.tensor([[1.0], [1.0], [0.0]])[: len(z)]

    attack = PGD(L2(0.01), steps=3, random_start=False)
    with watched(x) as watch:
        attack(model, x, y)
    assert watch.not_finite.tolist() == [False, True, False]
    assert watch.zero.tolist() == [False, False, True]


def test_a_watch_knows_which_images_a_part_of_a_search_gets():
    x = torch.full((3, 3, 2, 2), 0.5)
    x[2, 0, 0, 0] = 0

    def model(z: Tensor) -> Tensor:
        m = brightness(z.sqrt())
        return torch.cat([m, 0.1 * m], 1)

    attack = InTurn((PGD(L2(0.01), steps=2, random_start=False),))
    with watched(x) as watch:
        attack(model, x, torch.tensor([1, 0, 0]))  # the first image is wrong already
    assert watch.not_finite.tolist() == [False, False, True]


def sure_where_white(x: Tensor) -> Tensor:
    """White: wrong, with a cross-entropy of 0.80; otherwise right, with 0.92."""
    white = torch.tensor([0.45, 0.549, 0.001])
    return torch.where(brightness(x) > 0.5, white, torch.tensor([0.4, 0.3, 0.3])).log()


@pytest.mark.parametrize("seed", range(3))
def test_more_draws_never_raise_accuracy(seed: int):
    black = ImageSet(
        torch.zeros(60, 3, 2, 2, dtype=torch.uint8), torch.zeros(60).long(), ("a", "b", "c")
    )
    counts = (1, 2, 3, 5, 10, 20)
    found = [
        evaluate(sure_where_white, black, (Row("r", WorstOfDraws(Shades(), k)),), seed=seed)
        for k in counts
    ]
    right = [torch.tensor(outcomes.right["r"]) for outcomes in found]
    for fewer, more in pairwise(right):
        assert not (more & ~fewer).any()
    assert right[0].any()
    assert not right[-1].any()


def crossing(x: Tensor) -> Tensor:
    """Wrong in between; further up right again, and with a larger cross-entropy."""
    m = brightness(x)
    first = torch.cat([1 - m, 0 * m, -9 + 0 * m], 1)  # a slope, to lead the search upwards
    wrong = torch.tensor([0.45, 0.549, 0.001]).log() - m * torch.tensor([0.1, 0, 0])
    beyond = torch.tensor([0.34, 0.33, 0.33]).log() - m * torch.tensor([1e-4, 0, 0])
    return torch.where(m < 0.53, first, torch.where(m < 0.57, wrong, beyond))


class Whole:
    """A model made of one expert, which it is."""

    experts = (crossing,)

    def __call__(self, x: Tensor) -> Tensor:
        return crossing(x)


@pytest.mark.parametrize("model", [crossing, Whole()])
@pytest.mark.parametrize(
    "attack",
    [
        PGD(Linf(0.1), steps=10, random_start=False),
        PGD(Linf(0.1), steps=10, random_start=False, restarts=2),
        ExpertTransfer(Linf(0.1), steps=10),
    ],
    ids=["pgd", "restarts", "transfer"],
)
def test_an_iterate_that_fools_outranks_a_larger_loss(model, attack: Attack):
    data = ImageSet(grey(4).images, grey(4).labels, ("a", "b", "c"))
    assert accuracy(model, attack, data) == 0


def test_msd_takes_the_step_that_fools():
    data = ImageSet(grey(2).images, grey(2).labels, ("a", "b", "c"))
    balls = (Linf(0.05), Linf(0.08))  # in one step, the first fools and the second goes too far
    attack = PGD(balls, steps=1, relative_step=1, random_start=False)
    assert accuracy(crossing, attack, data) == 0
    assert accuracy(crossing, attack.by_loss(), data) == 1


def test_training_is_after_the_largest_loss():
    x, y = torch.full((2, 3, 2, 2), 128 / 255), torch.tensor([0, 0])
    search = PGD(Linf(0.1), steps=10, random_start=False)
    draws = WorstOfDraws(Shades(), draws=9)
    assert Single((search,)).members == (search.by_loss(),)
    batch = Max((search, draws)).build(crossing, x, y, 0, torch.Generator().manual_seed(0))
    assert not fooled(crossing(batch.x), y).any()
    assert cross_entropy(crossing(batch.x), y).min() > 1.07


@pytest.mark.parametrize("attack", [a for n, a in EVERY.items() if n != "around"], ids=str)
def test_a_model_with_one_logit_is_refused(attack: Attack):
    x, y = torch.rand(2, 3, 4, 4), torch.tensor([0, 0])
    with pytest.raises(ValueError, match=r"K >= 2 classes, got \(2, 1\)|got \(1, 1\)"):
        attack(brightness, x, y)


def test_evaluation_refuses_one_logit_and_labels_that_the_model_does_not_have():
    with pytest.raises(ValueError, match=r"expected logits of shape \(4, K\) .* got \(4, 1\)"):
        accuracy(brightness, WorstOfDraws(Shades()), grey(4))
    labels = torch.tensor([0, 2])
    data = ImageSet(grey(2).images, labels, ("a", "b", "c"))
    with pytest.raises(ValueError, match="2 classes, so expected labels from 0 to 1, got 2"):
        accuracy(two_classes, WorstOfDraws(Shades()), data)


def two_classes(x: Tensor) -> Tensor:
    m = brightness(x)
    return torch.cat([0.55 - m, m - 0.55], 1)


@pytest.mark.parametrize("label", [-100, -1, 2])
@pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY)
def test_labels_that_the_model_does_not_have_raise(attack: Attack, label: int):
    x, y = torch.rand(2, 3, 4, 4), torch.tensor([0, label])
    with pytest.raises(ValueError, match=rf"labels: .* got {label}"):
        attack(two_classes, x, y)


@pytest.mark.parametrize("ball", [Linf(0.1), L2(0.7), L1(4.0)], ids=str)
def test_autoattack_has_targets_with_few_classes_too(ball: Ball):
    assert accuracy(two_classes, AutoAttack(ball, attacks=("apgd-t",), steps=5), grey()) == 0


def test_autoattack_takes_every_target_of_few_classes():
    """Only the least likely class can be reached, and only apgd-t is asked."""

    def model(x: Tensor) -> Tensor:
        m = brightness(x)
        return torch.cat([m * 0, m * 0 - 1, 10 * (m - 0.55) - 2], 1)

    for eps, right in ((40.0, 0), (1.0, 3)):
        attack = AutoAttack(L1(eps), attacks=("apgd-t",), steps=20)
        assert accuracy(model, attack, grey()) == right / 3


def test_few_classes_are_enough_for_targets():
    assert accuracy(two_classes, Targeted(PGD(Linf(0.1), steps=5), rank=9), grey()) == 0


def rigid(x: Tensor) -> Tensor:
    """Always wrong, and unable to take an empty batch."""
    return x.view(x.size(0), -1)[:, :2] * 0 + torch.tensor([0.0, 1.0])


@pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY)
def test_images_that_are_all_wrong_need_no_attack(attack: Attack):
    assert accuracy(rigid, attack, grey()) == 0
    assert attack(rigid, torch.rand(0, 3, 4, 4), torch.zeros(0).long()).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("attack", EVERY.values(), ids=EVERY)
def test_half_and_double_precision_stay_what_they_are(attack: Attack, dtype: torch.dtype):
    def model(x: Tensor) -> Tensor:
        return two_classes(x)

    x, y = torch.full((3, 3, 4, 4), 0.5, dtype=dtype), torch.zeros(3).long()
    moved = attack(model, x, y)
    assert moved.dtype == dtype
    assert moved.shape == x.shape
    assert 0 <= moved.min() <= moved.max() <= 1
    if isinstance(attack, DeepFool | RayS):
        assert dtype == torch.bfloat16 or fooled(model(moved), y).all()
        coarse = 2 * torch.finfo(dtype).eps * (x[0].numel() ** 0.5)
        assert attack.perturbation.norm(moved - x).max() <= attack.perturbation.eps + coarse


@pytest.mark.parametrize("ball", [Linf(0.05), L2(0.5), L1(3.0)], ids=str)
def test_the_scale_of_the_logits_does_not_blind_pgd(ball: Ball):
    net = trained_net()
    x, y = unseen(150)

    def fallen(scale: float, **options: Any) -> float:
        """Return the percentage of images that are fooled or wrong already."""
        attack = PGD(ball, 20, 5, stop_when_fooled=True, **options)

        def model(z: Tensor) -> Tensor:
            return scale * net(z)

        return 100 * float(fooled(model(attack(model, x, y)), y).float().mean())

    ordinary = fallen(1)
    for scale in (1e-30, 1e-4, 1e-3, 10, 1e2, 1e4, 1e30):
        assert fallen(scale) >= ordinary - 2  # one image in 150 is 0.7
    plain = OfLogits(cross_entropy)
    assert fallen(1, loss=plain) == ordinary
    assert fallen(1e4, loss=plain) < ordinary - 10
    assert GateSteering(ball, pushes=(1.0,)).search(net, x[:1], y[:1], generator_for(0)).shape[0]


def losses_and_gradients(logits: Tensor, y: Tensor, *losses: Any) -> list[tuple[Tensor, Tensor]]:
    found = []
    for loss in losses:
        leaf = logits.clone().requires_grad_()
        value = loss(leaf, y)
        found.append((value, torch.autograd.grad(value.sum(), leaf)[0]))
    return found


def test_at_an_ordinary_scale_it_is_the_cross_entropy_to_the_last_bit():
    logits, y = 8 * torch.randn(50, 5), torch.randint(5, (50,))
    (one, its), (other, others) = losses_and_gradients(
        logits, y, cross_entropy, scale_free_cross_entropy
    )
    assert torch.equal(one, other)
    assert torch.equal(its, others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_at_another_scale_the_gradient_is_that_of_a_spread_of_ten(dtype: torch.dtype):
    ordinary = torch.tensor([[10.0, 5, 0], [3, 2, -7]])
    y = torch.tensor([0, 1])
    ((_, gradient),) = losses_and_gradients(ordinary, y, cross_entropy)
    for scale in (1e-3, 1e2, 3e3) if dtype == torch.float16 else (1e-30, 1e-3, 1e2, 1e30):
        ((value, its),) = losses_and_gradients(
            (scale * ordinary).to(dtype), y, scale_free_cross_entropy
        )
        torch.testing.assert_close(its, (gradient / scale).to(dtype), rtol=2e-2, atol=0)
        plain = cross_entropy(scale * ordinary, y)  # 0 where it underflows
        torch.testing.assert_close(value.clamp_min(0), plain, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0, 3e38, 1e-40])
def test_equal_logits_have_a_finite_loss(value: float):
    logits, y = torch.full((2, 4), value), torch.tensor([0, 3])
    ((found, gradient),) = losses_and_gradients(logits, y, scale_free_cross_entropy)
    assert found.tolist() == pytest.approx([log(4)] * 2)
    assert gradient.isfinite().all()


def test_losses_are_in_order_at_any_scale():
    gaps = torch.tensor([0.0, 0.02, 0.5, 3, 30, 81, 82, 99, 101, 1e3, 1e6, 1e38])
    logits = torch.stack([gaps, 0 * gaps, 0 * gaps], 1)
    values = scale_free_cross_entropy(logits, torch.zeros(12).long())
    assert (values[:-1] >= values[1:]).all()
    assert (values[8:-1] > values[9:]).all()


def test_an_objective_descends_the_plain_cross_entropy():
    (member,) = Single((PGD(Linf(0.1)),)).members
    assert member == replace(PGD(Linf(0.1)), goal="loss", loss=OfLogits(cross_entropy))
    other = OfLogits(margin)
    (member,) = Single((PGD(Linf(0.1), loss=other),)).members
    assert member == replace(PGD(Linf(0.1)), goal="loss", loss=other)
