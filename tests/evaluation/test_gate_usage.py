"""Gate usage against closed forms, and its heat map."""

from math import log2
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from morex.artifacts.class_words import NOT_FINITE
from morex.artifacts.gate_usage import GateUsage
from morex.attacks import PGD, DeepFool, RayS, SearchAround, WorstOfDraws
from morex.data import ImageSet
from morex.evaluation.gate_usage import agreement, gate_usage, one_run
from morex.evaluation.suite import Row, Suite
from morex.models.mixture import Mixture
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet
from morex.perturbations import L2, Around, Clean, Fog, Linf
from morex.report import to_heatmap


class OfBrightness(nn.Module):
    """Gives the second expert the weight m, the mean of all pixels, and the first one 1 - m."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((1, 2, 3))
        return torch.stack([1 - mean, mean], 1).log()


def mixture() -> Mixture:
    experts = {
        name: ResNet(NetworkConfig("resnet10", 2, 3, (8, 8)), seed=i) for i, name in enumerate("ab")
    }
    return Mixture(experts, OfBrightness()).eval()


LEVELS = (51, 102, 51, 204)
"""Of images of one grey each: brightness 0.2, 0.4, 0.2 and 0.8."""


def images() -> ImageSet:
    levels = torch.tensor(LEVELS, dtype=torch.uint8)
    pixels = levels.view(4, 1, 1, 1).expand(4, 3, 8, 8).contiguous()
    return ImageSet(pixels, torch.tensor([0, 1, 2, 0]), ("a", "b", "c"))


HALF_HAZE = Fog(t=0.0, light=1.0)
"""m becomes (m + 1) / 2, truncated to 1/255: 0.6, 0.7, 0.6 and 0.9."""

SUITE = (
    Row("clean", WorstOfDraws(Clean())),
    Row("fog", WorstOfDraws(HALF_HAZE)),
    Row("deepfool", DeepFool(L2(0.5), candidates=2)),
    Row("pgd", PGD(Linf(0.01), steps=1, restarts=3, stop_when_fooled=True)),
)


def bits(*weights: float) -> float:
    """Return the mean entropy of pairs (m, 1 - m)."""
    return -sum(m * log2(m) + (1 - m) * log2(1 - m) for m in weights) / len(weights)


def close(value: float | tuple[float, ...]) -> object:
    return pytest.approx(value, abs=1e-4)  # results are rounded to four decimals


@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_weights_leads_and_entropy_of_a_known_gate(batch_size: int) -> None:
    use = gate_usage(mixture(), images(), SUITE, batch_size=batch_size)
    assert use.experts == ("a", "b")
    assert use.n == 4
    assert [*use.weights] == [*use.leads] == [*use.entropy] == ["clean", "fog", "pgd"]
    assert use.weights["clean"] == close((0.6, 0.4))
    assert use.leads["clean"] == (0.75, 0.25)
    assert use.entropy["clean"] == close(bits(0.2, 0.4, 0.2, 0.8))
    foggy = [(level + 255) // 2 / 255 for level in LEVELS]
    assert use.weights["fog"] == close((1 - sum(foggy) / 4, sum(foggy) / 4))
    assert use.leads["fog"] == (0.0, 1.0)
    assert use.entropy["fog"] == close(bits(*foggy))


def test_attacks_move_the_weights_no_further_than_their_ball() -> None:
    use = gate_usage(mixture(), images(), SUITE)
    assert use.weights["pgd"][1] == pytest.approx(0.4, abs=0.0101)
    assert use.weights["pgd"] != use.weights["clean"]
    assert sum(use.weights["pgd"]) == close(1.0)


def only(suite: Suite, **options: int) -> GateUsage:
    return gate_usage(mixture(), images(), suite, **options)


def test_pgd_is_measured_at_the_end_of_one_run_and_slow_attacks_not_at_all() -> None:
    quick = PGD(Linf(0.01), steps=1, restarts=3, stop_when_fooled=True)
    whole = PGD(Linf(0.01), steps=1)
    assert one_run(quick) == whole
    foggy = Around(HALF_HAZE, quick.balls[0])
    assert one_run(SearchAround(foggy, quick)) == SearchAround(foggy, whole)
    assert one_run(SearchAround(foggy, RayS(Linf(0.01)))) is None
    assert one_run(DeepFool(L2(0.5))) is None
    draws = WorstOfDraws(HALF_HAZE, draws=3)
    assert one_run(draws) == draws


def test_only_the_first_images_count() -> None:
    use = only(SUITE[:1], examples=3)
    assert use.n == 3
    assert use.weights["clean"] == close((1 - 0.8 / 3, 0.8 / 3))
    assert use.leads["clean"] == (1.0, 0.0)


def test_a_certain_gate_has_no_entropy() -> None:
    white = Row("white", WorstOfDraws(Fog(t=float("inf"), light=1.0)))
    use = only((white,))
    assert use.weights["white"] == (0.0, 1.0)
    assert use.entropy["white"] == 0.0


def test_agreement_is_the_share_of_images_with_the_same_class() -> None:
    said = torch.tensor([[0, 0, 1], [2, 2, 2], [1, 0, 0], [1, 1, 0]])
    assert agreement(said) == ((1.0, 0.75, 0.25), (0.75, 1.0, 0.5), (0.25, 0.5, 1.0))
    unsaid = torch.tensor([[NOT_FINITE, NOT_FINITE], [0, 0]])
    assert agreement(unsaid) == ((0.5, 0.5), (0.5, 0.5))


class Constant(nn.Module):
    """Says one class to everything, or to dark images another one."""

    def __init__(self, bright: int, dark: int) -> None:
        super().__init__()
        self.bright, self.dark = bright, dark
        self.head = nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        said = torch.where(x.mean((1, 2, 3)) > 0.5, self.bright, self.dark)
        return nn.functional.one_hot(said, 3).float()


def test_agreement_counts_the_images_of_all_rows() -> None:
    experts = {"a": Constant(0, 0), "b": Constant(0, 1)}
    use = gate_usage(Mixture(experts, OfBrightness()).eval(), images(), SUITE[:2], batch_size=3)
    # bright: one clean image of four, and all four in haze
    assert use.agreement == ((1.0, 0.625), (0.625, 1.0))


def test_the_heat_map_has_every_weight_in_its_row_and_column() -> None:
    gate = GateUsage(
        experts=("clean", "<M2>"),
        weights={"fog": (0.12, 0.88), "pgd-l2": (1.0, 0.0)},
        leads={"fog": (0, 1), "pgd-l2": (1, 0)},
        n=7,
    )
    svg = ElementTree.fromstring(to_heatmap(gate, "A & B"))
    texts = [t for t in svg.iter() if t.tag.endswith("text")]
    at = {t.text: (float(t.attrib["x"]), float(t.attrib["y"])) for t in texts}
    assert {"A & B", "mean weight of each expert; n = 7 test images"} <= {*at}
    for attack, weights in gate.weights.items():
        for expert, weight in zip(gate.experts, weights, strict=True):
            assert at[f"{weight:.2f}"] == (at[expert][0], at[attack][1])
    cells = [r for r in svg.iter() if r.tag.endswith("rect") and "cell" in r.get("class", "")]
    shades = [float(cell.attrib["fill-opacity"]) for cell in cells]
    assert len(shades) == 4
    assert sorted(shades) == [shades[3], shades[0], shades[1], shades[2]]  # the larger the darker
