"""Modules of the user are saved with their factory, and made by it again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from morex.models.errors import ModelError
from morex.models.external import Foreign, ForeignModelError, import_model
from morex.models.mixture import MeanOfExperts, Mixture
from morex.models.named import load_model
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet
from morex.models.save import save_model

NETS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten())
        self.out = nn.Linear(36 * width, 5)

    def forward(self, x):
        return self.out(self.body(x))

def wide():
    return Net(6)

def gate():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    torch.manual_seed(0)
    return "nets.py"


def images() -> Tensor:
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def used(net: nn.Module) -> nn.Module:
    net.train()(images())
    return net.eval()


def gate() -> ResNet:
    return ResNet(NetworkConfig("resnet10", 4, 2, (8, 8)))


def assert_comes_back(model: nn.Module, folder: Path) -> nn.Module:
    again = load_model(folder)
    with torch.no_grad():
        assert torch.equal(again(images()), model.eval()(images()))
    return again


def test_a_mixture_of_other_modules_comes_back(nets: str, tmp_path: Path) -> None:
    experts = {"a": used(import_model(f"{nets}:Net")), "b": used(import_model(f"{nets}:Net"))}
    mixture = Mixture(experts, used(gate()), last_layers="out")
    before = {name: weight.clone() for name, weight in mixture.state_dict().items()}
    save_model(mixture, tmp_path / "mixture", factory=f"{nets}:Net")
    assert {*mixture.state_dict()} == {*before}  # it is the same as before
    assert type(mixture.experts[0]).__name__ == "Net"
    again = assert_comes_back(mixture, tmp_path / "mixture")
    assert isinstance(again, Mixture)
    assert again.expert_names == ("a", "b")
    assert [layer.out_features for layer in again.last_layers()] == [5, 5]
    assert [p.requires_grad for p in again.last_layers()[0].parameters()] == [True, True]
    save_model(again, tmp_path / "again")  # its factories are known now
    assert_comes_back(mixture, tmp_path / "again")


def test_experts_and_gate_may_have_different_factories(nets: str, tmp_path: Path) -> None:
    experts = {"a": import_model(f"{nets}:Net"), "b": import_model(f"{nets}:wide")}
    mixture = Mixture(
        experts, import_model(f"{nets}:gate"), last_layers="out", combine="probabilities"
    )
    factories = {"a": f"{nets}:Net", "b": f"{nets}:wide", "gate": f"{nets}:gate"}
    save_model(mixture, tmp_path / "mixture", factory=factories)
    again = assert_comes_back(mixture, tmp_path / "mixture")
    assert again.combine == "probabilities"


def test_networks_of_morex_need_no_factory(nets: str, tmp_path: Path) -> None:
    theirs = import_model(f"{nets}:Net")
    ours = ResNet(NetworkConfig("resnet10", 4, 5, (8, 8)))
    mean = MeanOfExperts(
        {"ours": ours, "theirs": theirs}, last_layers={"ours": "head", "theirs": "out"}
    )
    save_model(mean, tmp_path / "mean", factory=f"{nets}:Net")
    again = assert_comes_back(mean, tmp_path / "mean")
    assert isinstance(again.experts[0], ResNet)
    assert isinstance(again.experts[1], Foreign)


def test_a_single_module_comes_back_elsewhere(nets: str, tmp_path: Path) -> None:
    net = used(import_model(f"{nets}:Net"))
    save_model(net, tmp_path / "net", factory=f"{nets}:Net", about={"classes": list("abcde")})
    torch.save(net(images()), tmp_path / "logits.pt")
    torch.save(images(), tmp_path / "images.pt")
    code = (
        "import sys, torch, morex; folder = sys.argv[1]; load = torch.load;"
        "logits = morex.load(f'{folder}/net')(load(f'{folder}/images.pt'));"
        "assert torch.equal(logits, load(f'{folder}/logits.pt'))"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=elsewhere, check=True)
    assert json.loads((tmp_path / "net/model.json").read_text())["about"]["classes"] == list(
        "abcde"
    )


def test_the_factory_must_make_these_modules(nets: str, tmp_path: Path) -> None:
    mixture = Mixture({"a": import_model(f"{nets}:Net")}, nn.Linear(1, 1), last_layers="out")
    for factory, error, message in [
        (
            f"{nets}:wide",
            ModelError,
            r"wide does not make a: body.0.weight has shape \(4, 3, 3, 3\)",
        ),
        ({"b": f"{nets}:Net"}, ModelError, "no part 'b'; there are a, gate"),
        ({"a": f"{nets}:Net"}, ModelError, "cannot save a Linear.* factory='path/to/net.py:make'"),
        (f"{nets}:Nett", ForeignModelError, "did you mean 'Net'"),
        ("nowhere.py:Net", ForeignModelError, "there is no file 'nowhere.py'"),
    ]:
        with pytest.raises(error, match=message):
            save_model(mixture, tmp_path / "mixture", factory=factory)
    with pytest.raises(ModelError, match="expected one factory for a single network"):
        save_model(mixture.experts[0], tmp_path / "mixture", factory={"a": f"{nets}:Net"})
    assert not (tmp_path / "mixture").exists()


def test_a_file_that_is_gone_is_named(nets: str, tmp_path: Path) -> None:
    save_model(import_model(f"{nets}:Net"), tmp_path / "net", factory=f"{nets}:Net")
    Path(nets).unlink()
    with pytest.raises(ModelError, match=r"cannot be loaded: .*/nets.py:Net: there is no file"):
        load_model(tmp_path / "net")
