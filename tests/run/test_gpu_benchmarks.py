"""The GPU half of the benchmarks, rehearsed on a CPU."""

import json
import sys
from pathlib import Path

import benchmarks.gpu
import pytest
import torch
from benchmarks.bare import EPS_L2, EPS_LINF, start_l2, start_linf, step_l2, step_linf
from benchmarks.gpu import KINDS, StepRate, main, missed_goals
from benchmarks.gpu_steps import Setup, bare_step, work_of

from morex.attacks import PGD, cross_entropy, frozen
from morex.core.seeding import generator_for
from morex.perturbations import L2, Ball, Linf

SMALL = Setup.tiny(torch.device("cpu"))


def test_a_rehearsal_prints_both_tables_and_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["gpu", "--device", "cpu", "--tiny", "--out", str(tmp_path / "o" / "bench.json")]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(benchmarks.gpu, "KINDS", ("max", "gate"))
    assert main() == 0
    found = json.loads((tmp_path / "o/bench.json").read_text())
    assert [(step["kind"], step["failed"]) for step in found["steps"]] == [
        ("max", ""),
        ("gate", ""),
    ]
    assert all(step["product"] > 0 and step["eager"] > 0 for step in found["steps"])
    assert all(attack["theirs"] > 0 for attack in found["attacks"])
    assert found["attacks"][0]["library"] == "foolbox, PGD"
    said = capsys.readouterr().out
    assert "| gate | 2 | 10 |" in said
    assert "PGD-10 in Linf(eps=8/255)" in said


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_step_lowers_its_loss(kind: str) -> None:
    torch.manual_seed(0)  # random starts
    step = bare_step(SMALL, kind, 4)
    losses = [float(step()) for _ in range(6)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("ball", "start", "step"),
    [(Linf(EPS_LINF), start_linf, step_linf), (L2(EPS_L2), start_l2, step_l2)],
    ids=["linf", "l2"],
)
def test_the_attacks_that_are_written_out_find_as_much_as_those_of_morex(
    ball: Ball, start: object, step: object
) -> None:
    bare = bare_step(SMALL, "clean", 4)
    x, y = bare.x, bare.y
    with frozen(bare.model):
        theirs = bare.search(x, y, start, step)  # type: ignore[arg-type]
        ours = PGD(ball, steps=10, keep="last").search(bare.model, x, y, generator_for(0))
        before, one, other = (
            cross_entropy(bare.model(z), y).mean().item() for z in (x, ours, theirs)
        )
    assert ball.norm(theirs - x).amax() <= ball.eps + 1e-5
    assert one - before == pytest.approx(other - before, rel=0.2)


def test_goals_that_are_missed_are_named() -> None:
    slow = StepRate("linf", 64, 256, product=9000, eager=5000, bare=11_000, tflops=200)
    assert [*missed_goals([slow])] == [
        "linf, width 64: 9000 examples/s, the goal is 10000",
        "linf, width 64: 1.22 of the bare step, the goal is 1.1",
    ]
    fast = StepRate("linf", 64, 256, product=10_500, eager=5000, bare=11_000, tflops=200)
    narrow = StepRate("linf", 16, 256, product=9000, eager=5000, bare=None, tflops=200)
    assert [*missed_goals([fast, narrow])] == []
    broken = StepRate("l2", 64, 256, 0, 0, None, 0, failed="product: RuntimeError: no")
    assert [*missed_goals([broken])] == ["l2, width 64: product: RuntimeError: no"]


def test_the_operations_of_a_pgd_example_are_those_of_the_pilot() -> None:
    paper = Setup.full(torch.device("cpu"))
    assert work_of(paper, "clean", 64) == pytest.approx(3 * 1.11e9, rel=0.01)
    assert work_of(paper, "linf", 64) == pytest.approx(25.5e9, rel=0.01)
    assert work_of(paper, "gate", 64) == pytest.approx((5 * 0.4 * 20 + 3) * 1.11e9, rel=0.01)
