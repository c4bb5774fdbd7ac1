"""The search of TRADES, against the published algorithm written out."""

import pytest
import torch
import torch.nn.functional as F
from small_training import Small
from torch import Tensor

from morex.attacks import PGD, AwayFromOwnAnswers, Passes, frozen
from morex.core.seeding import generator_for
from morex.perturbations import L2, Linf

EPS, STEPS = 0.1, 3
STEP = 1.5 * EPS / STEPS


def images() -> Tensor:
    return torch.rand(4, 3, 8, 8, generator=generator_for(5))


def as_published(model: Small, x: Tensor, noise: Tensor) -> Tensor:
    """PGD of Zhang et al.: sign steps up the divergence of the answer to x from that to x'."""
    natural = F.softmax(model(x), dim=1).detach()
    moved = (x + 0.001 * noise).clamp(0, 1)
    for _ in range(STEPS):
        moved.requires_grad_()
        logs = F.log_softmax(model(moved), dim=1)
        (gradient,) = torch.autograd.grad((natural * (natural.log() - logs)).sum(), [moved])
        moved = moved.detach() + STEP * gradient.sign()
        moved = torch.min(torch.max(moved, x - EPS), x + EPS).clamp(0, 1)
    return moved


def test_it_is_the_search_of_trades() -> None:
    model, x, y = Small(1), images(), torch.arange(4)
    pgd = PGD(Linf(EPS), STEPS, 1.5, keep="last")
    noise = torch.empty_like(x).normal_(generator=generator_for(0))
    with frozen(model):
        found = AwayFromOwnAnswers(pgd).search(model, x, y, generator_for(0))
        expected = as_published(model, x, noise)
        plain = pgd.by_loss().search(model, x, y, generator_for(0))
    assert (found - expected).abs().max() < 1e-6
    assert (found - plain).abs().max() > 0.5 * EPS  # labels lead elsewhere


def test_labels_have_no_part_in_it() -> None:
    model, x = Small(1), images()
    attack = AwayFromOwnAnswers(PGD((Linf(EPS), L2(0.3)), STEPS)).by_loss()
    with frozen(model):
        found = [
            attack.search(model, x, y, generator_for(0))
            for y in (torch.zeros(4).long(), torch.ones(4).long())
        ]
    assert torch.equal(*found)


def test_what_it_costs_and_what_judges_it() -> None:
    last = PGD(Linf(EPS), STEPS, keep="last")
    attack = AwayFromOwnAnswers(last)
    assert attack.perturbation == Linf(EPS)
    assert attack.passes == Passes(STEPS + 1, STEPS)
    assert attack.judge == last.by_loss()
    assert not attack.takes_single_step
    with pytest.raises(ValueError, match="starts once, beside x; got 2 restarts"):
        AwayFromOwnAnswers(PGD(Linf(EPS), STEPS, restarts=2))
