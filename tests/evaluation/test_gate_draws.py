"""Which attacks gate usage is measured under, and their random numbers."""

from dataclasses import replace

import pytest
import torch
from noise import Noise
from torch import Tensor, nn

from morex.attacks import PGD, DeepFool, SearchAround, WorstOfDraws
from morex.core.seeding import generator_for
from morex.data import ImageSet
from morex.evaluation.gate_usage import gate_usage, moved_batches, one_run
from morex.evaluation.suite import Row
from morex.models.mixture import Mixture
from morex.perturbations import L2, Around, Clean, Fog


class Expert(nn.Module):
    """Logits that depend on the mean of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))


class Gate(nn.Module):
    """Scores from the mean pixel; records its mode at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.modes = list[bool]()

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.training)
        mean = x.mean((1, 2, 3))
        return torch.stack([mean, 10 * mean], 1)


def mixture() -> Mixture:
    return Mixture({"a": Expert(), "b": Expert()}, Gate())


def images(n: int) -> ImageSet:
    pixels = torch.randint(256, (n, 3, 2, 2), generator=torch.Generator().manual_seed(0))
    return ImageSet(pixels.to(torch.uint8), torch.zeros(n, dtype=torch.int64), ("x", "y"))


SEVERAL = PGD(L2(0.5), steps=3, restarts=4, stop_when_fooled=True)
HAZE = Around(Fog(t=0.1, light=0.6), L2(0.5))


def test_pgd_does_one_run_without_stopping():
    assert one_run(SEVERAL) == PGD(L2(0.5), steps=3, restarts=1, stop_when_fooled=False)
    assert one_run(SEVERAL).stop_when_fooled is False


def test_pgd_around_a_transform_does_one_run_too():
    assert one_run(SearchAround(HAZE, SEVERAL)) == SearchAround(
        HAZE, replace(SEVERAL, restarts=1, stop_when_fooled=False)
    )


def test_draws_count_and_other_attacks_do_not():
    draws = WorstOfDraws(Clean(), draws=3)
    assert one_run(draws) is draws
    assert one_run(DeepFool(L2(0.5))) is None
    assert one_run(SearchAround(HAZE, DeepFool(L2(0.5)))) is None


def test_every_batch_draws_from_seed_place_and_start():
    data, place = images(5), ("here", "there")
    found = [*moved_batches(mixture(), data, WorstOfDraws(Noise()), place, 7, 2)]
    expected = [
        torch.rand((n, 3, 2, 2), generator=generator_for(7, *place, start))
        for n, start in [(2, 0), (2, 2), (1, 4)]
    ]
    assert len(found) == 3
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("seed", [0, 3])
def test_the_place_of_a_row_is_the_gate_and_its_name(seed):
    model, data = mixture(), images(5)
    use = gate_usage(model, data, [Row("rain", WorstOfDraws(Noise()))], seed=seed, batch_size=3)
    places = [generator_for(seed, "gate", "rain", start) for start in (0, 3)]
    drawn = [
        torch.rand((n, 3, 2, 2), generator=place) for n, place in zip((3, 2), places, strict=True)
    ]
    expected = model.gate_weights(torch.cat(drawn)).detach().mean(0).tolist()
    assert use.weights["rain"] == pytest.approx(expected, abs=1e-4)


def test_a_model_in_training_mode_is_measured_in_evaluation_mode_and_put_back():
    model = mixture().train()
    gate_usage(model, images(5), [Row("clean", WorstOfDraws(Clean()))])
    assert model.gate.modes == [False]
    assert model.gate.training is True


def test_200_images_count_by_default():
    use = gate_usage(mixture(), images(201), [Row("clean", WorstOfDraws(Clean()))])
    assert use.n == 200
