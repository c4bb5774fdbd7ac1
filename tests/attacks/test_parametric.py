"""PGD in perturbations with parameters: weather, warps and colours that an attacker chooses."""

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morex.attacks import PGD, Targeted, WorstOfDraws, fooled, search_of, search_slices
from morex.attacks.standing import ByHalves, leaving
from morex.core.seeding import generator_for
from morex.perturbations import (
    AdversarialElastic,
    AdversarialFog,
    AdversarialJpeg,
    AdversarialSnow,
    Flow,
    Fog,
    Linf,
    Parametric,
    Patch,
    Recolor,
    RotateTranslate,
    Snow,
)
from morex.perturbations.corruptions.jpeg import coded
from morex.perturbations.validate import PerturbationError, check_perturbation

CHOSEN: list[Parametric] = [
    AdversarialFog(1.0),
    AdversarialSnow(1.0),
    AdversarialElastic(0.1),
    AdversarialJpeg(1.0),
    Recolor(0.1),
    Flow(0.05),
    Patch(0.3),
]
DRAWN = [Fog(0.15, 0.6), Snow(2.5), RotateTranslate(20, 2)]
every = pytest.mark.parametrize("kind", [*CHOSEN, *DRAWN], ids=lambda kind: kind.name)
every_chosen = pytest.mark.parametrize("kind", CHOSEN, ids=lambda kind: kind.name)


def images(n: int = 4, side: int = 16, channels: int = 3) -> Tensor:
    """Return smooth images in whole levels."""
    coarse = torch.rand((n, channels, 4, 4), generator=generator_for(0, "images"))
    return (F.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1) * 255).round() / 255


class Smooth(nn.Module):
    """A small differentiable network with fixed weights."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        draws = generator_for(1, "weights")
        self.first = nn.Parameter(torch.randn((6, channels, 3, 3), generator=draws) * 0.5)
        self.last = nn.Parameter(torch.randn((5, 6 * 16), generator=draws) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        seen = F.adaptive_avg_pool2d(torch.tanh(F.conv2d(x - 0.5, self.first)), 4)
        return 4 * seen.flatten(1) @ self.last.T


def losses(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return F.cross_entropy(model(x), y, reduction="none")


@every
def test_no_strength_changes_nothing(kind: Parametric) -> None:
    x, none = images(), kind.scaled(0)
    point = none.random_point(x, generator_for(2))
    found = PGD(none, steps=2)(Smooth(), x, torch.arange(4))
    for moved in (none.apply(x, point), found):
        torch.testing.assert_close(moved, x, rtol=0, atol=1e-6)


@dataclass(frozen=True)
class Brighter(Parametric):
    """x' = x + eps (p_0 + p_1 / 2) / 1.5, for a search with a known answer."""

    name: ClassVar[str] = "brighter"
    eps: float

    def scaled(self, factor: float) -> "Brighter":
        return Brighter(self.eps * factor)

    def random_point(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand((len(x), 2), generator=generator) * 2 - 1

    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        change = self.eps * (point[:, 0] + point[:, 1] / 2) / 1.5
        return (x + change.view(-1, 1, 1, 1)).clamp(0, 1)


@every
def test_images_stay_in_the_box_and_have_their_shape(kind: Parametric) -> None:
    for x in (images(), torch.rand(2, 3, 9, 13).double(), torch.zeros(0, 3, 8, 8)):
        point = kind.random_point(x, generator_for(2, "point"))
        assert point.ndim == 2
        assert len(x) == len(point)
        for p in (point, point.sign()):
            moved = kind.apply(x, p.to(x.dtype))
            assert moved.shape == x.shape
            assert moved.dtype == x.dtype
            assert ((moved >= 0) & (moved <= 1)).all()


@every_chosen
def test_nothing_changes_without_strength(kind: Parametric) -> None:
    x = images()
    weakest = kind.scaled(0.0)
    moved = weakest.apply(x, weakest.random_point(x, generator_for(3, "p")))
    torch.testing.assert_close(moved, x, atol=1e-6, rtol=0)


@every
def test_each_keeps_the_rules(kind: Parametric) -> None:
    check_perturbation(kind)


@dataclass(frozen=True)
class Jumping(Brighter):
    """One whose images do not depend on the point smoothly."""

    def apply(self, x: Tensor, point: Tensor) -> Tensor:
        return super().apply(x, point.detach().round())


def test_points_without_a_gradient_are_refused() -> None:
    with pytest.raises(PerturbationError, match="no gradient in the point"):
        check_perturbation(Jumping(0.1))


@every_chosen
def test_grey_images_can_be_changed(kind: Parametric) -> None:
    x = images(channels=1)
    moved = kind.apply(x, kind.random_point(x, generator_for(4, "p")))
    assert moved.shape == x.shape
    assert not torch.equal(moved, x)


@every
def test_a_search_does_not_end_below_its_best_draw_or_its_start(kind: Parametric) -> None:
    x, model = images(8), Smooth()
    y = model(x).argmax(1)
    start = kind.apply(x, kind.random_point(x, generator_for(5, "search")))
    search = PGD(kind, steps=10, relative_step=4, goal="loss")
    found = search(model, x, y, generator=generator_for(5, "search"))
    before, after = losses(model, start, y), losses(model, found, y)
    assert (after >= before - 1e-5).all()
    assert after.mean() > before.mean() * 1.02
    more = PGD(kind, steps=10, relative_step=4, restarts=2, goal="loss")
    again = more(model, x, y, generator=generator_for(5, "search"))
    assert (losses(model, again, y) >= after - 1e-5).all()


def by_brightness(x: Tensor) -> Tensor:
    """Return logits for dark and bright; the border is a mean of 0.5."""
    difference = 10 * (x.mean((1, 2, 3)) - 0.5)
    return torch.stack([-difference, difference], 1)


def test_exactly_those_fall_that_the_best_point_fools() -> None:
    means = torch.tensor([0.1, 0.35, 0.399, 0.401, 0.45, 0.599, 0.601, 0.9])
    x = means.view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    y = (means > 0.5).long()
    for random_start, stop in ((True, True), (False, False)):
        search = PGD(
            Brighter(0.1), 20, random_start=random_start, stop_when_fooled=stop, relative_step=3
        )
        found = search(by_brightness, x, y)
        expected = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0]).bool()
        assert torch.equal(fooled(by_brightness(found), y), expected)


