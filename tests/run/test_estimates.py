"""Estimates: what is timed, how often, and what is made of it."""

from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from tiny import CPU, raw_recipe, tiny
from torch import nn

import morex.run.calibration
import morex.run.estimates
from morex.core.units import duration
from morex.models import ResNet
from morex.recipe import parse_recipe
from morex.run.builder import Builder
from morex.run.calibration import Speed, _seconds
from morex.run.estimates import USUAL_SHARE, estimate

ONE = Speed(2, 3, 7, 5, 11)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What is timed, by its batch and by whether all of it learns; nothing takes time."""
    found = Counter[str]()

    def calibrated(_: Builder, network: nn.Module, batch: int, precision: str) -> Speed:
        assert isinstance(network, ResNet)
        learns = all(p.requires_grad for p in network.parameters())
        found[f"{batch}, {precision}, {learns}"] += 1
        return ONE

    monkeypatch.setattr(morex.run.estimates, "calibrate", calibrated)
    return found


def test_every_kind_of_network_is_timed_once(timed: Counter[str]) -> None:
    estimate(tiny("clean", "Minf", "Mfog", "MAX", "MoRE", "mean"), CPU)
    assert set(timed.values()) == {1}
    assert len(timed) == 3  # in training as a network or gate, and as an expert; in evaluation


def test_a_mixture_takes_as_long_as_its_networks(timed: Counter[str]) -> None:
    found = {e.stage.id: e for e in estimate(tiny("clean", "Minf", "Mfog", "MoRE"), CPU)}
    alone, mixture = found["evaluate-clean"], found["evaluate-more"]
    assert alone.cost == mixture.cost
    assert mixture.seconds == 4 * alone.seconds
    assert timed


def test_only_the_gate_of_a_mixture_needs_gradients_of_weights() -> None:
    both = Speed.together([ONE, ONE], [ONE])
    assert both == Speed(6, 9, 2 * 2 + 7, 15, 11)
    assert Speed.together([ONE, ONE], []) == Speed(4, 6, 4, 10, 0)


@pytest.mark.usefixtures("timed")
def test_evaluations_usually_stay_below_their_bound() -> None:
    for one in estimate(tiny("clean", "Minf"), CPU):
        share = 1 if one.stage.makes_a_model else USUAL_SHARE
        assert one.usual_seconds == one.seconds * share


@pytest.mark.usefixtures("timed")
def test_an_estimate_reports_how_far_it_is() -> None:
    seen: list[tuple[float, str]] = []
    estimate(
        tiny("clean", "Minf", "Mfog", "MoRE"), CPU, lambda share, doing: seen.append((share, doing))
    )
    shares = [share for share, _ in seen]
    assert shares[0] == 0
    assert all(before < after < 1 for before, after in pairwise(shares))
    assert [doing for _, doing in seen] == [
        "reading the data",
        *(f"timing {name}" for name in ("clean", "Minf", "Mfog", "MoRE")),
    ]


def test_a_run_of_centuries_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Speed(1e5, 1e5, 3e5, 0, 0)
    monkeypatch.setattr(morex.run.estimates, "calibrate", lambda *_: slow)
    found = estimate(parse_recipe(raw_recipe("clean", "Minf")), CPU)
    assert "years" in duration(sum(one.seconds for one in found))


@pytest.mark.parametrize(("threads", "seconds"), [(1, 0.5), (2, 8.0)])
def test_with_one_thread_other_programs_do_not_count(
    threads: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Counter[str]()
    clocks = SimpleNamespace(process_time=lambda: now["cpu"], perf_counter=lambda: now["wall"])
    monkeypatch.setattr(morex.run.calibration, "time", clocks)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    done = 0

    def work() -> None:
        nonlocal done
        done += 1
        now["cpu"] += 0.5
        now["wall"] += 8.0

    assert _seconds(work, CPU) == seconds
    assert done == 2  # one of them to warm up; they took long enough
