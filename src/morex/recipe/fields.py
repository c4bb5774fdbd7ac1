"""Fields that several sections of a recipe have."""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    model_validator,
)
from pydantic_core import CoreSchema

from morex.attacks import (
    PGD,
    Attack,
    AwayFromOwnAnswers,
    DrawnSteering,
    JudgedBy,
    Keep,
    NoisyFGSM,
)
from morex.perturbations import Ball, Parametric
from morex.recipe.keys import InKey
from morex.recipe.numbers_as_text import with_strict_numbers
from morex.training.config import TrainingConfig


class Strict(BaseModel):
    """Base of everything in a recipe: immutable, no unknown keys, strict numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema, in which no value is taken for another type of value."""
        return with_strict_numbers(handler(source))  # type: ignore[no-any-return]


def _strict_training(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    schema = handler.resolve_ref_schema(handler(source))
    return with_strict_numbers({k: part for k, part in schema.items() if k != "ref"})  # type: ignore[no-any-return]


Training = Annotated[TrainingConfig, GetPydanticSchema(_strict_training)]
"""How a model is trained, with strict numbers as in the rest of a recipe."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError(f"names something twice: {', '.join(names)}")
    return names


AnyNames = Annotated[tuple[str, ...], BeforeValidator(_as_list), AfterValidator(_different)]
"""Names, each once; a single one may be written without a list."""

Names = Annotated[AnyNames, Field(min_length=1)]
"""One or more of them."""

Shares = dict[str, Annotated[int, Field(ge=1)]]
"""Parts of a batch by name."""


class SingleStep(Strict):
    """Training with one step from a noisy image (``NoisyFGSM``) instead of PGD.

    Args:
        noise: the radius of the noise, in radii of the ball.
    """

    noise: float = Field(default=2.0, gt=0)


class TradesLoss(Strict):
    """Training with TRADES (``Trades``) instead of the cross-entropy on x'.

    Args:
        beta: the weight of the divergence.
    """

    beta: float = Field(default=6.0, gt=0)


class InnerSearch(Strict):
    """The PGD of training and validation in every ball; transforms are drawn once.

    Args:
        steps, relative_step, random_start, restarts, keep: as for ``PGD``.
        push: if positive, each example also steers the gate of a mixture, to an expert that is
            drawn for it (``DrawnSteering``).
        single_step: if it is set, the training takes a single step, and PGD with the budget above
            only validates.
    """

    steps: int = Field(default=10, ge=1)
    relative_step: float = Field(default=2.5, gt=0)
    random_start: bool = True
    restarts: int = Field(default=1, ge=1)
    push: Annotated[float, Field(ge=0), InKey.IF_CHANGED] = 0
    keep: Annotated[Keep, InKey.IF_CHANGED] = "best"
    single_step: Annotated[SingleStep | None, InKey.IF_CHANGED] = None

    @model_validator(mode="after")
    def _can_steer(self) -> "InnerSearch":
        if self.push and not (self.random_start and self.restarts == 1):
            raise ValueError("push: steering needs random_start: true and restarts: 1")
        if self.push and self.single_step:
            raise ValueError("push: steering needs PGD; remove single_step")
        if self.push and self.keep != "best":
            raise ValueError("push: steering keeps the best iterate; remove keep")
        return self

    @model_validator(mode="after")
    def _has_a_last(self) -> "InnerSearch":
        if self.keep == "last" and self.restarts > 1:
            raise ValueError(f"keep: last needs a single restart, got {self.restarts} restarts")
        return self

    @property
    def budget(self) -> dict[str, Any]:
        """The arguments of a plain ``PGD``."""
        return self.model_dump(exclude={"push", "single_step"})

    def attack(self, ball: Ball | Parametric) -> Attack:
        """Return the search of a ball, or of parameters, in which a single step is one of PGD."""
        if self.push:
            return DrawnSteering(ball, self.steps, self.relative_step, self.push)
        pgd = PGD(ball, **self.budget)
        if not self.single_step:
            return pgd
        step: Attack = replace(pgd, steps=1, relative_step=1.25, keep="last", restarts=1)
        if isinstance(ball, Ball):
            step = NoisyFGSM(ball, self.single_step.noise)
        return JudgedBy(step, pgd)

    def away_from_own_answers(self, searched: Ball | Parametric | tuple[Ball, ...]) -> Attack:
        """Return the search of TRADES in a ball, in a union of balls, or of parameters."""
        return AwayFromOwnAnswers(PGD(searched, **self.budget))
