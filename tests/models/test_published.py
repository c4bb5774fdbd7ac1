"""Weights of others load by name, into networks that compute what theirs compute."""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import literature as lit
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from morex.attacks import frozen
from morex.models.architectures import PREACT_RESNETS, RESNETS
from morex.models.errors import ModelError
from morex.models.network import Network, NetworkConfig
from morex.models.networks import make_network
from morex.models.published import load_published

Logits = Callable[[lit.Weights, Tensor], Tensor]

LITERATURE: dict[str, tuple[int | None, Logits]] = {
    "resnet10": (4, lambda w, x: lit.resnet(w, x, 4, (1, 1, 1, 1), F.relu)),
    "resnet18": (4, lambda w, x: lit.resnet(w, x, 4, (2, 2, 2, 2), F.relu)),
    "preactresnet18": (4, lambda w, x: lit.preact_resnet(w, x, 4, F.relu)),
    "preactresnet18-kuangliu": (
        4,
        lambda w, x: lit.preact_resnet(w, x, 4, F.relu, last_bn=False),
    ),
    "preactresnet18-wong": (
        4,
        lambda w, x: lit.preact_resnet(w, x, 4, F.relu, raw=True, last_bn=False),
    ),
    "preactresnet18-croce": (4, lambda w, x: lit.preact_resnet(w, x, 4, F.relu, last_act=F.relu)),
    "preactresnet18-deepmind": (4, lambda w, x: lit.deepmind_preact_resnet(w, x, 4, F.relu)),
    "wrn-10-1": (None, lambda w, x: lit.trades_wide_resnet(w, x, 10, 1, F.relu)),
    "wrn-16-2": (None, lambda w, x: lit.trades_wide_resnet(w, x, 16, 2, F.relu)),
    "wrn-16-2-deepmind": (None, lambda w, x: lit.deepmind_wide_resnet(w, x, 16, 2, F.relu)),
}
MEAN, STD = (0.1, 0.5, 0.7), (0.2, 0.3, 0.4)


def images() -> Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def normalised(x: Tensor) -> Tensor:
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def config(architecture: str, **changes: Any) -> NetworkConfig:
    return NetworkConfig(
        architecture, LITERATURE[architecture][0], 10, (8, 8), MEAN, STD, **changes
    )


def published(architecture: str) -> tuple[dict[str, Tensor], Tensor]:
    """Return weights under the names of the literature, and the logits of ``images``."""
    weights = lit.Weights()
    logits = LITERATURE[architecture][1](weights, normalised(images()))
    return weights.drawn, logits


def saved(content: Any, folder: Path) -> Path:
    torch.save(content, folder / "published.pt")
    return folder / "published.pt"


