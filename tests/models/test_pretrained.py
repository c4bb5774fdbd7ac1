import json
from pathlib import Path

import pytest
import torch

import morex
import morex.artifacts.model_sets
from morex.artifacts.model_sets import shipped_sets
from morex.models.errors import ModelError
from morex.models.named import find_model, load_model, open_model
from morex.models.save import save_model


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for shipped models with the set ``tiny`` of two models."""
    folder = tmp_path / "models" / "pretrained" / "tiny"
    for seed, name in enumerate(("clean", "minf")):
        config = morex.NetworkConfig("resnet10", 2, 3, (8, 8))
        save_model(morex.ResNet(config, seed=seed), folder / name)
    about = {"description": "two small ones", "default": "minf"}
    (folder / "set.json").write_text(json.dumps(about))
    monkeypatch.setattr(morex.artifacts.model_sets, "files", lambda package: tmp_path)
    return folder


def test_a_name_is_the_default_or_one_model(home: Path) -> None:
    assert find_model("tiny") == home / "minf"
    assert find_model("tiny/clean") == home / "clean"
    assert isinstance(morex.load("tiny/clean"), morex.ResNet)
    assert shipped_sets()["tiny"].models == ("clean", "minf")


def test_a_folder_comes_before_a_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    with pytest.raises(ModelError, match="no model in 'tiny'"):
        load_model("tiny")


@pytest.mark.parametrize("name", ["tiny/msnow", "huge", "tiny/clean/more"])
def test_an_unknown_name_raises_and_lists_the_models(home: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"shipped model: tiny/clean, tiny/minf"):
        load_model(name)


def test_every_shipped_model_loads_and_answers() -> None:
    for name, found in shipped_sets().items():
        assert found.default in found.models
        for model in found.models:
            about = open_model(f"{name}/{model}").about
            x = torch.rand(2, 3, *about["image_size"])
            logits = morex.load(f"{name}/{model}")(x)
            assert logits.shape == (2, len(about["classes"]))
