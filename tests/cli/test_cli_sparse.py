"""``morex sparse``: a saved mixture that asks only some experts."""

import json
from pathlib import Path

import pytest
import torch
from calling import FinishedRun, call

import morex
from morex.models import Routing
from morex.models.mixture import Mixture


def test_a_sparse_mixture_is_a_saved_model(finished: FinishedRun, tmp_path: Path) -> None:
    source, to = finished.folder / "models" / "more", tmp_path / "cheap"
    code, out, err = call("sparse", source, "--threshold", 0.4, "--to", to)
    assert code == 0, err
    assert out == f"MoRE, threshold 0.4: {to}; next: morex evaluate {to} --suite adaptive\n"
    made, dense = morex.load(to), morex.load(source)
    assert isinstance(made, Mixture)
    assert made.routing == Routing(threshold=0.4)
    for name, t in dense.state_dict().items():
        assert torch.equal(made.state_dict()[name], t)
    about = [json.loads((home / "model.json").read_text())["about"] for home in (to, source)]
    assert about[0]["name"] == "MoRE, threshold 0.4"
    assert about[0]["classes"] == about[1]["classes"]
    sizes = [(home / "model.safetensors").stat().st_size for home in (to, source)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_it_is_evaluated_outside_of_the_run(finished: FinishedRun, tmp_path: Path) -> None:
    to = tmp_path / "cheap"
    call("sparse", finished.folder / "models" / "more", "--top", 1, "--to", to)
    code, out, err = call("evaluate", to, "--suite", "quick", "--examples", 5)
    assert code == 0, err
    assert "union" in out


def test_a_low_precision_is_kept(tmp_path: Path) -> None:
    to = tmp_path / "cheap"
    assert call("sparse", "cifar10-small", "--top", 2, "--to", to)[0] == 0
    weights = sum(t.numel() for t in morex.load(to).state_dict().values())
    assert (to / "model.safetensors").stat().st_size == pytest.approx(2 * weights, rel=0.05)
    assert (
        json.loads((to / "model.json").read_text())["about"]["recipe"]["data"]["name"] == "cifar10"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected either a threshold or top, got threshold None and top None"),
        (("--threshold", 0.1, "--top", 1), "expected either a threshold or top"),
        (("--threshold", 2), "threshold must be in [0, 1), got 2.0"),
        (("--top", 9), "top must be at most 3, the number of experts, got 9"),
    ],
)
def test_wrong_numbers_are_named(
    options: tuple[object, ...], message: str, finished: FinishedRun, tmp_path: Path
) -> None:
    to = tmp_path / "cheap"
    code, _, err = call("sparse", finished.folder / "models" / "more", *options, "--to", to)
    assert code == 2
    assert message in err.replace("\n", " ")
    assert not to.exists()


def test_a_network_cannot_be_sparse(finished: FinishedRun, tmp_path: Path) -> None:
    source = finished.folder / "models" / "clean"
    code, _, err = call("sparse", source, "--top", 1, "--to", tmp_path / "cheap")
    assert code == 2
    assert "expected a mixture with a gate, which chooses its experts, got a ResNet" in err


def test_a_model_is_not_overwritten(finished: FinishedRun) -> None:
    source = finished.folder / "models" / "more"
    code, _, err = call("sparse", source, "--top", 1, "--to", source)
    assert code == 2
    assert "holds a model already; name another folder" in err
