"""Checks that a user's perturbation keeps the rules, by trying it on a few images."""

import torch
from torch import Tensor

from morex.core.seeding import generator_for
from morex.core.units import with_article
from morex.perturbations.base import Ball, Perturbation, Transform
from morex.perturbations.parametric import Parametric


class PerturbationError(ValueError):
    """A perturbation breaks one of the rules for perturbations."""


def check_perturbation(perturbation: Perturbation) -> None:
    """Try a transform, a ball or a perturbation with parameters on random images of 16x16 pixels.

    Raises:
        PerturbationError: if the result has another shape, type or device, is not finite or is
            outside [0, 1], or if it depends on anything besides the images and the generator. The
            message has the result and what was expected.
    """
    x = torch.rand(4, 3, 16, 16, dtype=torch.float32, generator=generator_for(0, "check"))
    if isinstance(perturbation, Transform):
        _check_transform(perturbation, x)
    elif isinstance(perturbation, Ball):
        _check_ball(perturbation, x)
    elif not isinstance(perturbation, Parametric):
        raise PerturbationError(
            f"{perturbation!r} is no Transform, Ball or Parametric; derive its class from one of "
            "them"
        )
    if isinstance(perturbation, Parametric):
        _check_points(perturbation, x)


def _check_transform(transform: Transform, x: Tensor) -> None:
    before = x.clone()
    moved = _called(transform, x)
    _check_images(f"{transform}", moved, x)
    if not torch.equal(x, before):
        raise PerturbationError(f"{transform} changes its input in place; return new images")
    if not torch.equal(moved, _called(transform, x)):
        raise PerturbationError(
            f"{transform} returns different results for equal generators; draw everything from the "
            "generator: torch.rand(..., generator=generator, device=x.device)"
        )
    if len(_called(transform, x[:0])):
        raise PerturbationError(f"{transform} returns images for an empty batch; expected none")


def _called(transform: Transform, x: Tensor) -> Tensor:
    try:
        return transform(x, generator=generator_for(1, "check"))
    except Exception as error:
        raise PerturbationError(
            f"{transform} fails on {len(x)} images of shape {tuple(x.shape[1:])}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _check_ball(ball: Ball, x: Tensor) -> None:
    start = ball.random_start(x, generator_for(1, "check"))
    _check_images(f"{ball}: the random start", start, x)
    projected = ball.project(start + 1, x)
    _check_images(f"{ball}: the projection", projected, x)
    for what, moved in (("random start", start), ("projection", projected)):
        beyond = float((ball.norm(moved - x) - ball.eps).amax())
        if beyond > 1e-4 * max(ball.eps, 1):
            raise PerturbationError(f"{ball}: the {what} is {beyond:.4g} outside the ball")


def _check_points(perturbation: Parametric, x: Tensor) -> None:
    point = perturbation.random_point(x, generator_for(1, "check"))
    if point.ndim != 2 or len(point) != len(x) or bool((point.abs() > 1).any()):
        raise PerturbationError(
            f"{perturbation}: random_point returns shape {tuple(point.shape)}, in "
            f"[{float(point.amin()):.4g}, {float(point.amax()):.4g}]; expected ({len(x)}, P) in "
            "[-1, 1]"
        )
    if not torch.equal(point, perturbation.random_point(x, generator_for(1, "check"))):
        raise PerturbationError(
            f"{perturbation}: random_point differs for equal generators; draw from the generator"
        )
    point.requires_grad_()
    moved = perturbation.apply(x, point)
    _check_images(f"{perturbation}", moved.detach(), x)
    if not moved.requires_grad:
        raise PerturbationError(
            f"{perturbation}: the images of apply have no gradient in the point; a search would "
            "not know where to go"
        )


def _check_images(what: str, moved: object, x: Tensor) -> None:
    if not isinstance(moved, Tensor):
        raise PerturbationError(
            f"{what} is {with_article(type(moved).__name__)}, expected a tensor"
        )
    if moved.shape != x.shape:
        raise PerturbationError(
            f"{what} has shape {tuple(moved.shape)}, expected that of the images, {tuple(x.shape)}"
        )
    if moved.dtype != x.dtype or moved.device != x.device:
        raise PerturbationError(
            f"{what} is {moved.dtype} on {moved.device}, expected {x.dtype} on {x.device}"
        )
    if not bool(moved.isfinite().all()):
        raise PerturbationError(f"{what} has values that are not finite")
    low, high = float(moved.amin()), float(moved.amax())
    if low < 0 or high > 1:
        raise PerturbationError(
            f"{what} has values in [{low:.4g}, {high:.4g}], expected [0, 1]; clamp them"
        )
