"""What a page asks of the playground, checked."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from morex.artifacts.schema import problems
from morex.core.near import not_among
from morex.deploy.lab import MOST_STEPS, AttackKind, Lab, Trial

Factor = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
"""A strength, relative to that of the recipe."""


Name = Annotated[str, Field(max_length=1000)]
"""The name of a perturbation."""

_MOST_VALUES = 1000
"""How many values a wish may have: each wrong one costs an error message."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WishedAttack(_Form):
    """An attack: its kind, the name of what it searches, its radius and its steps."""

    kind: AttackKind
    within: Name
    radius: Factor = 1.0
    steps: int = Field(default=20, ge=1, le=MOST_STEPS)


class Wish(_Form):
    """A picture, and what to do to it.

    Attributes:
        sample: the number of a sample.
        picture: otherwise a picture that the server has prepared, as base64 of a PNG.
        strengths: factors on the strengths of transforms, by name.
        attack: None for no attack.
        seed: of everything that is drawn.
    """

    sample: int | None = Field(default=None, ge=0)
    picture: str | None = None
    strengths: Mapping[Name, Factor] = Field(default_factory=dict)
    attack: WishedAttack | None = None
    seed: int = Field(default=0, ge=0, lt=2**31)

    @property
    def trial(self) -> Trial:
        """What to do to the picture."""
        if self.attack is None:
            return Trial(self.strengths, seed=self.seed)
        way = (self.attack.kind, self.attack.within)
        return Trial(self.strengths, way, self.attack.radius, self.attack.steps, self.seed)


def read_wish(content: bytes, lab: Lab, samples: int) -> Wish:
    """Return what a page asks.

    Args:
        content: the JSON that it sent.
        lab: the perturbations that there are.
        samples: how many samples there are.

    Raises:
        ValueError: if something is not of its form or out of its range. The message says what.
    """
    if content.count(b",") >= _MOST_VALUES:
        raise ValueError(f"expected at most {_MOST_VALUES} values")
    try:
        wish = Wish.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(problems(error)) from None
    if (wish.sample is None) == (wish.picture is None):
        raise ValueError("expected either a sample or a picture")
    if wish.sample is not None and wish.sample >= samples:
        raise ValueError(f"sample: expected a number below {samples}, got {wish.sample}")
    for name, factor in wish.strengths.items():
        if name not in lab.transforms:
            raise ValueError(not_among("transform", name, lab.transforms))
        _check_strength(lab, name, factor)
    if wish.attack:
        if wish.attack.within not in lab.searched:
            raise ValueError(not_among("perturbation to search", wish.attack.within, lab.searched))
        _check_strength(lab, wish.attack.within, wish.attack.radius)
    return wish


def _check_strength(lab: Lab, name: str, factor: float) -> None:
    """Raise if a perturbation does not have a strength."""
    if factor not in (0, 1):
        try:
            lab.named(name).scaled(factor)
        except NotImplementedError:
            raise ValueError(f"{name}: expected a strength of 0 or 1, got {factor:g}") from None
