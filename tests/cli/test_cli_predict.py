"""``morex predict``."""

import json
import re
from functools import partial
from math import log2
from pathlib import Path

import pytest
import torch
from calling import FinishedRun, call
from PIL import Image

from morex.data import load_data
from morex.deploy import classify
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
    assert len(out.splitlines()) == 8
    lines, meanings = out.splitlines()[::2], out.splitlines()[1::2]
    for meaning in meanings:
        assert re.fullmatch(
            r"  (all experts predict \d|.*: \d, .*: \d); the gate .* \(entropy .* of 1.58 bits\)",
            meaning,
        )
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


def test_bad_pictures_do_not_end_a_predict_of_many(finished: FinishedRun, tmp_path: Path) -> None:
    for name in ("a", "c", "d"):
        Image.new("RGB", (8, 8), (90,) * 3).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"not a picture")
    model = finished.folder / "models/clean"
    pictures = [tmp_path / f"{name}.png" for name in "abcde"]
    code, out, err = call("predict", "--model", model, *pictures)
    assert code == 1
    assert [Path(line.split(":")[0]).name for line in out.splitlines()] == [
        "a.png",
        "c.png",
        "d.png",
    ]
    first, second = err.splitlines()
    assert re.fullmatch(r"error: .*/b\.png: the image cannot be decoded .*", first)
    assert re.fullmatch(r"error: .*/e\.png: there is no such file; did you mean .*\?", second)
    code, out, err = call("predict", "--model", model, pictures[1], pictures[4], tmp_path)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 3
    assert "this is a folder; name the picture files in it" in err


def test_batches_change_nothing(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [tmp_path / f"{grey}.png" for grey in range(5)]
    for grey, path in enumerate(pictures):
        Image.new("RGB", (8, 8), (50 * grey,) * 3).save(path)
    at_once = call("predict", "--model", finished.folder / "models/more", *pictures)
    monkeypatch.setattr(classify, "_AT_A_TIME", 2)
    assert call("predict", "--model", finished.folder / "models/more", *pictures) == at_once


def test_the_most_probable_classes_are_shown(finished: FinishedRun, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (90,) * 3).save(tmp_path / "a.png")
    call_it = partial(
        call, "predict", tmp_path / "a.png", "--model", finished.folder / "models/clean"
    )
    _, out, _ = call_it("--top", "3", "--device", "cpu")
    found = re.findall(r"(\d) \((\d+\.\d)%\)", out)
    assert len(found) == 3
    shares = [float(share) for _, share in found]
    assert shares == sorted(shares, reverse=True)
    _, out, _ = call_it("--top", "99")
    assert sum(float(share) for share in re.findall(r"(\d+\.\d)%", out)) == pytest.approx(
        100, abs=1
    )
    assert call_it("--top", "0")[0] == 2
    code, _, err = call_it("--device", "quantum")
    assert code == 2
    assert "--device quantum" in err


def test_predict_prints_json(finished: FinishedRun, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (90,) * 3).save(tmp_path / "a.png")
    pictures, model = (tmp_path / "a.png", tmp_path / "b.png"), finished.folder / "models/more"
    code, out, err = call("predict", "--model", model, *pictures, "--json")
    assert code == 1
    assert err.startswith("error: ")
    content = json.loads(out)
    [bad] = content["bad"]
    assert bad["file"] == str(pictures[1])
    assert bad["reason"].startswith("there is no such file; did you mean ")
    (found,) = content["pictures"]
    assert found["file"] == str(pictures[0])
    assert {key: found[key] for key in ("class", "probability")} == found["top"][0]
    assert len(found["top"]) == 5
    weights = [expert["weight"] for expert in found["experts"]]
    assert sum(weights) == pytest.approx(1)
    bits = -sum(weight * log2(weight) for weight in weights)
    assert found["entropy_bits"] == pytest.approx(bits)
    assert found["largest_entropy_bits"] == pytest.approx(log2(3))
    _, out, _ = call(
        "predict", "--model", finished.folder / "models/clean", pictures[0], "--json", "--top", "2"
    )
    (found,) = json.loads(out)["pictures"]
    assert found.keys() == {"file", "class", "probability", "top"}
    assert len(found["top"]) == 2


def test_a_model_of_tiny_imagenet_predicts_words(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (90, 140, 60)).save(tmp_path / "a.png")
    call_it = partial(call, "predict", tmp_path / "a.png", "--model", "tiny-imagenet-small/minf")
    _, out, _ = call_it("--report", tmp_path / "page.html")
    word = re.match(r".*a\.png: (.*) \(", out)[1]
    assert not re.search(r"n\d{8}", out + (tmp_path / "page.html").read_text())
    (found,) = json.loads(call_it("--json")[1])["pictures"]
    assert found["word"] == word
    assert re.fullmatch(r"n\d{8}", found["class"])


def test_predict_writes_a_page(finished: FinishedRun, tmp_path: Path) -> None:
    pixels = load_data("digits").test.images[0].permute(1, 2, 0).numpy()
    Image.fromarray(pixels).resize((40, 40)).save(tmp_path / "mine.png")
    target = tmp_path / "page.html"
    model = finished.folder / "models/more"
    code, out, err = call("predict", "--model", model, tmp_path / "mine.png", "--report", target)
    assert code == 0, err
    line, meaning, last = out.splitlines()
    assert last == f"report: {target}"
    said = re.fullmatch(
        r".*mine\.png: (\d) \((.*)%\); gate: clean (.+), Minf (.+), Mfog (.+)", line
    )
    assert said
    html = target.read_text()
    assert f"mine.png is {said[1]} ({said[2]}%)" in html
    assert meaning.split("; the gate ")[1] in html
    weights = re.findall(r"<td>([\d.]+)</td><td>predicts \d</td>", html)
    assert weights == [*said.groups()[2:]]
    assert "http" not in re.sub(r'data:[^"]*', "", html)


def test_predict_names_the_experts_that_a_sparse_mixture_does_not_ask(
    finished: FinishedRun, tmp_path: Path
) -> None:
    to, page, picture = tmp_path / "cheap", tmp_path / "page.html", tmp_path / "grey.png"
    assert call("sparse", finished.folder / "models/more", "--top", 1, "--to", to)[0] == 0
    Image.new("RGB", (8, 8), (90,) * 3).save(picture)
    code, out, err = call("predict", "--model", to, picture, "--report", page)
    assert code == 0, err
    assert re.search(r"\w+ and \w+: not asked", out)
    assert page.read_text().count("not asked") == 2
    _, out, _ = call("predict", "--model", to, picture, "--json")
    (found,) = json.loads(out)["pictures"]
    said = [expert["class"] for expert in found["experts"]]
    assert said.count(None) == 2
    (only,) = (c for c in said if c is not None)
    assert found["class"] == only
    assert all(expert["weight"] > 0 for expert in found["experts"])
