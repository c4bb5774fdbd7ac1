"""Agreement with other libraries on a real network: a shipped ResNet-18, on 20 images."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from linear import right
from torch import Tensor, nn

import morex
from morex.attacks import PGD, AutoAttack, DeepFool, RayS, frozen
from morex.perturbations import L2, Ball, Linf

os.environ["GIT_PYTHON_REFRESH"] = "quiet"
foolbox = pytest.importorskip("foolbox", exc_type=ImportError)

WEAK = Linf(1.5 / 255)  # about half of the 20 fall


@pytest.fixture(scope="module")
def model() -> Iterator[nn.Module]:
    net = morex.load("cifar10-small/clean")
    with frozen(net):
        yield net


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    wrapped = foolbox.PyTorchModel(nn.Identity().eval(), bounds=(0, 1), device="cpu")
    x, y = foolbox.utils.samples(wrapped, dataset="cifar10", batchsize=20)
    return x, y


def theirs(model: nn.Module) -> Any:
    return foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")


def test_all_are_right_and_none_is_robust(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    assert right(model, x, y).all()
    moved = PGD(Linf(8 / 255), steps=5, stop_when_fooled=True)(model, x, y)
    assert not right(model, moved, y).any()


def test_pgd_is_as_strong_as_foolbox_and_apgd(
    model: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    ours = PGD(WEAK, steps=10, relative_step=5, stop_when_fooled=True)(model, x, y)
    usual = foolbox.attacks.LinfPGD(steps=10, rel_stepsize=0.25)
    _, of_foolbox, _ = usual(theirs(model), x, y, epsilons=WEAK.eps)
    apgd = AutoAttack(WEAK, attacks=("apgd-ce",), steps=10)(model, x, y)
    standing = int(right(model, ours, y).sum())
    assert 4 < standing < 16
    assert standing <= int(right(model, of_foolbox, y).sum()) + 1
    assert standing <= int(right(model, apgd, y).sum()) + 1


@pytest.mark.parametrize(
    ("ball", "attack"),
    [
        (L2(9.0), foolbox.attacks.L2DeepFoolAttack),
        (Linf(0.9), foolbox.attacks.LinfDeepFoolAttack),
    ],
)
def test_deepfool_walks_as_far_as_foolbox(
    model: nn.Module, images: tuple[Tensor, Tensor], ball: Ball, attack: type
) -> None:
    x, y = images[0][:10], images[1][:10]
    ours = ball.norm(DeepFool(ball, steps=20)(model, x, y) - x)
    usual = attack(steps=20, candidates=10, overshoot=0.02, loss="logits")
    other, _, _ = usual(theirs(model), x, y, epsilons=None)
    ratio = ours / ball.norm(other - x)
    assert 0.97 < ratio.median() < 1.03
    assert (ratio < 1.2).all()


def test_rays_needs_only_decisions(model: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    class Labels(nn.Module):
        """Answers with one-hot logits."""

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.one_hot(model(x).argmax(1), 10).float()

    x, y = images[0][:6], images[1][:6]
    attack = RayS(Linf(32 / 255), queries=60)
    with_logits, with_labels = attack(model, x, y), attack(Labels().eval(), x, y)
    assert torch.equal(with_logits, with_labels)
    assert right(model, with_logits, y).sum() < 6
