"""The audit tells a robust model from one that hides its gradients."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from morex.artifacts.findings import POINTS, Finding
from morex.attacks import PGD, WorstOfDraws
from morex.data import load_data
from morex.evaluation.masking_audit import audit_model
from morex.models.mixture import Mixture
from morex.models.resnet import NetworkConfig, ResNet
from morex.perturbations import L1, L2, Clean, Linf
from morex.training import TrainingData, train
from morex.training.config import TrainingConfig
from morex.training.objectives import Single

BALL = Linf(0.1)


@cache
def data():
    return load_data("digits")


@cache
def network(robust: bool) -> ResNet:
    """Return a network trained for a few seconds, against the ball or on clean images."""
    train_set, validation = data().train.split(0.1, 0)
    net = ResNet(NetworkConfig("resnet10", 4, 10, (8, 8)), seed=1).to(
        memory_format=torch.channels_last
    )
    attack = PGD(BALL, steps=3, relative_step=2) if robust else WorstOfDraws(Clean())
    config = TrainingConfig(epochs=12, batch_size=64, learning_rate=0.1, validate_every=12)
    train(net, Single((attack,)), TrainingData(train_set, validation), config)
    return net


class Quantised(nn.Module):
    """Rounds its input to a few levels."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x * 8).round() / 8)


class Huge(Quantised):
    """Multiplies its logits until the softmax saturates."""

    def forward(self, x: Tensor) -> Tensor:
        return 1e4 * self.net(x)


class Noisy(Quantised):
    """Adds noise to its input."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 0.1 * torch.randn_like(x))


class Probabilities(Quantised):
    """Returns probabilities."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).softmax(1)


class Shattered(Quantised):
    """Has a step that passes no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.floor(x.detach() * 20) / 20) + 0 * x.sum((1, 2, 3))[:, None]


class HardRouted(nn.Module):
    """Sends every image to one of two networks, by the sign of a contrast."""

    def __init__(self, nets: tuple[nn.Module, nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, x: Tensor) -> Tensor:
        first = (x[:, :, ::2].mean((1, 2, 3)) > x[:, :, 1::2].mean((1, 2, 3)))[:, None]
        return torch.where(first, self.nets[0](x), self.nets[1](x))


def findings(model: nn.Module, examples: int = 80) -> list[Finding]:
    return audit_model(model, data().test, [BALL], examples=examples, steps=10, queries=150)


def flagged(found: list[Finding]) -> dict[int, str]:
    return {f.point: f.reason for f in found if f.verdict == "flag"}


def test_an_adversarially_trained_network_passes() -> None:
    found = findings(network(True))
    assert not flagged(found)
    assert sorted(f.point for f in found) == [*POINTS]
    assert [f.point for f in found if f.verdict == "does not apply"] == [7]
    by_point = {f.point: f.evidence for f in found}
    assert by_point[1]["20 steps, 2 restarts"] > 20  # there was something to measure


def test_a_clean_network_is_weak_but_hides_nothing() -> None:
    assert not flagged(findings(network(False)))


@pytest.mark.parametrize(
    ("trick", "point", "reason"),
    [
        (Quantised, 5, "no gradient"),
        (Quantised, 5, "jumps"),
        (Huge, 5, "no gradient"),
        (Noisy, 5, "two answers to one image differ"),
        (Probabilities, 5, "probabilities"),
        (Shattered, 5, "no gradient"),
        (Shattered, 3, "without gradients fool"),
        (Quantised, 4, "lowers accuracy"),
    ],
)
def test_tricks_are_flagged(trick: type[Quantised], point: int, reason: str) -> None:
    assert reason in flagged(findings(trick(network(True))))[point]


def test_hard_routing_is_flagged() -> None:
    model = HardRouted((network(True), network(False)))
    assert "jumps" in flagged(findings(model))[5]


class Contrast(nn.Module):
    """A gate that hides the second expert behind a contrast, and saturates."""

    def forward(self, x: Tensor) -> Tensor:
        contrast = x[:, :, ::2].mean((1, 2, 3)) - x[:, :, 1::2].mean((1, 2, 3))
        return torch.stack([0 * contrast, 1000 * (contrast - 0.08)], 1)


def test_a_gate_that_hides_a_weak_expert_is_flagged() -> None:
    experts = {"robust": network(True), "clean": network(False)}
    found = findings(Mixture(experts, Contrast()).eval())
    assert "plain PGD overrates" in flagged(found)[7]


def test_balls_and_images_are_checked() -> None:
    with pytest.raises(ValueError, match="needs Linf or L2 balls"):
        audit_model(network(True), data().test, [L1(1.0)])
    with pytest.raises(ValueError, match="needs Linf or L2 balls"):
        audit_model(network(True), data().test, [])

    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros(len(x), 10) - 1

    few = data().test.take((data().test.labels != 0).nonzero()[:5, 0])
    with pytest.raises(ValueError, match="none of the images right"):
        audit_model(Wrong(), few, [L2(0.5)])


def test_findings_are_reported_as_they_are_made() -> None:
    seen: list[Finding] = []
    found = audit_model(
        network(True), data().test, [BALL], examples=20, steps=3, queries=20, report=seen.append
    )
    assert seen == found
