"""``morex evaluate --corrupted``: published corruptions of the test set."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calling import FinishedRun, call
from published import published

from morex.artifacts.corruption_errors import BENCHMARK
from morex.artifacts.outcomes import Outcomes
from morex.data import Data, load_data


@pytest.fixture
def model(finished: FinishedRun) -> Path:
    return finished.folder / "models/clean"


def digits() -> Data:
    return load_data("digits")


def test_a_model_is_evaluated_on_the_same_images_in_the_same_order(
    model: Path, tmp_path: Path
) -> None:
    folder = published(tmp_path / "digits-c", digits().test, as_it_is=0, noise=37)
    out = tmp_path / "o.npz"
    code, said, err = call("evaluate", model, "--corrupted", folder, "--out", out)
    assert code == 0, err
    found = Outcomes.load(out)
    assert found.rows == tuple(f"{name}-{s}" for name in ("as_it_is", "noise") for s in range(1, 6))
    as_it_is = Outcomes.load(model.parents[1] / "outcomes/clean.npz").right["clean"]
    for severity in range(1, 6):  # nothing was added: exactly the figures of the run
        np.testing.assert_array_equal(found.right[f"as_it_is-{severity}"], as_it_is)
    noisy = [found.right[f"noise-{severity}"] for severity in range(1, 6)]
    assert any(not np.array_equal(right, as_it_is) for right in noisy)
    written = json.loads(out.with_suffix(".json").read_text())
    assert written["means"]["as_it_is"] == pytest.approx(as_it_is.mean())
    assert f"as_it_is {100 * as_it_is.mean():.1f}% mean of severities 1, 2, 3, 4, 5" in " ".join(
        said.split()
    )


def test_severities_and_examples_are_chosen(model: Path, tmp_path: Path) -> None:
    folder, out = published(tmp_path / "c", digits().test, noise=37), tmp_path / "o.npz"
    options = ("--severity", 5, "--severity", 2, "--examples", 7, "--out", out)
    code, _, err = call("evaluate", model, "--corrupted", folder, *options)
    assert code == 0, err
    found = Outcomes.load(out)
    assert {row: len(right) for row, right in found.right.items()} == {"noise-5": 7, "noise-2": 7}


def test_images_move_to_the_device_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = published(tmp_path / "c", digits().test, noise=37)
    real, moved = torch.Tensor.to, []

    def to(self: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if self.ndim == 4 and self.dtype == torch.uint8 and torch.float32 not in arguments:
            moved.append(len(self))
        return real(self, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "to", to)
    severities = ("--severity", 1, "--severity", 4)
    code, _, err = call("evaluate", model, "--corrupted", folder, *severities, "--examples", 7)
    assert code == 0, err
    assert moved == [7, 7, 7]  # the test images, then those of each severity


def test_corruptions_that_do_not_fit_are_refused(model: Path, tmp_path: Path) -> None:
    folder = published(tmp_path / "c", digits().test.first(12), noise=37)
    code, _, err = call("evaluate", model, "--corrupted", folder)
    assert code == 2
    assert "labels.npy: expected 1795 integers" in err
    code, _, err = call("evaluate", model, "--corrupted", folder, "--suite", "quick")
    assert code == 2
    assert "leave out one of the two" in err


def test_generated_corruptions_give_the_summaries_of_the_field(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.npz"
    options = ("--corrupted", "generated", "--examples", 20, "--out", out)
    code, said, err = call("evaluate", model, *options)
    assert code == 0, err
    found, written = Outcomes.load(out), json.loads(out.with_suffix(".json").read_text())
    assert set(found.rows) == {f"{c}-{s}" for c in BENCHMARK.values() for s in range(1, 6)}
    assert written["mCE"] == pytest.approx(1 - np.mean([*found.right.values()]))
    assert f"mCE {100 * written['mCE']:.1f}% mean error" in " ".join(said.split())
    one = [found.right[f"hendrycks-fog-{s}"] for s in range(1, 6)]
    assert written["means"]["hendrycks-fog"] == pytest.approx(np.mean(one))


def test_no_mce_without_all_corruptions(model: Path, tmp_path: Path) -> None:
    folder = published(tmp_path / "c", digits().test, fog=37)
    code, said, err = call("evaluate", model, "--corrupted", folder, "--examples", 7)
    assert code == 0, err
    assert "mCE" not in said
