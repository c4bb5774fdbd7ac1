"""Models of RobustBench and of the hub, wherever a saved model is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from calling import call
from PIL import Image
from robust_bench import WIDE, install
from stand_in_hub import StandInHub, stand_in_hub
from tiny import raw_recipe

import morex
from morex.cli.load_model import EvaluationRequest, with_provenance
from morex.deploy.guard import LOOPBACK
from morex.deploy.intake import Limits
from morex.deploy.serving import served
from morex.models import hub as models_on_hub
from morex.models.named import open_saved
from morex.recipe import parse_recipe
from morex.run.events import ignore
from morex.run.stage_runner import StageRunner
from morex.run.stages import Stage

WIDE_ADDRESS = f"robustbench://{WIDE}"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    with stand_in_hub(tmp_path / "cache", monkeypatch) as here:
        network = morex.ResNet(morex.NetworkConfig("resnet10", 2, 3, (8, 8)), seed=1)
        morex.save(network, tmp_path / "nets" / "robust", about={"classes": ["a", "b", "c"]})
        here.put("somebody/nets", tmp_path / "nets")
        yield here


def picture(folder: Path, size: int) -> Path:
    Image.new("RGB", (size, size), (90, 20, 200)).save(folder / "picture.png")
    return folder / "picture.png"


def test_predict_takes_a_model_of_robustbench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch)
    code, out, err = call("predict", "--model", WIDE_ADDRESS, picture(tmp_path, 40))
    assert code == 0, err
    model = morex.load(WIDE_ADDRESS)
    x = torch.tensor([90, 20, 200]).view(1, 3, 1, 1).expand(1, 3, 32, 32) / 255
    best = open_saved(WIDE_ADDRESS).about["classes"][model(x).argmax()]
    assert f"picture.png: {best} (" in out


def test_a_model_of_robustbench_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    cpu = torch.device("cpu")
    found = served(open_saved(WIDE_ADDRESS), None, cpu, LOOPBACK, Limits())
    found.close()
    assert found.service.about["model"] == "Wide2026"


def test_sparse_refuses_a_single_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    code, _, err = call("sparse", WIDE_ADDRESS, "--top", "1", "--to", tmp_path / "sparse")
    assert code == 2
    assert "expected a mixture with a gate" in err


def test_predict_takes_a_model_of_the_hub_at_a_revision(hub: StandInHub, tmp_path: Path) -> None:
    commit = hub.repositories["somebody/nets"].commits[0][0]
    shown = picture(tmp_path, 8)
    code, out, err = call("predict", "--model", f"hf://somebody/nets@{commit}/robust", shown)
    assert code == 0, err
    assert "picture.png: " in out
    code, _, err = call("predict", "--model", "hf://somebody/nets@v9/robust", shown)
    assert code == 2
    assert err.count("\n") == 1
    assert "hf://somebody/nets@v9 cannot be downloaded: it has no such branch, tag or commit" in err


def test_a_run_keeps_the_commit_of_an_expert(hub: StandInHub, tmp_path: Path) -> None:
    def commit(seed: int) -> str:
        network = morex.ResNet(morex.NetworkConfig("resnet10", 2, 10, (8, 8)), seed=seed)
        morex.save(network, tmp_path / "ten", about={"classes": [*map(str, range(10))]})
        models_on_hub._snapshot.cache_clear()
        return hub.put("somebody/ten", tmp_path / "ten")

    first = commit(1)
    raw = raw_recipe("clean")
    raw["models"]["theirs"] = {"kind": "saved", "model": "hf://somebody/ten", "against": "clean"}
    recipe = parse_recipe(raw, "recipe")
    runner = StageRunner.open(recipe, tmp_path / "run", torch.device("cpu"), ignore, 30.0)
    runner._train(Stage("train", "theirs", (), {}), tmp_path / "work")
    pinned = open_saved(tmp_path / "run/models/theirs").about["pinned"]
    assert pinned == f"hf://somebody/ten@{first}"
    before = open_saved("hf://somebody/ten").identity
    commit(2)
    assert open_saved("hf://somebody/ten").identity != before
    assert open_saved(pinned).identity == before


def test_results_name_the_commit_of_a_model(hub: StandInHub) -> None:
    commit = hub.repositories["somebody/nets"].commits[0][0]
    request = EvaluationRequest("hf://somebody/nets/robust", device=torch.device("cpu"))
    facts = with_provenance(request, {"weights": "0"}, {})
    assert facts["pinned"] == f"hf://somebody/nets@{commit}/robust"
    request = EvaluationRequest("cifar10-small", device=torch.device("cpu"))
    assert "pinned" not in with_provenance(request, {"weights": "0"}, {})
