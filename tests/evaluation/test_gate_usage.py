import pytest
import torch
from torch import Tensor, nn

from morex.artifacts.gate_usage import GateUsage
from morex.attacks import PGD, DeepFool, WorstOfDraws
from morex.data import ImageSet
from morex.evaluation.gate_usage import gate_usage
from morex.evaluation.suite import Row
from morex.models.mixture import Mixture
from morex.models.resnet import NetworkConfig, ResNet
from morex.perturbations import L2, Clean, Fog, Linf
from morex.report import to_heatmap


class DarkOrBright(nn.Module):
    """The first expert for pictures darker than 0.5 on average, the second for the others."""

    def forward(self, x: Tensor) -> Tensor:
        bright = 100 * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([-bright, bright], 1)


def mixture() -> Mixture:
    experts = {
        name: ResNet(NetworkConfig("resnet10", 2, 3, (8, 8)), seed=i) for i, name in enumerate("ab")
    }
    return Mixture(experts, DarkOrBright()).eval()


def images() -> ImageSet:
    """Three dark pictures and one bright one."""
    levels = torch.tensor([10, 20, 30, 250], dtype=torch.uint8)
    pixels = levels.view(4, 1, 1, 1).expand(4, 3, 8, 8).contiguous()
    return ImageSet(pixels, torch.tensor([0, 1, 2, 0]), ("a", "b", "c"))


SUITE = (
    Row("clean", WorstOfDraws(Clean())),
    Row("fog", WorstOfDraws(Fog(t=5.0, light=1.0))),  # white haze: all are bright
    Row("deepfool", DeepFool(L2(0.5), candidates=2)),
    Row("pgd", PGD(Linf(0.01), steps=1, restarts=3, stop_when_fooled=True)),
)


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_weights_are_means_over_attacked_images(batch_size: int) -> None:
    use = gate_usage(mixture(), images(), SUITE, batch_size=batch_size)
    assert use.experts == ("a", "b")
    assert use.n == 4
    assert [*use.weights] == ["clean", "fog", "pgd"]
    assert use.weights["clean"] == use.leads["clean"] == (0.75, 0.25)
    assert use.weights["fog"] == use.leads["fog"] == (0, 1)
    for row in (*use.weights.values(), *use.leads.values()):
        assert sum(row) == pytest.approx(1, abs=1e-3)


def test_only_the_first_images_count() -> None:
    use = gate_usage(mixture(), images(), SUITE, examples=3)
    assert use.n == 3
    assert use.weights["clean"] == (1, 0)


def test_heat_map_shows_every_weight_and_name() -> None:
    gate = GateUsage(
        experts=("clean", "<M2>"),
        weights={"fog": (0.12, 0.88), "pgd-l2": (1.0, 0.0)},
        leads={"fog": (0, 1), "pgd-l2": (1, 0)},
        n=7,
    )
    svg = to_heatmap(gate, "A & B")
    for text in ("clean", "&lt;M2&gt;", "fog", "pgd-l2", "0.12", "0.88", "1.00", "0.00", "n = 7"):
        assert f">{text}" in svg or text in svg
    assert "A &amp; B" in svg
    assert svg.count("<rect") == 5
