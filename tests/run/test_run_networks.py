"""Runs with other networks than ResNets: of morex, of timm, and of RobustBench as experts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from robust_bench import DEEPMIND, MEAN, WIDE, images, install
from stand_in_timm import install as install_timm
from tiny import changed, raw_recipe

import morex
from morex.models.errors import ModelError
from morex.recipe import parse_recipe
from morex.report import make_table, read_results, to_markdown
from morex.run import Started, run
from morex.run.failures import StageError

CIFAR_10 = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]


def short(*models: str) -> dict[str, Any]:
    """Return the tiny recipe with one epoch and two rows."""
    raw = raw_recipe(*models)
    raw["training"] |= {"epochs": 1}
    rows = raw["evaluation"]["rows"]
    raw["evaluation"] |= {"examples": 10, "rows": {k: rows[k] for k in ("clean", "pgd-linf")}}
    return raw


@pytest.mark.parametrize(
    ("network", "gate"),
    [
        ({"architecture": "wrn-10-1", "activation": "softplus"}, {"architecture": "resnet10"}),
        ({"architecture": "timm/tiny_net"}, {"architecture": "preactresnet18", "width": 2}),
    ],
)
def test_a_recipe_trains_them_as_experts_and_as_gates(
    network: dict[str, Any], gate: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_timm(monkeypatch)
    raw = changed(short("clean", "Minf", "MoRE (in turn)"), "network", network)
    raw["gate"] = {"width": 2, **gate}
    run(parse_recipe(raw), tmp_path, jobs=1)
    mixture = morex.load(tmp_path / "models" / "more-in-turn")
    assert mixture.experts[0].config.architecture == network["architecture"]
    assert mixture.gate.config.architecture == gate["architecture"]
    setting = json.loads((tmp_path / "results.json").read_bytes())["setting"]
    assert setting["network"].startswith(network["architecture"])


def pictures(folder: Path, classes: list[str]) -> Path:
    """Write class folders with random pictures of 32x32 pixels."""
    draw = np.random.default_rng(0)
    for split, each in (("train", 4), ("test", 1)):
        for name in classes:
            place = folder / split / name
            place.mkdir(parents=True)
            for i in range(each):
                pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.png")
    return folder


def over_robustbench(data: Path) -> dict[str, Any]:
    """Return a recipe of a mixture over two networks of RobustBench."""
    raw = changed(short("clean"), "data", {"name": "like-cifar10", "folder": str(data)})
    raw["network"] = {"architecture": "resnet10", "width": 2}
    raw["training"] |= {"batch_size": 16}
    raw["models"] = {
        "wide": {"kind": "saved", "model": f"robustbench://{WIDE}", "against": "linf"},
        "deepmind": {"kind": "saved", "model": f"robustbench://{DEEPMIND}", "against": "clean"},
        "mixed": {
            "kind": "mixture",
            "experts": ["wide", "deepmind"],
            "combine": "probabilities",
            "against": ["clean", "linf"],
            "gate_warmup": {"epochs": 1},
        },
    }
    raw["columns"] = ["wide", "mixed"]
    return raw


def test_a_mixture_over_robust_networks_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = install(tmp_path / "weights", monkeypatch)
    data = pictures(tmp_path / "data", CIFAR_10)
    run(parse_recipe(over_robustbench(data)), tmp_path / "run", jobs=1)
    models = tmp_path / "run" / "models"
    wide = morex.load(models / "wide")  # a copy, which no longer needs the folder
    torch.testing.assert_close(wide(images()), logits[WIDE], rtol=1e-4, atol=1e-4)
    mixture = morex.load(models / "mixed")
    weights = mixture.experts[1].state_dict()
    theirs = torch.load(tmp_path / "weights" / f"{DEEPMIND}.pt")
    assert torch.equal(weights["stem.weight"], theirs["module.init_conv.weight"])
    assert mixture.experts[1].config.activation == "silu"
    said = to_markdown(make_table(read_results(tmp_path / "run")))
    assert "trained elsewhere, and counted nowhere: wide, deepmind" in said


def test_data_with_other_classes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "weights", monkeypatch)
    data = pictures(tmp_path / "data", [*CIFAR_10[1:], "zebra"])
    begun = list[object]()
    with pytest.raises(ModelError, match=r"has the classes airplane, .*which are not those"):
        run(parse_recipe(over_robustbench(data)), tmp_path / "run", jobs=1, observer=begun.append)
    assert not any(isinstance(event, Started) for event in begun)


def warm_from_robustbench(data: Path, **network: Any) -> dict[str, Any]:
    raw = over_robustbench(data)
    raw["models"] |= {"mixed": {"against": "linf", "warm_start": "deepmind"}}
    return raw | {"network": network, "columns": ["mixed"]}


def test_a_training_starts_from_a_network_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "weights", monkeypatch)
    data = pictures(tmp_path / "data", CIFAR_10)
    raw = warm_from_robustbench(data, architecture="wrn-10-1-deepmind", activation="silu")
    raw["training"] |= {"learning_rate": 1e-12}
    run(parse_recipe(raw), tmp_path / "run", jobs=1)
    start, tuned = (morex.load(tmp_path / "run" / "models" / m) for m in ("deepmind", "mixed"))
    assert tuned.config == start.config  # the pixels' mean and deviation too
    assert tuned.with_outputs(2).config.mean == pytest.approx(MEAN)
    torch.testing.assert_close(tuned.head.weight, start.head.weight)


def test_a_start_of_another_shape_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "weights", monkeypatch)
    data = pictures(tmp_path / "data", CIFAR_10)
    raw = warm_from_robustbench(data, architecture="resnet10", width=2)
    with pytest.raises(StageError, match=r"expected network: .architecture: wrn-10-1-deepmind"):
        run(parse_recipe(raw), tmp_path / "run", jobs=1)
