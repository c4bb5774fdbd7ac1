"""TRADES, against its formula."""

import copy

import pytest
import torch
import torch.nn.functional as F
from small_training import Small

from morex.attacks import PGD, AwayFromOwnAnswers, SearchAround, frozen
from morex.core.seeding import generator_for
from morex.perturbations import Around, Fog, Linf, compose
from morex.training import Average, Batch, Max, Objective, SideBySide, Single, Trades


def images(seed: int) -> torch.Tensor:
    return torch.rand(4, 3, 8, 8, generator=generator_for(seed))


def test_the_loss_and_its_gradient_are_those_of_the_formula() -> None:
    x, moved, y = images(0), images(1), torch.tensor([3, 1, 4, 1])
    model, other = Small(2), Small(2)
    loss = Trades(beta=6).loss(model, Batch(moved, y, torch.zeros_like(y), x))
    loss.backward()

    natural, adversarial = other(x), other(moved)
    p, q = F.softmax(natural, dim=1), F.softmax(adversarial, dim=1)
    divergence = (p * (p / q).log()).sum() / 4
    expected = -natural.log_softmax(1)[torch.arange(4), y].mean() + 6 * divergence
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-6)


def test_labels_are_smoothed_for_the_unchanged_images_only() -> None:
    x, moved, y = images(0), images(1), torch.tensor([3, 1, 4, 1])
    batch, model = Batch(moved, y, torch.zeros_like(y), x), Small(2)
    model.eval()
    plain, smooth = (Trades().smoothed(share).loss(model, batch) for share in (0.0, 0.2))
    logs = model(x).log_softmax(1)
    uniform = -logs.mean(1).mean()
    named = F.nll_loss(logs, y)
    assert (smooth - plain).item() == pytest.approx((0.2 * (uniform - named)).item(), rel=1e-4)
    with pytest.raises(ValueError, match=r"beta of TRADES must be positive, got 0\.0"):
        Trades(0.0)
    around = compose(Fog(0.1, 0.6), Linf(0.1))
    assert isinstance(around, Around)
    search = SearchAround(around, AwayFromOwnAnswers(PGD(Linf(0.1), 2)))
    with pytest.raises(ValueError, match="a composition searches around a transformed one"):
        Trades().check(Single((search,)))
    Trades().check(Single((search.attack,)))
    with pytest.raises(ValueError, match="clean=None"):
        Trades().loss(model, Batch(x, y, y))


@pytest.mark.parametrize("kind", [Single, Max, Average, SideBySide])
def test_every_image_of_a_batch_comes_with_the_one_that_it_was_made_from(
    kind: type[Objective],
) -> None:
    weak, strong = (AwayFromOwnAnswers(PGD(Linf(eps), 1)) for eps in (0.01, 0.05))
    objective = kind((weak,) if kind is Single else (weak, strong))
    x, y, model = images(0), torch.arange(4), copy.deepcopy(Small())
    with frozen(model):
        batch = objective.build(model, x, y, 1, generator_for(0))
    assert batch.clean is not None
    moved = (batch.x - batch.clean).abs().amax((1, 2, 3))
    assert torch.all((moved > 0) & (moved < 0.051))
    labels = {
        tuple(image.flatten().tolist()): int(label) for image, label in zip(x, y, strict=True)
    }
    assert [labels[tuple(c.flatten().tolist())] for c in batch.clean] == batch.y.tolist()
