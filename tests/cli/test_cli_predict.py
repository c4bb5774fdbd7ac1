"""``morex predict``."""

import re
from pathlib import Path

import pytest
import torch
from calling import FinishedRun, call
from PIL import Image

from morex.data import load_data
from morex.models import load_model


def test_predict_names_class_confidence_and_gate(finished: FinishedRun, tmp_path: Path) -> None:
    test = load_data("digits").test
    pictures = []
    for n in range(3):
        pixels = test.images[n].permute(1, 2, 0).numpy()
        pictures.append(tmp_path / f"{n}.png")
        Image.fromarray(pixels).save(pictures[-1])
    large = tmp_path / "large.png"
    Image.fromarray(pixels[:, :, 0]).resize((40, 30)).save(large)
    code, out, err = call("predict", "--model", finished.folder / "models/more", *pictures, large)
    assert code == 0, err
    lines = out.splitlines()
    assert len(lines) == 4
    found = re.fullmatch(
        r".*0\.png: \d \((\d+\.\d)%\); gate: clean (.+), Minf (.+), Mfog (.+)", lines[0]
    )
    assert found
    assert sum(map(float, found.groups()[1:])) == pytest.approx(1, abs=0.02)
    model = load_model(finished.folder / "models/more")
    with torch.no_grad():
        share, label = model(test.pixels(slice(0, 3))).softmax(1).max(1)
    for line, s, k in zip(lines, share, label, strict=False):
        assert f": {k} ({100 * s:.1f}%); gate" in line
    _, alone, _ = call("predict", "--model", finished.folder / "models/clean", pictures[0])
    assert re.fullmatch(r".*0\.png: \d \(\d+\.\d%\)\n", alone)


def test_predict_names_the_picture_that_cannot_be_read(
    finished: FinishedRun, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not a picture")
    code, _, err = call("predict", "--model", finished.folder / "models/clean", bad)
    assert code == 2
    assert "bad.png" in err


def test_predict_writes_a_page(finished: FinishedRun, tmp_path: Path) -> None:
    pixels = load_data("digits").test.images[0].permute(1, 2, 0).numpy()
    Image.fromarray(pixels).resize((40, 40)).save(tmp_path / "mine.png")
    target = tmp_path / "page.html"
    model = finished.folder / "models/more"
    code, out, err = call("predict", "--model", model, tmp_path / "mine.png", "--report", target)
    assert code == 0, err
    line, last = out.splitlines()
    assert last == f"report: {target}"
    said = re.fullmatch(
        r".*mine\.png: (\d) \((.*)%\); gate: clean (.+), Minf (.+), Mfog (.+)", line
    )
    assert said
    html = target.read_text()
    assert f"mine.png is {said[1]} ({said[2]}%)" in html
    weights = re.findall(r"<td>([\d.]+)</td><td>predicts \d</td>", html)
    assert weights == [*said.groups()[2:]]
    assert "http" not in re.sub(r'data:[^"]*', "", html)
