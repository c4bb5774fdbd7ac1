"""Evaluations whose networks are compiled: when, how often, and with the same outcomes."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from morex.attacks import PGD, RayS, WorstOfDraws
from morex.attacks.standing import ByHalves, leaving
from morex.data import ImageSet
from morex.evaluation import Row, evaluate
from morex.evaluation import compiling as place
from morex.evaluation.compiling import compiled_where_it_pays
from morex.evaluation.settings import Settings
from morex.models import compiled
from morex.models.architectures import RESNETS, PostActivation
from morex.models.mixture import Mixture
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet
from morex.perturbations import Clean, Linf

BALL, N, BATCH = Linf(0.05), 50, 16
SUITE = (
    Row("clean", WorstOfDraws(Clean())),
    Row("pgd", PGD(BALL, 6, stop_when_fooled=True)),
    Row("rays", RayS(BALL, queries=12)),
    Row("few", PGD(BALL, 3, restarts=2, stop_when_fooled=True), 23),
)


@pytest.fixture(autouse=True)
def nothing_compiled_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(RESNETS, "tiny", PostActivation("basic", (1, 1)))
    _forget()
    yield
    _forget()


def _forget() -> None:
    torch._dynamo.reset()
    counters.clear()
    compiled._obstacle.cache_clear()
    compiled._COMPILED.clear()


def network(seed: int, outputs: int = 3) -> ResNet:
    return ResNet(NetworkConfig("tiny", 4, outputs, (8, 8)), seed=seed)


def model() -> Mixture:
    return Mixture({"a": network(1), "b": network(2), "c": network(3)}, network(4, 3)).eval()


def images() -> ImageSet:
    drawn = torch.randint(256, (N, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model()(drawn / 255).argmax(1)
    labels[::7] = (labels[::7] + 1) % 3
    return ImageSet(drawn.to(torch.uint8), labels, ("a", "b", "c"))


def evaluated(precision: str) -> dict[str, list[bool]]:
    with leaving(ByHalves(least=4)):
        found = evaluate(model(), images(), SUITE, batch_size=BATCH, search_precision=precision)  # type: ignore[arg-type]
    return {row: right.tolist() for row, right in found.right.items()}


@pytest.mark.parametrize(("precision", "formats"), [("fp32", 1), ("bf16", 2)])
def test_a_compiled_evaluation_compiles_few_variants(
    precision: str, formats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = evaluated(precision)
    assert not counters["stats"]["unique_graphs"]
    monkeypatch.setattr(compiled, "compiling_pays", lambda *_: True)
    monkeypatch.setattr(compiled, "compiled", partial(compiled.compiled, backend="eager"))
    found = evaluated(precision)
    for row, right in expected.items():  # experts run in the same order, but not in one process
        assert np.mean(np.array(right) == np.array(found[row])) > 0.9
    sizes, gradients, trial = 3, 2, 1  # 16, 8 and 4 images; with and without gradients
    assert 1 < counters["stats"]["unique_graphs"] <= sizes * gradients * formats + trial
    assert not counters["graph_break"]


def test_compiling_pays_for_long_work_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(place, "compiled_if_it_pays", lambda *given: asked.append(given[2]))
    rows = (Row("rays", RayS(BALL, queries=1000)), Row("few", RayS(BALL, queries=1000), 10))
    compiled_where_it_pays(network(1), rows, images(), Settings(0, BATCH, "fp32"))
    (passes,) = asked
    assert passes == pytest.approx(0.01 * 0.45 * 1001 * (N + 10) / BATCH)


def test_nothing_is_compiled_on_a_cpu_or_without_a_network() -> None:
    rows = (Row("rays", RayS(BALL, queries=10**7)),)
    for asked in (network(1), lambda x: x.flatten(1)):
        with compiled_where_it_pays(asked, rows, images(), Settings(0, BATCH, "fp32")):
            assert getattr(asked, "_compiled_call_impl", None) is None
