"""Networks that are compiled in place."""

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from morex.attacks import frozen
from morex.models.architectures import RESNETS, PostActivation
from morex.models.compiled import (
    PAYS_FROM,
    _obstacle,
    compiled,
    compiled_if_it_pays,
    compiling_pays,
)
from morex.models.image_check import with_image_check
from morex.models.mixture import Mixture
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet


@pytest.fixture(autouse=True)
def nothing_compiled_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(RESNETS, "tiny", PostActivation("basic", (1, 1)))
    _forget()
    yield
    _forget()


clear_obstacles = _obstacle.cache_clear


def _forget() -> None:
    torch._dynamo.reset()
    counters.clear()
    clear_obstacles()


def network(seed: int = 0, outputs: int = 10) -> ResNet:
    return ResNet(NetworkConfig("tiny", 4, outputs, (8, 8)), seed=seed)


def images(n: int = 6) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(n))


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def silent(text: str) -> None:
    raise AssertionError(text)


def use(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Use a model as training does: attack, update, attack, validate."""
    found = []
    for _ in range(2):
        with frozen(model):
            for _ in range(2):
                z = x.clone().requires_grad_()
                found += torch.autograd.grad(model(z).square().sum(), z)
            with torch.no_grad():
                found.append(model(x))
        model.train()
        found.append(model(x).detach())
        model.zero_grad()
        model(x).square().sum().backward()
        found += [p.grad.clone() for p in model.parameters() if p.grad is not None]
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(0.9)  # folded weights of before would be wrong from here on
    return found


def test_compiled_networks_compute_the_same() -> None:
    def mixture() -> Mixture:
        return Mixture({"a": network(1), "b": network(2)}, network(3, 2))

    plain, model = mixture(), mixture()
    expected = use(plain, images())
    with compiled(model, silent, backend="aot_eager") as done:
        found = use(model, images())
    assert done
    assert graphs() > 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_networks_of_one_shape_share_their_code() -> None:
    for seed in range(3):  # a graph each for attacks, for updates, and without gradients
        model = network(seed)
        with compiled(model, silent, backend="eager"):
            use(model, images())
            use(model, images())
        assert graphs() == 1 + 3, seed  # and that of the trial
    use(model, images())
    assert graphs() == 4
    assert not counters["graph_break"]


def test_a_mixture_is_compiled_once_for_all_its_experts() -> None:
    counts = []
    for experts in (2, 3):
        _forget()
        mixture = Mixture({str(i): network(i) for i in range(experts)}, network(9, 3))
        mixture.gate = network(9, experts)
        with compiled(mixture, silent, backend="eager"):
            use(mixture, images())
        counts.append(graphs())
    assert counts[0] == counts[1]


def test_many_shapes_are_compiled() -> None:
    model = network().eval()
    with compiled(model, silent, backend="eager"):
        for n in range(1, 11):  # torch gives up after eight by default
            model(images(n))
    assert graphs() == 1 + 10


def test_a_model_that_checks_its_images_is_compiled_once() -> None:
    model = with_image_check(network(), {"image_size": (8, 8)}).eval()
    with torch.no_grad(), compiled(model, silent, backend="eager"):
        model(images())
        expected = graphs()
        for hook in model._forward_pre_hooks.values():
            hook.in_range = True
        model(images())
    assert graphs() == expected == 2
    assert not counters["graph_break"]


def test_the_model_is_left_as_it_was() -> None:
    model = Mixture({"a": network(1), "b": network(2)}, network(3, 2))
    names, kinds = list(model.state_dict()), [type(m) for m in model.modules()]
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    with compiled(model, silent, backend="eager"):
        assert list(model.state_dict()) == names
        assert [type(m) for m in model.modules()] == kinds
        assert not any(m._compiled_call_impl for m in copy.deepcopy(model).modules())
    assert not any(m._compiled_call_impl for m in model.modules())
    assert os.environ.get("TORCHINDUCTOR_CACHE_DIR") == before


@pytest.mark.parametrize("own", [None, "/somewhere"])
def test_compiled_code_is_kept_for_the_user(
    own: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if own:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", own)
    with compiled(network(), silent, backend="eager"):
        found = os.environ["TORCHINDUCTOR_CACHE_DIR"]
    assert found == (own or str(tmp_path / "morex/compiled"))


def broken(graph: object, inputs: object) -> None:
    raise RuntimeError("no compiler here\nand a long story")


def broken_for_large(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
    if len(inputs) > 10:
        raise RuntimeError("too large")
    return graph


def test_without_a_compiler_there_is_one_sentence_and_the_same_result() -> None:
    said: list[str] = []
    model = network().eval()
    with compiled(model, said.append, backend=broken) as done:
        found = model(images())
    assert not done
    (text,) = said
    assert "not compiled" in text
    assert "no compiler here" in text
    assert "\n" not in text
    assert torch.equal(found, model(images()))


def test_a_network_that_cannot_be_compiled_runs_as_it_is() -> None:
    model = network().eval()
    with compiled(model, silent, backend=broken_for_large):
        found = model(images())
    assert torch.equal(found, model(images()))


def test_other_models_are_left_alone() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    with compiled(model, silent, backend="eager") as done:
        model(images())
    assert not done
    assert not graphs()


def test_the_global_generator_is_not_used() -> None:
    before = torch.get_rng_state()
    with compiled(network(), silent, backend="eager"):
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_compiling_pays_in_long_work_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = network(), (256, 3, 8, 8)
    assert not compiling_pays(model, batch, 1e12)  # on a CPU
    monkeypatch.setattr("morex.models.compiled._device", lambda network: torch.device("cuda"))
    assert not compiling_pays(nn.Linear(1, 1), batch, 1e12)
    assert compiling_pays(model, batch, 1e12)
    assert not compiling_pays(model, batch, 1e3)
    paper = ResNet(NetworkConfig())  # width 64: 1.1 GFLOP forward
    images = PAYS_FROM / 1.1e9
    assert compiling_pays(paper, (256, 3, 32, 32), 1.2 * images / 256)
    assert not compiling_pays(paper, (256, 3, 32, 32), 0.8 * images / 256)
    mixture = Mixture({"a": paper, "b": ResNet(NetworkConfig())}, ResNet(NetworkConfig(outputs=2)))
    assert not compiling_pays(mixture, (256, 3, 32, 32), 8 / 3 * images / 256)
    assert compiling_pays(mixture, (256, 3, 32, 32), 12 / 3 * images / 256)


def test_code_that_is_there_is_used_in_shorter_work(monkeypatch: pytest.MonkeyPatch) -> None:
    module, batch = "morex.models.compiled", (256, 3, 8, 8)
    monkeypatch.setattr(f"{module}._device", lambda network: torch.device("cuda"))
    monkeypatch.setattr(f"{module}._obstacle", lambda device, backend: None)
    monkeypatch.setattr(f"{module}._COMPILED", set())

    def is_compiled(model: nn.Module, shape: tuple[int, ...], passes: float) -> bool:
        with compiled_if_it_pays(model, shape, passes, silent):
            return any(m._compiled_call_impl for m in model.modules())

    assert not is_compiled(network(), batch, 1)
    assert is_compiled(network(), batch, 1e12)
    assert is_compiled(network(1), batch, 1)
    assert not is_compiled(network(), (128, 3, 8, 8), 1)
    assert not is_compiled(network(0, 3), batch, 1)
    assert not is_compiled(nn.Linear(1, 1), batch, 1)
    torch.use_deterministic_algorithms(True)
    try:
        assert not is_compiled(network(), batch, 1e12)
    finally:
        torch.use_deterministic_algorithms(False)
