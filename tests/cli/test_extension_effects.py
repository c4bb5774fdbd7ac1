"""What ``morex extend`` and ``morex shrink`` say that a new mixture gained and lost."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import tiny

import morex.cli.extension
from morex.artifacts.outcomes import Outcomes
from morex.cli.extend import beside
from morex.cli.extension import effects
from morex.recipe.extend import extended


def of(**hits: int) -> Outcomes:
    return Outcomes({row: np.arange(200) < count for row, count in hits.items()})


BEFORE = of(clean=150, fog=80, linf=100)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (
            of(clean=151, fog=121, linf=54),
            "-23.0 points in linf, +20.5 in fog; less than a point in the other rows",
        ),
        (of(clean=148, fog=83, linf=98), "+1.5 points in fog, -1.0 in clean, -1.0 in linf"),
        (of(clean=149, fog=81, linf=100), "less than a point in every row"),
    ],
)
def test_gains_and_losses_are_said(
    after: Outcomes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tiny("clean", "Minf", "Mfog", "MoRE")
    recipe = extended(before, "MoRE", {"rain": {"kind": "rain"}})
    found = SimpleNamespace(outcomes={"MoRE": BEFORE, "MoRE + rain": after})
    monkeypatch.setattr(morex.cli.extension, "read_results", lambda _: found)
    assert effects(Path("run"), recipe, before) == [f"MoRE + rain against MoRE: {said}"]
    assert effects(Path("run"), recipe, recipe) == []  # nothing is new


@pytest.mark.parametrize(
    "run", ["runs/digits", "runs/digits/", "runs/digits/.", ".", "./", "../x/.."]
)
def test_a_new_run_lies_beside_the_old_one(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs/digits"
    folder.joinpath("runs/digits").mkdir(parents=True)
    tmp_path.joinpath("runs/x").mkdir()
    monkeypatch.chdir(folder)
    named = Path(beside(run) + "-rain")
    assert named.name in ("digits-rain", "runs-rain")
    assert named.parent.resolve() == Path(run).resolve().parent
    assert beside("s3://bucket/runs/digits/") == "s3://bucket/runs/digits"