def test_one_step_from_the_middle_is_the_step_of_the_sign() -> None:
    x, y = torch.full((1, 1, 4, 4), 0.2), torch.tensor([0])
    search = PGD(Brighter(0.3), steps=1, relative_step=0.5, random_start=False, keep="last")
    torch.testing.assert_close(search(by_brightness, x, y), x + 0.3 * 0.5)


def test_snow_does_not_start_from_the_middle_where_no_flake_is() -> None:
    x = images(2).float()
    assert torch.equal(AdversarialSnow(0.6).apply(x, torch.zeros(2, 2 * x[0, 0].numel() + 1)), x)
    with pytest.raises(ValueError, match="has no middle to start from"):
        PGD(AdversarialSnow(0.6), random_start=False)


@every
def test_early_stop_by_halves_finds_the_same_decisions(kind: Parametric) -> None:
    x, model = images(8), Smooth()
    y = model(x).argmax(1)
    search = PGD(kind, steps=6, relative_step=4, restarts=2, stop_when_fooled=True)
    with leaving(ByHalves(every=2, least=1)):
        found = search(model, x, y, generator=generator_for(6, "search"))
    assert ((found >= 0) & (found <= 1)).all()
    # an example that falls in the first run is the same in both
    once = PGD(kind, steps=6, relative_step=4, stop_when_fooled=True)
    first = fooled(model(once(model, x, y, generator=generator_for(6, "search"))), y)
    assert (fooled(model(found), y) | ~first).all()


def test_the_fog_of_the_paper_is_one_of_those_that_can_be_chosen() -> None:
    x = images()
    for fog in (Fog(0.15, 0.6), Fog(-1.0, 1.0)):
        strongest = fog.apply(x, torch.ones(len(x), 1))
        assert ((strongest - fog(x)).abs() * 255).max() <= 1.001
        assert torch.equal(fog.apply(x, -torch.ones(len(x), 1)), x)


def test_the_snow_of_the_paper_is_one_of_those_that_can_be_chosen() -> None:
    x, snow = images(), Snow(2.5)
    drawn = torch.rand((len(x), 1, 1), generator=generator_for(7, "snow")).view(-1, 1)
    point = torch.cat([drawn * 2 - 1, torch.ones_like(drawn)], 1)
    same = (snow.apply(x, point) == snow(x, generator=generator_for(7, "snow"))).float().mean()
    assert same > 0.995