def close(network: Network, logits: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(network(images()), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", LITERATURE)
def test_weights_of_others_load_by_name_and_compute_the_same(
    architecture: str, tmp_path: Path
) -> None:
    weights, logits = published(architecture)
    network = load_published(saved(weights, tmp_path), config(architecture))
    close(network, logits)
    with frozen(network):  # convolutions are folded with their BatchNorm
        close(network, logits)


def test_every_preactivation_network_is_compared() -> None:
    assert {*PREACT_RESNETS} <= {*LITERATURE}


@pytest.mark.parametrize(
    ("activation", "function"), [("silu", lambda z: z * z.sigmoid()), ("softplus", F.softplus)]
)
def test_activations_are_in_every_place(
    activation: Any, function: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    for name, logits in {
        "resnet10": partial(lit.resnet, width=4, depths=(1, 1, 1, 1), act=function),
        "wrn-10-1": partial(lit.trades_wide_resnet, depth=10, factor=1, act=function),
        "preactresnet18": partial(lit.preact_resnet, width=4, act=function),
        "preactresnet18-croce": partial(lit.preact_resnet, width=4, act=function, last_act=F.relu),
    }.items():
        weights = lit.Weights()
        expected = logits(weights, normalised(images()))
        shape = config(name, activation=activation)
        close(load_published(saved(weights.drawn, tmp_path), shape), expected)


@pytest.mark.parametrize("architecture", ["wrn-16-2", "preactresnet18"])
def test_folded_networks_have_the_same_gradients(architecture: str) -> None:
    network = make_network(config(architecture)).double().eval()
    x = images().double().requires_grad_()
    expected = torch.autograd.grad(network(x).square().sum(), x)[0]
    with frozen(network):
        torch.testing.assert_close(torch.autograd.grad(network(x).square().sum(), x)[0], expected)


@pytest.mark.parametrize(
    ("architecture", "count"),
    [
        ("preactresnet18", 11_172_170),
        ("preactresnet18-wong", 11_171_146),
        ("preactresnet18-deepmind", 12_548_426),
        ("wrn-28-10", 36_479_194),
        ("wrn-34-10", 46_160_474),
        ("wrn-70-16-deepmind", 266_796_506),
    ],
)
def test_networks_have_the_published_number_of_parameters(architecture: str, count: int) -> None:
    with torch.device("meta"):
        network = make_network(NetworkConfig(architecture))
    assert sum(p.numel() for p in network.parameters()) == count


def test_wrappers_and_statistics_of_pixels_are_recognised(tmp_path: Path) -> None:
    weights, logits = published("wrn-10-1")
    wrapped = {f"module.model.{name}": tensor.double() for name, tensor in weights.items()}
    wrapped["module.mu"] = torch.tensor(MEAN).view(1, 3, 1, 1)
    wrapped["module.sigma"] = torch.tensor(STD).view(1, 3, 1, 1)
    content = {"epoch": 3, "last": {"state_dict": wrapped}, "optimizer": {"lr": 0.1}}
    plain = NetworkConfig("wrn-10-1", None, 10, (8, 8))
    network = load_published(saved(content, tmp_path), plain)
    close(network, logits)
    assert network.config.mean == pytest.approx(MEAN)
    assert network.config.std == pytest.approx(STD)
    save_file({k: t.contiguous() for k, t in wrapped.items()}, tmp_path / "a.safetensors")
    close(load_published(tmp_path / "a.safetensors", plain), logits)


class _Trap:
    def __reduce__(self) -> Any:
        return print, ("executed",)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>", b"PK\x03\x04 cut off", b""])
def test_a_download_that_is_no_file_of_weights_is_known(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "theirs.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"no file of torch\.save \(\d+ bytes .*; download"):
        load_published(path, config("wrn-10-1"))


def test_nothing_in_a_file_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, _ = published("wrn-10-1")
    path = saved({"state_dict": weights, "args": _Trap()}, tmp_path)
    with pytest.raises(ModelError, match=r"executes nothing.*published\.safetensors"):
        load_published(path, config("wrn-10-1"))
    path.write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(ModelError, match="executes nothing"):
        load_published(path, config("wrn-10-1"))
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.weight": torch.ones(7, 64)}, r"fc\.weight is .*\(7, 64\), expected .*\(10, 64\)"),
        ({"fc.bias": torch.ones(10, dtype=torch.int64)}, r"fc\.bias is torch\.int64"),
        ({"layer1.0.bn1.weight": torch.ones(3)}, r"unknown layer1\.0\.bn1\.weight; expected.*"),
        ({"block1.layer.0.conv1.bias": torch.ones(3)}, r"block1\.layer\.0\.conv1\.bias is too"),
        ({"mean": torch.ones(1).expand(10**9)}, "unknown mean"),
        ({"block2.layer.0.convShortcut.weight": None}, r"convShortcut\.weight is missing"),
    ],
)
def test_other_weights_are_refused(
    change: dict[str, Tensor | None], message: str, tmp_path: Path
) -> None:
    weights, _ = published("wrn-10-1")
    changed = {name: t for name, t in (weights | change).items() if t is not None}
    with pytest.raises(ModelError, match=message):
        load_published(saved(changed, tmp_path), config("wrn-10-1"))


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"epoch": 1}}, {"state_dict": 3}])
def test_a_file_without_weights_is_refused(content: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no weights by name"):
        load_published(saved(content, tmp_path), config("wrn-10-1"))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_published(tmp_path / "none.pt", config("wrn-10-1"))


@pytest.mark.parametrize(
    ("name", "width", "message"),
    [
        ("wrn-29-10", None, "depth of 6n [+] 4, such as 10, 16, 22, 28, 34 or 70; got 29"),
        ("wrn-28-10", 64, "the first stage of wrn-28-10 has 160 channels, as its name says"),
        ("wrn_28_10", None, "did you mean 'wrn-28-10'"),
        ("preact-resnet18", None, "did you mean 'preactresnet18'"),
    ],
)
def test_names_that_stand_for_nothing(name: str, width: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkConfig(name, width)


def test_each_class_says_which_function_makes_other_networks() -> None:
    classes = {type(make_network(NetworkConfig(n, 2))) for n in (*RESNETS, *PREACT_RESNETS)}
    for cls, other in zip(sorted(classes, key=str), ("resnet10", "wrn-10-1"), strict=True):
        with pytest.raises(ValueError, match=r"make it with morex\.make_network"):
            cls(NetworkConfig(other))
