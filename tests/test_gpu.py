"""What a machine with a GPU must do as well; skipped where there is none."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from calling import call
from digits_net import trained_net, unseen
from tiny import changed, raw_recipe, results_of

from morex.attacks import PGD, AutoAttack, DeepFool, RayS
from morex.attacks.gradients import watched
from morex.core.precision import default_device
from morex.core.seeding import generator_for
from morex.models.mixture import Mixture
from morex.models.named import load_model
from morex.perturbations import L1, L2, Ball, Linf
from morex.recipe import parse_recipe
from morex.recipe.extend import extended
from morex.report import read_results
from morex.run import run
from morex.run.continuation import continue_run, recipe_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

GPU = torch.device("cuda")
FEW = ("clean", "Minf", "Mfog", "MoRE")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. Do not change it."""
    out = tmp_path_factory.mktemp("gpu") / "run"
    run(parse_recipe(raw_recipe(*FEW)), out, device=GPU)
    return out


def test_a_run_says_on_what_it_was_made_and_its_models_answer_as_on_a_cpu(finished: Path) -> None:
    file = read_results(finished).file
    assert file.provenance.hardware["gpu"] == torch.cuda.get_device_name(GPU)
    x = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for name in ("clean", "more"):
        here, there = (
            load_model(finished / "models" / name),
            load_model(finished / "models" / name, device=GPU),
        )
        torch.testing.assert_close(there(x.to(GPU)).cpu(), here(x), rtol=1e-2, atol=1e-2)


def test_a_finished_run_is_not_done_again(finished: Path) -> None:
    before = results_of(finished)
    run(parse_recipe(raw_recipe(*FEW)), finished, device=GPU)
    assert results_of(finished) == before


def test_a_mixture_is_extended(finished: Path, tmp_path: Path) -> None:
    recipe = extended(recipe_of(finished), "MoRE", {"rain": {"kind": "rain", "drops": 20}})
    continue_run(finished, recipe, tmp_path / "run", device=GPU)
    assert isinstance(load_model(tmp_path / "run/models/more-+-rain", device=GPU), Mixture)


def test_the_command_line_takes_the_gpu(finished: Path, tmp_path: Path) -> None:
    model, out = finished / "models/more", tmp_path / "o.npz"
    options = ("--examples", 20, "--device", "cuda", "--out", out)
    code, said, error = call("evaluate", model, *options)
    assert code == 0, error
    assert "pgd-linf" in said
    assert "gpu" in json.loads(out.with_suffix(".json").read_text())["hardware"]


def test_a_gpu_is_the_default_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOREX_DEVICE")
    assert default_device() == GPU


@pytest.mark.parametrize("ball", [Linf(0.06), L2(0.35), L1(1.5)], ids=str)
def test_attacks_find_as_much_as_on_a_cpu(ball: Ball) -> None:
    net, (x, y) = trained_net(), unseen(80)
    attacks = [PGD(ball, steps=10), PGD(ball, steps=10, stop_when_fooled=True)]
    if not isinstance(ball, L1):
        attacks += [DeepFool(ball, steps=20), RayS(ball, queries=200)]
    for attack in attacks:
        fooled = []
        for device in (torch.device("cpu"), GPU):
            net, x, y = net.to(device), x.to(device), y.to(device)
            moved = attack(net, x, y, generator=generator_for(1, device=device))
            assert ball.norm(moved - x).amax() <= ball.eps + 1e-5
            assert moved.amin() >= 0
            assert moved.amax() <= 1
            fooled.append((net(moved).argmax(1) != y).float().mean().item())
        net, x, y = net.cpu(), x.cpu(), y.cpu()
        assert abs(fooled[0] - fooled[1]) <= 0.08, attack


def test_blind_searches_of_autoattack_are_counted() -> None:
    net, (x, y) = trained_net().to(GPU), unseen(20)
    x, y = x.to(GPU), y.to(GPU)
    with watched(x) as watch:
        AutoAttack(Linf(0.02), ("apgd-ce",), steps=3)(lambda z: net(z.detach()) + 0 * z.sum(), x, y)
    assert torch.equal(watch.zero, net(x).argmax(1) == y)
    net.cpu()


_MORTAL = """
import os, signal, sys
import torch
from morex.recipe import load_recipe
from morex.run import run
from morex.run.checkpoint import FileCheckpoint

recipe, out, stage, step = sys.argv[1:]

class Mortal(FileCheckpoint):
    def save(self, snapshot):
        super().save(snapshot)
        if self.path.parent.name.startswith(stage) and snapshot.values["step"] == int(step):
            os.kill(os.getpid(), signal.SIGKILL)

import morex.run.stage_runner
morex.run.stage_runner.FileCheckpoint = Mortal
run(load_recipe(recipe), out, device=torch.device("cuda"), checkpoint_every=0)
"""


@pytest.mark.parametrize("stage", ["train-minf", "train-mfog", "gate-more", "train-more"])
def test_a_deterministic_run_that_is_killed_ends_with_the_same_bits(
    stage: str, tmp_path: Path
) -> None:
    raw = changed(raw_recipe(*FEW), "deterministic", True)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw))

    def ran(out: str, step: int) -> int:
        command = [sys.executable, "-c", _MORTAL, tmp_path / "recipe.yaml", tmp_path / out, stage]
        return subprocess.run([*map(str, command), str(step)], check=False).returncode

    assert ran("whole", -1) == 0
    assert ran("killed", 2) == -signal.SIGKILL
    assert ran("killed", -1) == 0
    for one in (tmp_path / "whole").glob("models/**/*.safetensors"):
        other = tmp_path / "killed" / one.relative_to(tmp_path / "whole")
        assert one.read_bytes() == other.read_bytes(), one
    assert results_of(tmp_path / "whole") == results_of(tmp_path / "killed")
