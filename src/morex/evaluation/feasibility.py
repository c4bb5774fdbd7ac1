"""Checks that an attack returned only images that its perturbation allows."""

import torch
from torch import Tensor

from morex.perturbations import Ball, Perturbation

TOLERANCE = 1e-5
"""Rounding may put an image this far outside its ball, plus this times eps."""


class InfeasibleError(RuntimeError):
    """An attack returned an image that its perturbation does not allow."""


def check_feasible(
    perturbation: Perturbation | tuple[Perturbation, ...], x: Tensor, moved: Tensor, name: str
) -> None:
    """Check that every x' is finite, in [0, 1], and, for balls, in one of the balls.

    Raises:
        InfeasibleError: if one is not; the message has the largest violation.
    """
    if moved.shape != x.shape:
        raise InfeasibleError(f"{name}: returned images that are not finite or of another shape")
    if not len(moved):
        return
    balls = balls_of(perturbation)
    beyond = [b.norm(moved - x) - b.eps * (1 + TOLERANCE) for b in balls]
    # from each image to its nearest ball
    farthest = torch.stack(beyond).amin(0).amax() if balls else moved.new_zeros(())
    ends = torch.stack([moved.amin(), moved.amax(), farthest.to(moved.dtype)])
    finite = moved.isfinite().all().to(moved.dtype)
    # one transfer from the device, not four
    low, high, distance, sound = torch.cat([ends, finite[None]]).tolist()
    if not sound:
        raise InfeasibleError(f"{name}: returned images that are not finite or of another shape")
    if low < 0 or high > 1:
        raise InfeasibleError(f"{name}: returned pixels in [{low:.4g}, {high:.4g}]")
    if distance > TOLERANCE:
        union = " and ".join(map(str, balls))
        raise InfeasibleError(f"{name}: returned an image {distance:.4g} outside {union}")


def balls_of(perturbation: Perturbation | tuple[Perturbation, ...]) -> tuple[Ball, ...]:
    """Return the balls whose union is searched; none if any part is a transform."""
    parts = perturbation if isinstance(perturbation, tuple) else (perturbation,)
    balls = tuple(part for part in parts if isinstance(part, Ball))
    return balls if len(balls) == len(parts) else ()
