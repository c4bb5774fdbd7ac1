"""Threads: a small network gets one, and what somebody chose stays."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
import torch
from tiny import CPU
from torch import nn

import morex
import morex.core.threads
from morex.attacks import WorstOfDraws
from morex.core.threads import forward_work, threads, threads_for
from morex.data import ImageSet
from morex.evaluation.suite import Row
from morex.models import NetworkConfig, ResNet
from morex.perturbations import Clean
from morex.training import Single
from morex.training.batches import TrainingData

SMALL, BATCH = nn.Linear(192, 10), (64, 3, 8, 8)
BIG = ResNet(NetworkConfig("resnet18", width=64, outputs=10, image_size=(32, 32)))
CORES = 4


@pytest.fixture(autouse=True)
def nobody_chose(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with four cores, of which torch uses all."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(morex.core.threads, "_available", lambda: CORES)
    monkeypatch.setattr(morex.core.threads, "_quota", lambda group: 100)
    before = torch.get_num_threads()
    torch.set_num_threads(CORES)
    yield
    torch.set_num_threads(before)


def inside(block: AbstractContextManager[None]) -> int:
    """Return the number of threads in a block; the number before it must come back."""
    before = torch.get_num_threads()
    with block:
        found = torch.get_num_threads()
    assert torch.get_num_threads() == before
    return found


def test_a_small_network_gets_one_thread_and_a_large_one_all() -> None:
    assert inside(threads_for(SMALL, BATCH, CPU)) == 1
    assert inside(threads_for(BIG, (128, 3, 32, 32), CPU)) == CORES
    assert inside(threads_for(BIG, (4, 3, 32, 32), CPU)) == 2


def test_the_number_comes_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="here"), threads_for(SMALL, BATCH, CPU):
        raise ValueError("here")
    assert torch.get_num_threads() == CORES


def test_a_quota_of_the_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(morex.core.threads, "_quota", lambda group: 3)
    assert inside(threads_for(BIG, (128, 3, 32, 32), CPU)) == 3


def test_what_was_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with threads(CORES):
        assert inside(threads_for(SMALL, BATCH, CPU)) == CORES
        with threads(None):
            assert inside(threads_for(SMALL, BATCH, CPU)) == CORES
    torch.set_num_threads(CORES + 3)
    assert inside(threads_for(SMALL, BATCH, CPU)) == CORES + 3
    torch.set_num_threads(CORES)
    monkeypatch.setenv("OMP_NUM_THREADS", str(CORES))
    assert inside(threads_for(SMALL, BATCH, CPU)) == CORES


def test_nothing_changes_for_a_function_or_on_a_gpu() -> None:
    assert inside(threads_for(lambda x: x, BATCH, CPU)) == CORES
    assert inside(threads_for(SMALL, BATCH, torch.device("cuda"))) == CORES


@pytest.mark.parametrize(("architecture", "side"), [("resnet10", 8), ("resnet18", 32)])
def test_the_work_of_a_resnet_is_about_right(architecture: str, side: int) -> None:
    shape = NetworkConfig(architecture, width=8, outputs=10, image_size=(side, side))
    network = ResNet(shape).eval()
    counted = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal counted
        uses = output.shape[-1] * output.shape[-2] if isinstance(module, nn.Conv2d) else 1
        counted += module.weight.numel() * uses  # type: ignore[union-attr, operator]

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network(torch.rand(1, 3, side, side))
    assert 0.5 < forward_work(network, (1, 3, side, side)) / counted < 2


class _Watching(nn.Module):
    """A network that notes with how many threads it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(192, 2), set[int]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.add(torch.get_num_threads())
        logits: torch.Tensor = self.layer(x.flatten(1))
        return logits


def test_training_and_evaluation_choose_and_give_back() -> None:
    images = torch.randint(256, (8, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    data = ImageSet(images.to(torch.uint8), torch.arange(8) % 2, ("a", "b"))
    model, clean = _Watching(), WorstOfDraws(Clean())
    config = morex.TrainingConfig(epochs=1, batch_size=4)
    morex.train(model, Single((clean,)), TrainingData(data, data), config)
    assert model.seen == {1}
    morex.evaluate(model, data, (Row("clean", clean),))
    assert model.seen == {1}
    with threads(2):
        morex.evaluate(model, data, (Row("clean", clean),))
    assert model.seen == {1, 2}
    assert torch.get_num_threads() == CORES
