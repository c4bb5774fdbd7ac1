"""Tied weights stay tied when a model is saved and loaded."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from morex import Mixture, NetworkConfig, ResNet, load, save
from morex.models.errors import ModelError
from morex.models.external import import_model
from morex.models.tied import tied_names

NETS = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(192, 16)
        self.middle = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.out = nn.Linear(16, 5)

    def forward(self, x):
        x = self.first(x.flatten(1))
        for layer in self.middle:
            x = layer(x).relu()
        return self.out(x)

def tied():
    net = Net()
    for layer in net.middle[1:]:
        layer.weight = net.middle[0].weight
    return net
"""
TIED = {
    "classifier.middle.1.weight": "classifier.middle.0.weight",
    "classifier.middle.2.weight": "classifier.middle.0.weight",
}


@pytest.fixture(autouse=True)
def _nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    torch.manual_seed(0)


def images() -> Tensor:
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("factory", ["tied", "Net"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_network_comes_back_with_its_weights_tied(
    factory: str, dtype: torch.dtype | None, tmp_path: Path
) -> None:
    net = import_model("nets.py:tied")
    save(net, tmp_path / "net", factory=f"nets.py:{factory}", dtype=dtype)
    again = load(tmp_path / "net")
    assert tied_names(again) == TIED
    middle = again.get_submodule("classifier.middle")
    assert len({id(layer.weight) for layer in middle}) == 1
    assert len([*again.parameters()]) == len([*net.parameters()])
    if dtype is None:
        assert torch.equal(again(images()), net(images()))
    stored = load_file(tmp_path / "net" / "model.safetensors")
    assert not stored.keys() & TIED.keys()
    with torch.no_grad():
        middle[2].weight.zero_()
    assert not middle[0].weight.any()


def test_a_mixture_comes_back_with_the_weights_of_an_expert_tied(tmp_path: Path) -> None:
    experts = {"a": import_model("nets.py:tied"), "b": import_model("nets.py:Net")}
    gate = ResNet(NetworkConfig("resnet10", 4, 2, (8, 8)))
    mixture = Mixture(experts, gate, last_layers="out").eval()
    save(mixture, tmp_path / "more", factory={"a": "nets.py:Net", "b": "nets.py:Net"})
    again = load(tmp_path / "more")
    assert tied_names(again) == {
        f"experts.0.{name}": f"experts.0.{first}" for name, first in TIED.items()
    }
    assert torch.equal(again(images()), mixture(images()))


def test_networks_of_morex_that_were_tied_by_hand_stay_tied(tmp_path: Path) -> None:
    config = NetworkConfig("resnet10", 4, 5, (8, 8))
    mixture = Mixture({"a": ResNet(config), "b": ResNet(config)}, ResNet(config, seed=2)).eval()
    mixture.experts[1].head = mixture.experts[0].head
    buffer = "stem.norm.running_mean"
    mixture.experts[1].get_buffer(buffer).data = mixture.experts[0].get_buffer(buffer).data
    expected = tied_names(mixture)
    assert expected["experts.1.head.weight"] == "experts.0.head.weight"
    assert expected[f"experts.1.{buffer}"] == f"experts.0.{buffer}"
    save(mixture, tmp_path / "more")
    assert tied_names(load(tmp_path / "more")) == expected


def test_a_model_without_tied_weights_is_written_as_before(tmp_path: Path) -> None:
    net = ResNet(NetworkConfig("resnet10", 4, 5, (8, 8)))
    assert tied_names(net) == {}
    save(net, tmp_path / "net")
    assert "tied" not in json.loads((tmp_path / "net" / "model.json").read_bytes())


def test_weights_that_share_a_part_of_their_memory_are_named(tmp_path: Path) -> None:
    net = import_model("nets.py:Net")
    net.middle[1].weight.data = net.middle[0].weight.data.T
    with pytest.raises(ModelError, match=r"middle\.0\.weight and .*middle\.1\.weight share a part"):
        save(net, tmp_path / "net", factory="nets.py:Net")
    assert not (tmp_path / "net").exists()


def test_slices_of_one_tensor_are_saved(tmp_path: Path) -> None:
    net = import_model("nets.py:Net")
    whole = torch.randn(32, 16)
    net.middle[0].weight.data, net.middle[1].weight.data = whole.chunk(2)
    save(net, tmp_path / "net", factory="nets.py:Net")
    assert torch.equal(load(tmp_path / "net")(images()), net(images()))


@pytest.mark.parametrize(
    "tied",
    [
        {"head.weight": "other"},
        {"other": "head.weight"},
        {"head.weight": "head.bias"},
        {"head.weight": "head.weight"},
        {"head.weight": 3},
        ["head.weight"],
    ],
)
def test_a_damaged_description_is_one_error(tied: object, tmp_path: Path) -> None:
    net = ResNet(NetworkConfig("resnet10", 4, 5, (8, 8)))
    save(net, tmp_path / "net")
    path = tmp_path / "net" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"tied": tied}))
    if tied == {"head.weight": "head.weight"}:
        assert torch.equal(load(tmp_path / "net").head.weight, net.head.weight)
        return
    with pytest.raises(ModelError, match=r"does not fit|is damaged"):
        load(tmp_path / "net")