def test_the_gradient_of_the_snow_is_that_of_its_strength() -> None:
    dark, near = torch.full((1, 3, 8, 8), 0.2), torch.full((1, 3, 8, 8), 0.42)
    point = torch.tensor([[0.9, 0.0]], requires_grad=True)
    Snow(2.5).apply(dark, point).mean().backward()
    assert point.grad is not None
    assert point.grad[0, 1] == pytest.approx(0.2 * 1.5 / 2, rel=0.02)
    at_the_edge = torch.tensor([[-0.65, 0.0]], requires_grad=True)
    Snow(2.5).apply(near, at_the_edge).mean().backward()
    assert at_the_edge.grad is not None
    assert at_the_edge.grad[0, 0] > 0


def test_flow_moves_pixels_by_at_most_its_budget() -> None:
    x = torch.zeros(1, 1, 16, 16)
    x[0, 0, :, :8] = 1  # an edge
    moved = Flow(2 / 16).apply(x, torch.ones(1, 512))
    assert torch.equal(moved[0, 0, :, :6], x[0, 0, :, :6])
    assert (moved[0, 0, :, 6:8] == 0).all()  # x'(q) = x(q + 2)


def test_equal_colours_are_recoloured_alike() -> None:
    x = images()
    x[:, :, 3, 5] = x[:, :, 11, 2]
    moved = Recolor(0.2).apply(x, Recolor(0.2).random_point(x, generator_for(8, "p")))
    torch.testing.assert_close(moved[:, :, 3, 5], moved[:, :, 11, 2])
    assert ((moved - x).abs() <= 0.2 + 1e-6).all()


def test_a_patch_may_have_a_given_place() -> None:
    x, patch = torch.full((4, 3, 10, 12), 0.5), Patch(0.3, place=(1.0, 0.0))
    changed = (patch.apply(x, patch.random_point(x, generator_for(9, "p"))) != x).any(1)
    assert changed[:, 7:, :3].all()
    assert changed.sum() == 4 * 9
    with pytest.raises(ValueError, match=r"both of place in \[0, 1\]"):
        Patch(0.3, place=(0.5, 1.5))


def test_a_patch_is_one_square() -> None:
    x, patch = torch.full((50, 3, 10, 12), 0.5), Patch(0.3)
    point = patch.random_point(x, generator_for(9, "p"))
    changed = (patch.apply(x, point) != x).any(1)
    assert torch.equal(changed.sum((1, 2)), torch.full((50,), 9))
    assert (changed.any(2).sum(1) == 3).all()
    assert changed.any(2).float().mean(0).min() > 0  # every row, the border too
    assert changed.any(1).float().mean(0).min() > 0


def test_the_jpeg_is_that_of_pillow_but_for_its_colours() -> None:
    x = images(side=32, channels=1)
    weak = AdversarialJpeg(1e-9, quality=50).apply(x, torch.zeros(4, 1024))
    assert (weak * 255 - coded(x * 255, 50)).abs().mean() < 0.6
    far = AdversarialJpeg(2.0, quality=50).apply(x, torch.ones(4, 1024))
    assert (far - weak).abs().mean() > 0.05


def test_who_searches_what() -> None:
    def search(ball):
        return PGD(ball, steps=3)

    assert search_of(Fog(0, 1), search) == WorstOfDraws(Fog(0, 1))
    assert search_of(Flow(0.1), search) == PGD(Flow(0.1), steps=3)
    with pytest.raises(ValueError, match="or a perturbation with parameters"):
        PGD((Flow(0.1), Linf(0.1)))
    x, model = images(), Smooth()
    y = model(x).argmax(1)
    both = search_slices(
        [PGD(Flow(0.1), 2), PGD(Linf(0.1), 2)], model, [x, x], [y, y], generator_for(0, "b")
    )
    assert [part.shape for part in both] == [x.shape, x.shape]
    towards = Targeted(PGD(Recolor(0.3), 5), rank=2)(model, x, y)
    assert towards.shape == x.shape


@every_chosen
@pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf])
def test_budgets_are_checked(kind: Parametric, wrong: float) -> None:
    with pytest.raises(ValueError, match=type(kind).__name__):
        type(kind)(wrong)
