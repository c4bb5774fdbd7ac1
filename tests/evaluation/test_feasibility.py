"""Which images an attack may return, at the edges of what is allowed."""

import pytest
import torch
from torch import Tensor

from morex.evaluation.feasibility import InfeasibleError, balls_of, check_feasible
from morex.perturbations import L1, L2, Clean, Linf


def images(*firsts: float) -> Tensor:
    """Return images of one grey, 0.5, apart from the first pixel."""
    x = torch.full((len(firsts), 1, 2, 2), 0.5, dtype=torch.float64)
    x[:, 0, 0, 0] = torch.tensor(firsts, dtype=torch.float64)
    return x


X = images(0.5, 0.5)


def test_the_edge_of_ball_and_box_is_inside():
    check_feasible(Linf(0.25), X, images(0.75, 0.25), "a")
    check_feasible(L2(0.5), X, images(0.0, 1.0), "a")


@pytest.mark.parametrize("ball", [Linf(0.25), L2(0.25), L1(0.25)])
def test_rounding_is_allowed_and_more_is_not(ball):
    # 1e-5 of eps and another 1e-5 in all
    check_feasible(ball, X, images(0.5, 0.75 + 1.2e-5), "a")
    with pytest.raises(InfeasibleError, match=r"a: returned an image 1\.05e-05 outside"):
        check_feasible(ball, X, images(0.5, 0.75 + 1.3e-5), "a")


def test_the_worst_image_and_the_name_are_reported():
    moved = images(0.8, 0.9)
    with pytest.raises(InfeasibleError, match=r"^rays: returned an image 0\.15 outside Linf"):
        check_feasible(Linf(0.25), X, moved, "rays")


def test_the_nearest_ball_of_a_union_counts_for_each_image():
    union = (Linf(0.1), L1(0.3))
    moved = images(0.8, 0.5)  # the first is inside of L1
    moved[1] = 0.59  # the second inside of Linf
    check_feasible(union, X, moved, "a")
    with pytest.raises(InfeasibleError, match=r"image 0\.05 outside Linf\(eps=0\.1\) and L1\("):
        check_feasible(union, X, images(0.5, 0.85), "a")


@pytest.mark.parametrize(
    ("moved", "message"),
    [
        (images(0.5), "a: .*another shape"),
        (images(0.5, float("nan")), "a: .*not finite"),
        (images(0.5, float("inf")), "a: .*not finite"),
        (images(0.5, -1e-6), r"a: returned pixels in \[-1e-06, 0\.5\]"),
        (images(0.5, 1.125), r"a: returned pixels in \[0\.5, 1\.125\]"),
    ],
)
@pytest.mark.parametrize("perturbation", [Linf(10), Clean()])
def test_results_that_are_no_images_raise_for_every_perturbation(perturbation, moved, message):
    with pytest.raises(InfeasibleError, match=message):
        check_feasible(perturbation, X, moved, "a")


def test_pixels_may_be_black_and_white_and_no_image_is_fine():
    check_feasible(Clean(), X, images(0.0, 1.0), "a")
    for perturbation in (Clean(), Linf(0.1)):
        check_feasible(perturbation, X[:0], X[:0], "a")


def test_a_transform_leaves_no_distance_to_check():
    check_feasible((Linf(0.1), Clean()), X, images(0.0, 1.0), "a")
    assert balls_of((Linf(0.1), Clean())) == balls_of(Clean()) == ()
    assert balls_of(L2(1)) == (L2(1),)
    assert balls_of((L2(1), Linf(0.1))) == (L2(1), Linf(0.1))
