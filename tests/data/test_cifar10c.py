"""Published corruptions: a folder in the layout of CIFAR-10-C, read and evaluated."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny import raw_recipe
from typer.testing import CliRunner

from morex.artifacts.outcomes import Outcomes
from morex.cli.main import app
from morex.data import Data, DataError, ImageSet, PublishedCorruptions, load_data
from morex.recipe import parse_recipe
from morex.run import run

N = 12


def test_set() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (N, 3, 6, 5), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.arange(N) % 4, tuple("abcd"))


test_set.__test__ = False  # type: ignore[attr-defined]


def corrupted(test: ImageSet, step: int) -> np.ndarray:
    """Return the test images with ``step * severity`` added to every value, modulo 256."""
    images = test.images.permute(0, 2, 3, 1).numpy()
    return np.concatenate([images + np.uint8(step * s) for s in range(1, 6)])


def published(folder: Path, test: ImageSet, **steps: int) -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / "labels.npy", np.tile(test.labels.numpy(), 5).astype(np.uint8))
    for name, step in steps.items():
        np.save(folder / f"{name}.npy", corrupted(test, step))
    return folder


def test_images_are_those_of_corruption_severity_and_row(tmp_path: Path) -> None:
    test, rows = test_set(), torch.tensor([7, 0, 11, 3])
    found = PublishedCorruptions.open(published(tmp_path, test, fog=3, jpeg_compression=5), test)
    assert list(found.files) == ["fog", "jpeg_compression"]
    for name, step in (("fog", 3), ("jpeg_compression", 5)):
        for severity in range(1, 6):
            images = found.images(name, severity, rows)
            assert torch.equal(images.images, test.images[rows] + step * severity)
            assert torch.equal(images.labels, test.labels[rows])
            assert images.classes == test.classes


def test_files_are_mapped_and_not_read(tmp_path: Path) -> None:
    test = test_set()
    found = PublishedCorruptions.open(published(tmp_path, test, fog=3), test)
    assert isinstance(found.files["fog"], np.memmap)
    found.images("fog", 2, torch.arange(N)).images.fill_(0)  # a copy: the file stays as it is
    assert np.array_equal(np.load(tmp_path / "fog.npy"), corrupted(test, 3))


def _save(name: str, array: Any) -> Any:
    return lambda folder: np.save(folder / name, array)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "labels.npy").unlink(), r"expected labels.npy .* found fog.npy"),
        (lambda f: (f / "fog.npy").unlink(), r"a file such as .* found labels.npy"),
        (_save("fog.npy", np.zeros((60, 5, 6, 3), np.uint8)), r"\(60, 6, 5, 3\), got uint8"),
        (_save("fog.npy", np.zeros((12, 6, 5, 3), np.uint8)), r"uint8 \(60,.* got .*\(12,"),
        (_save("fog.npy", np.zeros((60, 6, 5, 3))), "got float64"),
        (_save("fog.npy", np.array([{}])), "fog.npy: not a readable NumPy array"),
        (lambda f: (f / "fog.npy").write_bytes(b"\x93NUMPY"), "fog.npy: not a readable NumPy"),
        (_save("labels.npy", np.zeros(12, np.uint8)), r"expected 60 integers.* got uint8 \(12,"),
        (_save("labels.npy", np.zeros(60)), "got float64"),
        (_save("labels.npy", np.zeros(60, np.uint8)), "label 1 is 0, but test image 1 has .* 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path, damage: Any, message: str) -> None:
    folder = published(tmp_path, test_set(), fog=3)
    damage(folder)
    with pytest.raises(DataError, match=message):
        PublishedCorruptions.open(folder, test_set())


def test_a_label_that_differs_at_the_last_severity_is_seen(tmp_path: Path) -> None:
    folder = published(tmp_path, test_set(), fog=3)
    labels = np.load(folder / "labels.npy")
    labels[4 * N + 5] = 3
    np.save(folder / "labels.npy", labels)
    with pytest.raises(DataError, match="label 53 is 3, but test image 5 has label 1"):
        PublishedCorruptions.open(folder, test_set())


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        PublishedCorruptions.open(tmp_path / "nowhere", test_set())
    found = PublishedCorruptions.open(published(tmp_path, test_set(), fog=3), test_set())
    with pytest.raises(DataError, match="no corruption 'frost'; there are fog"):
        found.images("frost", 1, torch.arange(2))
    with pytest.raises(DataError, match="expected a number from 1 to 5, got 6"):
        found.images("fog", 6, torch.arange(2))


# --- morex evaluate --corrupted ------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "run"
    recipe = raw_recipe("clean")
    recipe["training"]["epochs"] = 1
    recipe["evaluation"]["rows"] = {"clean": {"attack": "draws", "perturbation": "clean"}}
    run(parse_recipe(yaml.safe_load(yaml.safe_dump(recipe))), folder)
    return folder / "models/clean"


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, re_joined(result.output)


def re_joined(text: str) -> str:
    return " ".join(text.split())


def digits() -> Data:
    return load_data("digits")


def test_a_model_is_evaluated_on_the_same_images_in_the_same_order(
    model: Path, tmp_path: Path
) -> None:
    folder = published(tmp_path / "digits-c", digits().test, as_it_is=0, noise=37)
    out = tmp_path / "o.npz"
    code, said = call("evaluate", model, "--corrupted", folder, "--out", out)
    assert code == 0, said
    found = Outcomes.load(out)
    assert found.rows == tuple(f"{name}-{s}" for name in ("as_it_is", "noise") for s in range(1, 6))
    as_it_is = Outcomes.load(model.parents[1] / "outcomes/clean.npz").right["clean"]
    for severity in range(1, 6):  # nothing was added: exactly the figures of the run
        np.testing.assert_array_equal(found.right[f"as_it_is-{severity}"], as_it_is)
    assert not np.array_equal(found.right["noise-3"], as_it_is)
    written = json.loads(out.with_suffix(".json").read_text())
    assert written["means"]["as_it_is"] == pytest.approx(as_it_is.mean())
    assert f"as_it_is {100 * as_it_is.mean():.1f}% mean of severities 1, 2, 3, 4, 5" in said


def test_severities_and_examples_are_chosen(model: Path, tmp_path: Path) -> None:
    folder, out = published(tmp_path / "c", digits().test, noise=37), tmp_path / "o.npz"
    options = ("--severity", 5, "--severity", 2, "--examples", 7, "--out", out)
    code, said = call("evaluate", model, "--corrupted", folder, *options)
    assert code == 0, said
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
    code, said = call("evaluate", model, "--corrupted", folder, *severities, "--examples", 7)
    assert code == 0, said
    assert moved == [7, 7, 7]  # the test images, then those of each severity


def test_what_cannot_be_evaluated_is_said(model: Path, tmp_path: Path) -> None:
    folder = published(tmp_path / "c", test_set(), noise=37)
    code, said = call("evaluate", model, "--corrupted", folder)
    assert code == 2
    assert "labels.npy: expected 1795 integers" in said
    code, said = call("evaluate", model, "--corrupted", folder, "--suite", "quick")
    assert code == 2
    assert "leave out one of the two" in said
