"""Two processes that train one model, against one process with the same batches.

All checks are functions of the processes: two do them together once, and one does them alone.
"""

import signal
from functools import cache, partial
from typing import Any

import pytest
import torch
from small_training import CLEAN, Memory, Onlooker, Small, config
from torch import Tensor, nn
from two_processes import in_two_processes

from morex.attacks import PGD, WorstOfDraws
from morex.core import stopping
from morex.core.seeding import generator_for
from morex.core.stopping import Stopped
from morex.data import Augment, ImageSet
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet
from morex.perturbations import L2, Snow
from morex.training import (
    Average,
    ClassOfImage,
    Criterion,
    Extra,
    LogitPairing,
    Max,
    Objective,
    OneDrawn,
    PerturbedWeights,
    SideBySide,
    Single,
    Snapshot,
    Trades,
    TrainingData,
    train,
)
from morex.training.batch_norm import over_processes
from morex.training.loop import Training
from morex.training.world import ALONE, World, among

ONE, FAR = PGD(L2(0.3), steps=2), PGD(L2(1.0), steps=2)
UNION = PGD((L2(0.3), L2(1.0)), steps=2)
SNOW = WorstOfDraws(Snow(darkness=2.0))

WAYS: dict[str, tuple[Objective, Criterion, dict[str, Any]]] = {
    "single": (Single((ONE,)), ClassOfImage(0.1), {"clip_norm": 0.5}),
    "msd": (Single((UNION,)), ClassOfImage(), {}),
    "max": (Max((ONE, FAR)), ClassOfImage(), {}),
    "average, pairing": (Average((ONE, FAR)), LogitPairing(2.0), {}),
    "by errors": (OneDrawn((ONE, FAR), by_error=True), ClassOfImage(), {}),
    "side by side": (SideBySide((SNOW, ONE, FAR), (1, 2, 1)), ClassOfImage(), {}),
    "trades": (Single((ONE,)), Trades(3.0), {}),
    "awp": (Single((CLEAN,)), ClassOfImage(), {"awp": PerturbedWeights(0.05)}),
    "projection": (Single((ONE,)), ClassOfImage(), {"gradient_projection": 0.5}),
}


def images(count: int, seed: int) -> ImageSet:
    """Return images of ten patterns with noise."""
    patterns = 200 * torch.rand(10, 3, 8, 8, generator=generator_for(0))
    noise = 55 * torch.rand(count, 3, 8, 8, generator=generator_for(seed))
    labels = torch.randint(10, (count,), generator=generator_for(seed, "labels"))
    return ImageSet((patterns[labels] + noise).byte(), labels, tuple(map(str, range(10))))


@cache
def few(*, extra: bool = False) -> TrainingData:
    """Return five batches of 21 images an epoch, and 21 for validation."""
    more = Extra(images(40, 3), 0.3) if extra else None
    return TrainingData(images(105, 1), images(21, 2), Augment(1), more)


def network() -> nn.Module:
    """Return a smooth network: where a ReLU has its kink, the last bits decide a gradient."""
    shape = NetworkConfig("resnet10", 4, 10, (8, 8), (0.3,) * 3, (0.37,) * 3, "silu")
    return ResNet(shape, seed=0).to(memory_format=torch.channels_last)


def work(way: str, world: World, *, extra: bool = False) -> Training:
    objective, criterion, changes = WAYS[way]
    settings = config(batch_size=21, **changes)
    data = few(extra=extra)
    return Training(network(), objective, data, settings, criterion, seed=0, name="m", world=world)


def first_update(world: World, way: str) -> dict[str, Tensor]:
    """Return the gradients of the first update, the running statistics, and what is counted."""
    made = work(way, world, extra=way == "single")
    with over_processes(made.models, world), among(world):
        made.advance()
    found = {name: p.grad for name, p in made.model.named_parameters()}
    found |= dict(made.model.named_buffers()) | {"loss": made.state.loss_sum}
    if natural := made.state.natural:
        found |= {f"natural {i}": p.grad for i, p in enumerate(natural.parameters)}
    return {name: t.detach().double() for name, t in (found | {"tally": made.state.tally}).items()}


def normalised(world: World) -> list[Tensor]:
    """Return y, the gradients and the running statistics of BatchNorm on a batch of 7."""
    torch.manual_seed(0)
    batch, cotangent = 3 * torch.randn(7, 4, 3, 3) + 5, torch.randn(7, 4, 3, 3)
    found = []
    for layer in (nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False, momentum=None)):
        x = world.part(batch).clone().requires_grad_()
        with over_processes([layer], world):
            for _ in range(2):
                y = layer(x)
        y.backward(world.part(cotangent))
        learnt = [p.grad for p in layer.parameters()]
        world.add_up(learnt)
        assert x.grad is not None
        found += [*map(partial(gathered, world), (y.detach(), x.grad)), *learnt, *layer.buffers()]
        layer.eval()
        found.append(gathered(world, layer(world.part(batch)).detach()))
    return found


def gathered(world: World, part: Tensor) -> Tensor:
    return torch.cat(world.from_all(part))


