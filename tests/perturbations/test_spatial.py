"""Rotation, translation, scale and shear against scipy, and in simple cases."""

import numpy as np
import pytest
import torch
from linear import right
from scipy.ndimage import affine_transform
from torch import Tensor, nn

from morex.attacks import GridSearch, WorstOfDraws
from morex.perturbations import Fog, RotateTranslate, Scale, Shear, Spatial

TRANSFORMS = [RotateTranslate(30, 3), Scale(40), Shear(25)]


def images(n: int = 3, size: tuple[int, int] = (12, 17)) -> Tensor:
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(n))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_scipy(x: Tensor, linear: np.ndarray, shift: np.ndarray) -> Tensor:
    """Return images whose pixel (row, column) is x at linear @ (pixel - shift), from the centre."""
    height, width = x.shape[2:]
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    offset = centre - linear @ (centre + shift)
    moved = [
        [affine_transform(c.numpy(), linear, offset, order=1, mode="grid-constant") for c in image]
        for image in x
    ]
    return torch.tensor(np.array(moved))


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_the_middle_of_the_box_is_no_change(transform: Spatial) -> None:
    x = images()
    same = transform.apply(x, torch.zeros(len(x), transform.parameters))
    torch.testing.assert_close(same, x, atol=1e-5, rtol=0)
    torch.testing.assert_close(transform.scaled(0)(x, generator=generator()), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(12, 17), (16, 16)])
@pytest.mark.parametrize("point", [(0.6, 0, 0), (0, 1, 0), (0, 0, -0.5), (-1, 0.7, 0.3)])
def test_rotation_and_translation_are_those_of_scipy(
    size: tuple[int, int], point: tuple[float, float, float]
) -> None:
    transform, x = RotateTranslate(40, 2.5), images(2, size)
    moved = transform.apply(x, torch.tensor([point, point]))
    angle = np.radians(40 * point[0])
    # rows grow downwards: a turn to the right of what is seen
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([2.5 * point[2], 2.5 * point[1]])
    torch.testing.assert_close(moved, by_scipy(x, linear, shift), atol=2e-5, rtol=0)


def test_a_whole_pixel_is_a_shift_and_a_right_angle_a_turn() -> None:
    x = images(1, (8, 8))
    right_by_two = RotateTranslate(0, 2).apply(x, torch.tensor([[0.0, 1.0, 0.0]]))
    torch.testing.assert_close(right_by_two[..., 2:], x[..., :-2], atol=1e-5, rtol=0)
    assert right_by_two[..., :2].abs().max() < 1e-5
    turned = RotateTranslate(90, 0).apply(x, torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(turned, torch.rot90(x, -1, (2, 3)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("p", [-1.0, 0.5, 1.0])
def test_scale_and_shear_are_those_of_scipy(p: float) -> None:
    x, point = images(), torch.full((3, 1), p)
    factor = 1.4**p
    torch.testing.assert_close(
        Scale(40).apply(x, point),
        by_scipy(x, np.eye(2) / factor, np.zeros(2)),
        atol=2e-5,
        rtol=0,
    )
    lean = np.tan(np.radians(25 * p))
    torch.testing.assert_close(
        Shear(25).apply(x, point),
        by_scipy(x, np.array([[1.0, 0.0], [-lean, 1.0]]), np.zeros(2)),
        atol=2e-5,
        rtol=0,
    )


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_draws_differ_repeat_and_stay_in_range(transform: Spatial) -> None:
    x = images(1).repeat(4, 1, 1, 1)
    moved = transform(x, generator=generator(1))
    assert moved.shape == x.shape
    assert 0 <= moved.amin() <= moved.amax() <= 1
    assert not torch.equal(moved[0], moved[1])
    assert torch.equal(moved, transform(x, generator=generator(1)))
    assert transform(x[:0], generator=generator()).shape == x[:0].shape


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_gradients_reach_image_and_parameters(transform: Spatial) -> None:
    x = images().requires_grad_()
    point = torch.full((3, transform.parameters), 0.3, requires_grad=True)
    transform.apply(x, point).square().sum().backward()
    assert x.grad is not None
    assert point.grad is not None
    assert (point.grad.abs() > 0).all()


class CornerIsDark(nn.Module):
    """Wrong only for pictures that are shifted all the way to the right and down."""

    def forward(self, x: Tensor) -> Tensor:
        dark = (x[:, 0, 1] + x[:, 0, :, 1]).amax(1) < 1e-4
        return torch.stack([~dark, dark], 1).float()


def test_the_grid_has_the_corners_and_stops_when_all_are_fooled() -> None:
    x, y = images(4, (8, 8)), torch.zeros(4, dtype=torch.int64)
    transform, model = RotateTranslate(0, 2), CornerIsDark()
    assert right(model, x, y).all()
    moved = GridSearch(transform, points=3)(model, x, y)
    assert not right(model, moved, y).any()
    assert GridSearch(transform, points=3).passes.forward == 28
    assert right(model, WorstOfDraws(transform, 5)(model, x, y), y).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RotateTranslate(-1, 0), "degrees must be finite and >= 0"),
        (lambda: RotateTranslate(0, float("nan")), "pixels must be a finite number, got nan"),
        (lambda: Shear(90), "below 90"),
        (lambda: Scale(-1), "percent must be"),
        (lambda: GridSearch(Fog(0.1, 0.5)), "needs a spatial transform"),
        (lambda: GridSearch(Scale(1), points=1), "points >= 2"),
    ],
)
def test_bad_strengths_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
