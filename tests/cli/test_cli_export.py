"""``morex export``: a file that answers without morex."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import FinishedRun, call

import morex
from morex.data import load_data

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")


def test_a_mixture_of_a_run_is_exported(finished: FinishedRun, tmp_path: Path) -> None:
    source, to = finished.folder / "models" / "more", tmp_path / "model.onnx"
    code, out, err = call("export", source, "--to", to)
    assert code == 0, err
    assert err == ""
    first, second = out.splitlines()
    assert first.startswith(f"{to}: fp32, ")
    assert "takes floats (N, 3, 8, 8) in [0, 1]; gives logits, probabilities, gate_weights" in first
    assert second.startswith("checked on 30 test images of digits: largest difference")
    about = {p.key: p.value for p in onnx.load(to).metadata_props}
    assert json.loads(about["classes"]) == [str(k) for k in range(10)]
    data = json.loads(about["recipe"])["data"]
    assert data["name"] == "digits"
    assert "folder" not in data  # it names a folder of this machine
    assert about["weights_sha256"] == morex.models.open_model(source).digest
    x = load_data("digits").test.first(5).pixels(slice(None))
    session = ort.InferenceSession(to.read_bytes(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted = morex.load(source)(x)
    np.testing.assert_allclose(session.run(["logits"], {"images": x.numpy()})[0], wanted, atol=1e-4)


def test_int8_says_what_it_costs(finished: FinishedRun, tmp_path: Path) -> None:
    source, to = finished.folder / "models" / "clean", tmp_path / "model.onnx"
    options = ("--precision", "int8", "--pixels", "uint8", "--examples", 20, "--json")
    code, out, err = call("export", source, "--to", to, *options)
    assert code == 0, err
    found = json.loads(out)
    assert found["input"] == "uint8"
    assert found["bytes"] == to.stat().st_size
    assert [*found["accuracy"]] == ["clean", "PGD Linf(eps=16/255)"]
    assert found["accuracy"]["clean"]["n"] == 20
    assert "(found on the float32 model): " in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--to", "model.pb"), "expected a file that ends in .onnx or .pt2"),
        (("--to", "a.onnx", "--precision", "fp8"), "expected fp32 or fp16 or int8, got 'fp8'"),
        (("--to", "a.onnx", "--pixels", "rgb"), "expected float or uint8, got 'rgb'"),
        (("--to", "a.pt2", "--precision", "int8"), "int8 needs ONNX"),
    ],
)
def test_mistakes_end_at_once(options, message, finished, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call("export", finished.folder / "models" / "clean", *options)
    assert code == 2
    assert message in err
    assert [*tmp_path.iterdir()] == []


NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(3, 10)

    def forward(self, x):
        return self.fc(x.mean((2, 3)))


class Branching(Net):
    def forward(self, x):
        return super().forward(x if x.mean() > 0.1 else 1 - x)
"""


def test_a_network_of_the_user_is_exported_or_refused_in_one_sentence(
    finished: FinishedRun, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    recipe = ("--recipe", finished.folder / "recipe.yaml")
    code, _, err = call(
        "export", "net.py:Net", *recipe, "--to", "a.onnx", "--input-range", "0..255"
    )
    assert code == 0, err
    (given,) = ort.InferenceSession(Path("a.onnx").read_bytes()).get_inputs()
    assert given.shape[1:] == [3, 8, 8]
    code, out, err = call("export", "net.py:Branching", *recipe, "--to", "b.onnx")
    assert code == 2
    (line,) = [line for line in err.splitlines() if not line.startswith("warning:")]
    assert line.startswith("error: torch.export cannot follow this model (")
    assert out == ""
    assert not Path("b.onnx").exists()
