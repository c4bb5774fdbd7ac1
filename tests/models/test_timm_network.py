"""Networks of timm, with a stand-in for the package."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from stand_in_timm import install
from torch import nn

from morex.attacks import frozen
from morex.models.errors import ModelError
from morex.models.mixture import Mixture
from morex.models.named import load_model
from morex.models.network import NetworkConfig
from morex.models.networks import make_network
from morex.models.save import save_model
from morex.models.timm_network import TimmError, TimmNetwork


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def config(name: str = "timm/tiny_net", **changes: Any) -> NetworkConfig:
    return NetworkConfig(name, None, 3, (8, 8), **changes)


@pytest.mark.usefixtures("timm")
def test_a_network_of_timm_normalises_inside_and_depends_only_on_its_seed() -> None:
    mean, std, x = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), torch.rand(2, 3, 8, 8)
    net = make_network(config(mean=mean, std=std), seed=4).eval()
    assert isinstance(net, TimmNetwork)
    normalised = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(net(x), net.body(normalised), rtol=0, atol=0)
    for seed, same in ((4, True), (5, False)):
        again = make_network(net.config, seed=seed)
        assert torch.equal(again.body.conv.weight, net.body.conv.weight) == same


@pytest.mark.usefixtures("timm")
def test_it_is_saved_and_can_be_an_expert_and_a_gate(tmp_path: Path) -> None:
    net, x = make_network(config(), seed=1).eval(), torch.rand(2, 3, 8, 8)
    assert net.last_layer == "body.top.fc"
    mixture = Mixture({"a": net, "b": make_network(config(), seed=2)}, net.with_outputs(2)).eval()
    assert mixture.last_layers()[0].out_features == 3
    torch.testing.assert_close(mixture.gate_weights(x), torch.full((2, 2), 0.5))
    save_model(mixture, tmp_path)
    with frozen(mixture):
        torch.testing.assert_close(load_model(tmp_path)(x), mixture(x))


@pytest.mark.usefixtures("timm")
def test_networks_for_one_size_are_told_that_of_the_images() -> None:
    net = make_network(config("timm/patches"))
    assert net.body.fc.in_features == 3 * 8 * 8
    wrong = NetworkConfig("timm/patches", None, 3, (8, 9))
    with pytest.raises(TimmError, match=r"patches does not work with 3 channels of 8x9.*divisible"):
        make_network(wrong)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("timm/tiny_nte", {}, "no network 'tiny_nte'; did you mean 'tiny_net'"),
        ("timm/hf-hub:someone/net", {}, "no network 'hf-hub:someone/net'; see timm.list_models"),
        ("timm/two_heads", {}, "not one linear layer"),
        ("timm/tiny_net", {"activation": "silu"}, "has an activation of its own, got silu"),
    ],
)
def test_what_cannot_be_made_is_an_error(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TimmError, match=message):
        make_network(config(name, **changes))


@pytest.mark.usefixtures("timm")
def test_a_network_of_timm_has_no_width() -> None:
    with pytest.raises(ValueError, match="timm/tiny_net has no width to choose, got 64"):
        NetworkConfig("timm/tiny_net", 64)


def test_without_timm_an_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as there:
        install(there)
        save_model(make_network(config()), tmp_path)
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it was not installed
    with pytest.raises(TimmError, match=r"timm/tiny_net needs .*pip install 'morex\[timm\]'"):
        make_network(config())
    with pytest.raises(ModelError, match=r"pip install 'morex\[timm\]'"):
        load_model(tmp_path)
    assert isinstance(make_network(NetworkConfig("resnet10", 2)), nn.Module)
