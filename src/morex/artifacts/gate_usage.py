"""How a gate spreads its weight over the experts of a mixture."""

from pydantic import Field

from morex.artifacts.schema import Schema


class GateUsage(Schema):
    """The gate's weights, measured on test images under each row of a suite.

    Attributes:
        experts: the mixture's experts.
        weights: for each row the mean weight of every expert; they sum to 1.
        leads: for each row the share of images on which an expert has the largest weight.
        entropy: for each row the mean over the images of -sum_i w_i log2 w_i, in bits: 0 if one
            expert has all the weight, log2(experts) if all have the same. Older files lack it.
        n: number of images.
    """

    experts: tuple[str, ...]
    weights: dict[str, tuple[float, ...]]
    leads: dict[str, tuple[float, ...]]
    entropy: dict[str, float] = Field(default_factory=dict)
    n: int
