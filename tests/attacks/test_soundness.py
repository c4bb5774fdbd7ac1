"""All attacks on models with odd answers: sound, and never undone by a larger budget."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_models import EVERY, LINF, Shades, brightness
from torch import Tensor

from morex.attacks import PGD, Attack, RandomNoise, WorstOfDraws, fooled
from morex.evaluation.feasibility import balls_of

NAN, INF = torch.nan, torch.inf
SCALES = [0.0, 1e-40, 1e-4, 1.0, 1e2, 1e20, 1e38]


@dataclass(frozen=True)
class Odd:
    """A linear model whose answers, slopes, or scale are odd.

    Attributes:
        classes: number of classes.
        seed: of the weights.
        scale: a factor on the logits.
        odd: what one logit is where the image is bright; None for the logit as it is.
        where: from which brightness on.
        slope: how the model looks at pixels; some ways have infinite slopes, some none.
        half: whether it answers in half precision.
    """

    classes: int
    seed: int
    scale: float
    odd: float | None
    where: float
    slope: str
    half: bool

    def __call__(self, x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        weights = torch.randn(self.classes, 48, generator=generator)
        seen = SLOPES[self.slope](x.float()).view(x.size(0), -1) - 0.5
        logits = self.scale * (seen @ weights.T)
        if self.odd is not None:
            first = torch.arange(self.classes) == 0
            logits = logits.masked_fill(first & (brightness(x) > self.where), self.odd)
        return logits.half() if self.half else logits


SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda x: x,
    "root": lambda x: x.sqrt(),
    "coarse": lambda x: (8 * x).round() / 8,
    "detached": lambda x: x.detach(),
    "undefined": lambda x: torch.where(x > 0.5, x, (x - x.detach()).sqrt()),
}

ODD = st.builds(
    Odd,
    classes=st.sampled_from([2, 3, 5, 12]),
    seed=st.integers(0, 9),
    scale=st.sampled_from(SCALES),
    odd=st.sampled_from([None, None, NAN, INF, -INF, 3e38]),
    where=st.sampled_from([-1.0, 0.45, 0.5, 0.55]),
    slope=st.sampled_from([*SLOPES]),
    half=st.booleans(),
)
"""Finite numbers above 65504 are infinite in half precision, so these answers are odd as well."""


def images(count: int, seed: int, dtype: torch.dtype) -> Tensor:
    """Return noise with some black and white pixels."""
    noise = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return (1.4 * noise - 0.2).clamp(0, 1).to(dtype)


def answered(model: Odd, x: Tensor, seed: int) -> Tensor:
    """Return labels, most of them what the model answers."""
    y = model(x).nan_to_num().argmax(1) if len(x) else torch.zeros(0, dtype=torch.int64)
    y[seed % 3 :: 3] = seed % model.classes
    return y


@given(
    model=ODD,
    name=st.sampled_from([*EVERY]),
    count=st.integers(0, 4),
    seed=st.integers(0, 9),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
)
@settings(max_examples=250, derandomize=True, deadline=None)
def test_every_attack_is_sound(
    model: Odd, name: str, count: int, seed: int, dtype: torch.dtype
) -> None:
    attack, x = EVERY[name], images(count, seed, dtype)
    y = answered(model, x, seed)
    before = x.clone()
    moved = attack(model, x, y)
    assert torch.equal(x, before)
    assert moved.shape == x.shape
    assert moved.dtype == dtype
    assert moved.isfinite().all()
    assert ((moved >= 0) & (moved <= 1)).all()
    balls = balls_of(attack.perturbation)
    if count and balls:
        rounding = 1e-5 + torch.finfo(dtype).eps * x[0].numel() / 2
        beyond = [ball.norm((moved - x).double()) - ball.eps for ball in balls]
        assert torch.stack(beyond).amin(0).max() <= rounding


@given(model=ODD, count=st.integers(1, 4), seed=st.integers(0, 9), which=st.integers(0, 5))
@settings(max_examples=120, derandomize=True, deadline=None)
def test_a_larger_budget_never_gives_up_an_image(
    model: Odd, count: int, seed: int, which: int
) -> None:
    x = images(count, seed, torch.float32)
    y = answered(model, x, seed)
    fewer, more = NESTED[which]
    few, many = (fooled(model(attack(model, x, y)), y) for attack in (fewer, more))
    assert not (few & ~many).any()


_PGD = PGD(LINF, steps=3)
NESTED: list[tuple[Attack, Attack]] = [
    (WorstOfDraws(Shades(5), 2), WorstOfDraws(Shades(5), 6)),
    (RandomNoise(LINF, 1), RandomNoise(LINF, 8)),
    (_PGD, replace(_PGD, restarts=3)),
    (replace(_PGD, stop_when_fooled=True), replace(_PGD, stop_when_fooled=True, restarts=3)),
    (_PGD, replace(_PGD, stop_when_fooled=True)),
    (PGD((LINF, LINF), 3, restarts=1), PGD((LINF, LINF), 3, restarts=2)),
]
"""Pairs of which the second tries all that the first does, and more."""
