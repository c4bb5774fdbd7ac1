"""N-FGSM against its formula."""

import pytest
import torch
from linear import Counting, random_linear
from torch import Tensor

from morex.attacks import PGD, JudgedBy, NoisyFGSM, Passes, SearchAround, frozen
from morex.attacks.losses import CROSS_ENTROPY
from morex.core.seeding import generator_for
from morex.perturbations import L1, L2, Around, Ball, Fog, Linf, compose

EPS = 0.03


def found(attack: NoisyFGSM, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Return images and what the attack makes of them on a linear model."""
    model, x, y = random_linear(4, seed)
    with frozen(model):
        return x, attack.search(model, x, y, generator_for(seed))


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_a_step_of_eps_from_noise_that_is_not_projected(noise: float) -> None:
    model, x, y = random_linear(4, 1)
    x, moved = found(NoisyFGSM(Linf(EPS), noise))
    uniform = torch.rand(x.shape, dtype=x.dtype, generator=generator_for(1)) * 2 - 1
    noisy = (x + noise * EPS * uniform).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(CROSS_ENTROPY(model, noisy, y)[1].sum(), noisy)
    expected = (noisy + EPS * gradient.sign()).clamp(0, 1)
    torch.testing.assert_close(moved, expected.detach(), rtol=0, atol=1e-7)
    lengths = Linf(1).norm(moved - x)
    assert (lengths > (0.9 + noise) * EPS).any()  # outside of the ball: nothing projects
    assert (lengths <= (1 + noise) * EPS + 1e-7).all()
    assert moved.amin() >= 0
    assert moved.amax() <= 1


@pytest.mark.parametrize("ball", [Linf(EPS), L2(0.5), L1(1.0)], ids=str)
def test_it_stays_in_the_box_and_raises_the_loss(ball: Ball) -> None:
    model, x, y = random_linear(4, 2, margin=0.0)
    x, noisy = found(NoisyFGSM(ball), seed=2)
    moved = NoisyFGSM(ball, noise=1e-6)(model, x, y)
    for images in (noisy, moved):
        assert 0 <= images.amin() <= images.amax() <= 1
    before, after = (CROSS_ENTROPY(model, images, y)[1] for images in (x, moved))
    assert (after >= before - 1e-6).all()
    assert after.sum() > before.sum() + 1


def test_it_costs_what_it_declares() -> None:
    model, x, y = random_linear(4, 1)
    counting = Counting(model)
    NoisyFGSM(Linf(EPS)).search(counting, x, y, generator_for(0))
    assert counting.calls == [len(x)]
    assert NoisyFGSM(Linf(EPS)).passes == Passes(1, 1)


def test_a_training_with_it_is_validated_with_pgd() -> None:
    assert NoisyFGSM(Linf(EPS)).judge == PGD(Linf(EPS), steps=10).by_loss()
    three = PGD(Linf(EPS), steps=3)
    attack = JudgedBy(NoisyFGSM(Linf(EPS)), three)
    assert attack.judge == three.by_loss()
    around = compose(Fog(0.15, 0.6), Linf(EPS))
    assert isinstance(around, Around)
    assert SearchAround(around, attack).judge == SearchAround(around, three.by_loss())
    for itself in (three.by_loss(), SearchAround(around, three)):
        assert itself.judge is itself


def test_bad_settings_raise() -> None:
    with pytest.raises(ValueError, match=r"noise > 0, got 0\.0"):
        NoisyFGSM(Linf(EPS), noise=0.0)
    with pytest.raises(ValueError, match="takes a step in a ball, got Fog"):
        NoisyFGSM(Fog(0.1, 0.6))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"judged_by searches L2\(eps=1\), expected Linf"):
        JudgedBy(NoisyFGSM(Linf(EPS)), PGD(L2(1.0)))