def curve(world: World, memory: Memory, epochs: int = 2) -> tuple[list[Any], dict[str, Tensor]]:
    """Train for two epochs; return the history and the weights."""
    model = network()
    objective, criterion, _ = WAYS["side by side"]
    settings = config(epochs=epochs, batch_size=21, average=0.9, learning_rate=0.05)
    options = {"seed": 0, "criterion": criterion, "checkpoint": memory, "world": world}
    fit = train(model, objective, few(), settings, **options)
    return fit.history, model.state_dict()


class Killed(Memory):
    """A checkpoint after whose third state the training is killed."""

    def save(self, snapshot: Snapshot) -> None:
        super().save(snapshot)
        if len(self.saved) == 3:
            raise KeyboardInterrupt


def killed(world: World) -> Snapshot:
    """Return the state of a training that was killed."""
    memory = Killed()
    with pytest.raises(KeyboardInterrupt):
        curve(world, memory)
    return memory.saved[-1]


def in_one_go(world: World) -> Any:
    """Train without an interruption; return the state after three steps as well."""
    memory = Memory()
    return *curve(world, memory), memory.saved[2] if world.leads else None


def resumed(world: World) -> Any:
    """Go on where a single process was killed."""
    return curve(world, Memory(start=killed(ALONE)))


def stopped(world: World) -> Any:
    """Ask the second process to stop while it takes its fourth step."""
    memory = Memory(every=10**6)

    def ask(model: Any, x: Tensor, generator: torch.Generator) -> None:
        nonlocal steps
        steps += 1
        if world.rank == 1 and steps == 4:
            stopping._state.asked = signal.SIGTERM

    steps = 0
    objective = Single((Onlooker(ask),))
    try:
        train(Small(), objective, few(), config(batch_size=21), checkpoint=memory, world=world)
    except Stopped:
        return world.from_all([steps, *(state.values["step"] for state in memory.saved)])
    finally:
        stopping._state.asked = None
    return None


CHECKS = {
    **{way: partial(first_update, way=way) for way in WAYS},
    "normalised": normalised,
    "in one go": in_one_go,
    "resumed": resumed,
    "stopped": stopped,
}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes find."""
    return in_two_processes(CHECKS, tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("way", WAYS)
def test_the_first_update_is_that_of_one_process(way: str, together: dict[str, Any]) -> None:
    alone, found = first_update(ALONE, way), together[way]
    assert alone.keys() == found.keys()
    assert torch.equal(found.pop("tally"), alone.pop("tally"))
    expected, got = (torch.cat([t.flatten() for t in each.values()]) for each in (alone, found))
    assert (got - expected).norm() <= 5e-6 * expected.norm()


def test_batch_norm_is_that_of_torch_on_the_whole_batch(together: dict[str, Any]) -> None:
    for found, expected in zip(together["normalised"], normalised(ALONE), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def alone() -> tuple[list[Any], dict[str, Tensor]]:
    """The learning curve and the weights of one process."""
    return curve(ALONE, Memory())


@pytest.mark.parametrize("how", ["in one go", "resumed", "goes on alone"])
def test_the_learning_curve_is_that_of_one_process(
    how: str, together: dict[str, Any], alone: tuple[list[Any], dict[str, Tensor]]
) -> None:
    if how == "goes on alone":
        found, weights = curve(ALONE, Memory(start=together["in one go"][2]))
    else:
        found, weights, *_ = together[how]
    for now, then in zip(found, alone[0], strict=True):
        assert now["loss"] == pytest.approx(then["loss"], rel=1e-4)
        assert now["validation"] == pytest.approx(then["validation"], abs=1.5 / 21)
    for name, expected in alone[1].items():
        torch.testing.assert_close(weights[name], expected, rtol=1e-3, atol=1e-3)


def test_all_stop_at_the_same_step_and_one_writes(together: dict[str, Any]) -> None:
    assert together["stopped"] == [[4, 4], [4]]


class Compared(Criterion):
    """Teaches something about a batch as a whole."""

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        return [*model.parameters()]

    def answers(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(batch.x), batch.y


def test_what_cannot_be_divided_is_refused() -> None:
    data, settings, two = few(), config(batch_size=21), World(0, 2)
    clean = Single((CLEAN,))
    with pytest.raises(ValueError, match="Compared cannot be trained on 2 processes: it may"):
        train(Small(), clean, data, settings, criterion=Compared(), world=two)
    slots = SideBySide((CLEAN, ONE), (10, 1))
    with pytest.raises(ValueError, match="a batch of 21 is too small for 2 processes: SideBySide"):
        train(Small(), slots, data, settings, world=two)
    own = nn.Sequential(nn.Flatten(), nn.SyncBatchNorm(192), nn.Linear(192, 10))
    with pytest.raises(ValueError, match=r"needs BatchNorm of torch\.nn, but 1 is a SyncBatchNorm"):
        train(own, clean, data, settings, world=two)


def test_processes_with_other_weights_are_told() -> None:
    class Other(World):
        def from_leader(self, value: Any) -> Any:
            return value

        def from_all(self, value: Any) -> list[Any]:
            return [value, (value[0], "other")]

    with pytest.raises(RuntimeError, match="processes 0 and 1 have different weights"):
        train(Small(), Single((CLEAN,)), few(), config(batch_size=21), world=Other(0, 2))
