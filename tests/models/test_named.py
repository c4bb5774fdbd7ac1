"""Models by name: they are opened once, and described before their weights are loaded."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import morex
from morex.artifacts.model_sets import SetError
from morex.models.errors import ModelError
from morex.models.external import Foreign, ForeignConfig, ForeignModelError
from morex.models.folder import DESCRIPTION, WEIGHTS
from morex.models.mixture import Mixture
from morex.models.named import FromFactory, FromFolder, open_model
from morex.models.save import save_model

ABOUT = {"classes": ["a", "b", "c"], "recipe": {"seed": 3}}


def network(seed: int = 0, outputs: int = 3) -> morex.ResNet:
    return morex.ResNet(morex.NetworkConfig("resnet10", 2, outputs, (8, 8)), seed=seed).eval()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- in a folder


def test_a_folder_is_opened_without_its_weights(tmp_path: Path) -> None:
    save_model(network(), tmp_path, about=ABOUT)
    checksum = sha256(tmp_path / WEIGHTS)
    (tmp_path / WEIGHTS).unlink()
    model = open_model(tmp_path)
    assert isinstance(model, FromFolder)
    assert (model.name, model.folder) == (str(tmp_path), tmp_path)
    assert model.about == ABOUT
    assert model.recipe == {"seed": 3}
    assert model.digest == hashlib.sha256(checksum.encode()).hexdigest()
    assert model.identity == {"weights": model.digest}
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        model.load()


def test_a_model_is_the_one_that_was_opened(tmp_path: Path) -> None:
    save_model(network(0), tmp_path, about=ABOUT)
    model = open_model(tmp_path)
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(model.load()(x), network(0)(x), rtol=0, atol=0)
    save_model(network(1), tmp_path)
    assert model.about == ABOUT
    with pytest.raises(ModelError, match="wrong checksum"):  # not a mixture of old and new
        model.load()


def test_each_load_returns_a_new_model_in_evaluation_mode(tmp_path: Path) -> None:
    save_model(network(), tmp_path)
    model = open_model(tmp_path)
    first, second = model.load(), model.load()
    assert first is not second
    assert not any(module.training for module in first.modules())


def test_the_recipe_of_a_set_comes_first(tmp_path: Path) -> None:
    for name, about in (("a", ABOUT), ("b", {})):
        save_model(network(), tmp_path / name, about=about)
    assert open_model(tmp_path / "b").recipe is None
    described = {"default": "a", "recipe": {"seed": 5}}
    (tmp_path / "set.json").write_text(json.dumps(described))
    assert [open_model(tmp_path / name).recipe for name in "ab"] == [{"seed": 5}] * 2
    (tmp_path / "set.json").write_text("{")
    with pytest.raises(SetError, match=r"set\.json is damaged"):
        _ = open_model(tmp_path / "a").recipe


def test_the_digest_covers_shared_weights(tmp_path: Path) -> None:
    """Two mixtures whose own weights are the same differ if they share other experts."""
    for seed in (1, 2):
        home = tmp_path / str(seed)
        expert = network(seed)
        save_model(expert, home / "expert")
        save_model(Mixture({"e": expert}, network(7, 1)), home / "mix", beside=["expert"])
    first, second = (tmp_path / seed / "mix" for seed in "12")
    assert sha256(first / WEIGHTS) == sha256(second / WEIGHTS)
    assert open_model(first).digest != open_model(second).digest
    described = json.loads((first / DESCRIPTION).read_text())
    own, theirs = sha256(first / WEIGHTS), sha256(tmp_path / "1" / "expert" / WEIGHTS)
    assert described["shared"]["experts.0."]["weights_sha256"] == theirs
    assert open_model(first).digest == hashlib.sha256((own + theirs).encode()).hexdigest()


# --- from a factory

MODULE = """
import torch
made = 0

def make():
    global made
    made += 1
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    module = f"named_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield f"{module}:make"
    sys.modules.pop(module, None)


def test_a_factory_is_called_once_and_late(factory: str) -> None:
    model = open_model(factory, input_range="-1..1", mean=(0.1,), std=(0.5,), last_layer="1")
    module = factory.partition(":")[0]
    assert module not in sys.modules
    assert (model.name, model.about, model.recipe) == (factory, {}, None)
    config = ForeignConfig(factory, "-1..1", (0.1,), (0.5,), "1")
    assert isinstance(model, FromFactory)
    assert model.config == config
    made = model.load()
    assert isinstance(made, Foreign)
    assert made.config == config
    assert made is model.load()
    assert not made.training
    identity = model.identity
    assert identity["weights"] == model.digest == made.digest()
    assert identity["made_by"]["factory"] == factory
    assert sys.modules[module].made == 1


def test_the_digest_of_a_classifier_is_that_of_its_weights(factory: str) -> None:
    model = open_model(factory, last_layer="1")
    before = model.digest
    layer = model.load().get_submodule("classifier.1")
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight[0, 0] += 1
    assert model.digest == before  # what was opened
    made = model.load()
    assert isinstance(made, Foreign)
    assert made.digest() != before


def test_the_digest_hashes_names_types_shapes_and_values(factory: str) -> None:
    """The keys of finished stages depend on it."""
    model = open_model(factory, last_layer="1")
    expected = hashlib.sha256()
    for name, tensor in model.load().state_dict().items():
        expected.update(f"{name} torch.float32 {tuple(tensor.shape)}".encode())
        expected.update(tensor.numpy().tobytes())
    assert model.digest == expected.hexdigest()


def test_a_wrong_range_is_refused_before_anything_is_made(factory: str) -> None:
    with pytest.raises(ForeignModelError, match=r"input range 0\.\.2: expected one of 0\.\.1"):
        open_model(factory, input_range="0..2")
    assert factory.partition(":")[0] not in sys.modules


def test_a_folder_whose_name_has_a_colon_is_no_factory(tmp_path: Path) -> None:
    save_model(network(), tmp_path / "a:b")
    assert isinstance(open_model(tmp_path / "a:b"), FromFolder)
