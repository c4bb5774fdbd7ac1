"""Exported files answer as the model does; those that do not are not written."""

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from morex.deploy import export as exporting
from morex.deploy import program
from morex.deploy.errors import ExportError
from morex.deploy.export import Difference, Exported, compared, export_model
from morex.deploy.graph import Form, Graph
from morex.models import Mixture, NetworkConfig, ResNet, sparse
from morex.models.extend import regrouped
from morex.models.image_check import with_image_check

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ABOUT = {"name": "small", "classes": ["one", "two"], "image_size": [8, 8]}
IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def resnet(outputs: int, seed: int) -> ResNet:
    """Return a small ResNet whose BatchNorm has statistics of its own."""
    made = ResNet(NetworkConfig("resnet10", 4, outputs, (8, 8)), seed=seed)
    made.train()(IMAGES)
    made.head.weight.data *= 20  # so that images get different answers
    return made.eval()


class Small(nn.Module):
    """A convolution and a linear layer, which are exported in a moment."""

    def __init__(self, outputs: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, outputs)
        self.head.weight.data *= 20

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu().mean((2, 3)))


def network(outputs: int, seed: int) -> nn.Module:
    return Small(outputs, seed).eval()


def mixture(make: Callable[[int, int], nn.Module] = network) -> Mixture:
    return Mixture({f"e{i}": make(10, i) for i in range(2)}, make(2, 9)).eval()


def session(path: Path):
    return ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])


def metadata(path: Path) -> dict[str, str]:
    return {p.key: p.value for p in onnx.load(path).metadata_props}


def test_a_mixture_answers_in_onnx_as_in_torch(tmp_path: Path, capfd) -> None:
    model, to = with_image_check(mixture(resnet), {}), tmp_path / "new" / "model.onnx"
    before = {name: t.clone() for name, t in model.state_dict().items()}
    made = export_model(model, to, IMAGES, about=ABOUT)
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in to.parent.iterdir()] == ["model.onnx"]
    names = [output.name for output in session(to).get_outputs()]
    assert names == [*made.outputs] == ["logits", "probabilities", "gate_weights"]
    for count in (1, 5):  # the file was traced with two images
        x = torch.rand(count, 3, 8, 8)
        logits, shares, weights = session(to).run(None, {"images": x.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(logits, model(x), atol=1e-4)
            np.testing.assert_allclose(shares, model(x).softmax(1), atol=1e-5)
            np.testing.assert_allclose(weights, model.gate_weights(x), atol=1e-5)
    assert made.difference.largest < 1e-4
    assert made.size == to.stat().st_size
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    about = metadata(to)
    assert json.loads(about["classes"]) == ["one", "two"]
    assert json.loads(about["experts"]) == ["e0", "e1"]
    assert (about["name"], about["input"], about["precision"]) == ("small", "float", "fp32")
    assert b"site-packages" not in to.read_bytes()
    assert b".py" not in to.read_bytes()


def test_bytes_go_in_as_cameras_give_them_and_a_gate_may_be_extended(tmp_path: Path) -> None:
    old, to = mixture(), tmp_path / "model.onnx"
    model = regrouped(old, ("e0", "e1", "new"), {"new": network(10, 5)}).eval()
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    export_model(model, to, IMAGES, form=Form("uint8"))
    _, shares, weights = session(to).run(None, {"images": pictures})
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        np.testing.assert_allclose(shares, model(x).softmax(1), atol=1e-4)
        np.testing.assert_allclose(weights, model.gate_weights(x), atol=1e-4)
    assert weights.shape == (3, 3)


def test_a_sparse_mixture_runs_in_onnx_only_the_experts_that_are_asked(tmp_path: Path) -> None:
    model, to = sparse(mixture(), top=1), tmp_path / "model.onnx"
    made = export_model(model, to, IMAGES)
    assert made.outputs[-1] == "routed_weights"
    branches = [node for node in onnx.load(to).graph.node if node.op_type == "If"]
    assert len(branches) == 2
    assert [node.op_type for node in onnx.load(to).graph.node].count("Conv") == 1  # the gate's
    x = torch.rand(4, 3, 8, 8)
    logits, _, weights, routed = session(to).run(None, {"images": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(logits, model(x), atol=1e-4)
        np.testing.assert_allclose(routed, model.routed_weights(x), atol=1e-5)
        np.testing.assert_allclose(weights, model.gate_weights(x), atol=1e-5)


def test_a_program_of_torch_answers_as_the_model_does(tmp_path: Path, capfd) -> None:
    model, to = mixture(), tmp_path / "model.pt2"
    made = export_model(model, to, IMAGES, about=ABOUT)
    assert capfd.readouterr() == ("", "")
    extra = {"morex.json": ""}
    loaded = torch.export.load(io.BytesIO(to.read_bytes()), extra_files=extra).module()
    x = torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x)[0], model(x), rtol=1e-4, atol=1e-4)
    assert json.loads(json.loads(extra["morex.json"])["classes"]) == ["one", "two"]
    torch.testing.assert_close(made.runner()(x)["logits"], loaded(x)[0])
    with zipfile.ZipFile(to) as packed:
        assert not any(b"site-packages" in packed.read(name) for name in packed.namelist())


@pytest.mark.parametrize(
    ("form", "make"), [(Form("float", "fp16"), network), (Form("uint8", "int8"), resnet)]
)
def test_low_precision_is_near(form: Form, make, tmp_path: Path) -> None:
    model, to = sparse(mixture(make), threshold=0.3), tmp_path / "model.onnx"
    made = export_model(model, to, IMAGES, form=form, calibration=IMAGES)
    assert 0 < made.difference.outputs["probabilities"] < 1
    assert metadata(to)["precision"] == form.precision
    (given,) = session(to).get_inputs()
    assert given.shape[0] == "batch"
    assert given.type == ("tensor(float)" if form.pixels == "float" else "tensor(uint8)")
    kinds = {t.data_type for t in onnx.load(to).graph.initializer}
    wanted = onnx.TensorProto.FLOAT16 if form.precision == "fp16" else onnx.TensorProto.INT8
    assert wanted in kinds
    if make is resnet:
        assert made.size < 3 * sum(p.numel() for p in model.parameters())  # 4 bytes in float32


def test_a_file_that_is_wrong_is_not_written(tmp_path: Path, monkeypatch) -> None:
    model, to = network(10, 0), tmp_path / "model.onnx"
    to.write_bytes(b"an older file")
    right = exporting._runner

    def wrong(*given):
        run = right(*given)
        return lambda x: {name: found + 0.01 for name, found in run(x).items()}

    monkeypatch.setattr(exporting, "_runner", wrong)
    with pytest.raises(ExportError, match=r"model.onnx was not written: .* difference is 0.01"):
        export_model(model, to, IMAGES)
    assert to.read_bytes() == b"an older file"
    assert [*tmp_path.iterdir()] == [to]


class Branching(nn.Module):
    """Takes another way for dark images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.mean() > 0.5 else -x.mean((2, 3))


def test_a_model_that_cannot_be_followed_is_one_sentence(tmp_path: Path, capfd) -> None:
    with pytest.raises(ExportError, match=r"^torch.export cannot follow this model \(.+\); its"):
        export_model(Branching(), tmp_path / "model.onnx", IMAGES)
    assert capfd.readouterr() == ("", "")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_extra_is_named_with_the_line_to_type(missing, tmp_path, monkeypatch) -> None:
    def importing(name: str):
        if name == missing:
            raise ImportError(name)
        return import_module(name)

    monkeypatch.setattr(program, "import_module", importing)
    with pytest.raises(ImportError, match=rf"needs {missing}: pip install 'morex\[export\]'"):
        export_model(network(10, 0), tmp_path / "model.onnx", IMAGES)


@pytest.mark.parametrize(
    ("name", "form", "images", "message"),
    [
        ("model.pb", {}, IMAGES, "expected a file that ends in .onnx or .pt2"),
        ("model", {}, IMAGES, "expected a file that ends in .onnx or .pt2"),
        ("model.pt2", {"precision": "int8"}, IMAGES, "int8 needs ONNX; name a file that ends in"),
        ("model.onnx", {"precision": "int8"}, IMAGES, "int8 needs images to calibrate with"),
        ("model.onnx", {}, IMAGES[:1], "expected at least two images for the check, got 1"),
        ("model.onnx", {"precision": "fp8"}, IMAGES, "expected fp32 or fp16 or int8, got 'fp8'"),
        ("model.onnx", {"pixels": "int"}, IMAGES, "pixels: expected float or uint8, got 'int'"),
    ],
)
def test_mistakes_are_named(name, form, images, message, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        export_model(network(10, 0), tmp_path / name, images, form=Form(**form))
    assert [*tmp_path.iterdir()] == []


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(ExportError, match=r"model.onnx is a folder; give the name of a file"):
        export_model(network(10, 0), tmp_path / "model.onnx", IMAGES)


@pytest.mark.parametrize(
    ("logits", "probabilities", "largest", "agreement", "precision", "problem"),
    [
        (9e-5, 0.0, 0.5, 1.0, "fp32", ""),
        (2e-4, 0.0, 0.5, 1.0, "fp32", "the largest difference is 0.0002"),
        (2e-4, 0.0, 3.0, 1.0, "fp32", ""),
        (float("nan"), 0.0, 1.0, 1.0, "fp32", "not finite"),
        (9e-5, float("nan"), 1.0, 1.0, "fp32", "not finite"),
        (0.3, 0.04, 1.0, 1.0, "fp16", ""),
        (0.3, 0.06, 1.0, 1.0, "fp16", "a probability is off by 0.06"),
        (0.3, 0.6, 1.0, 0.8, "int8", ""),
        (0.3, 0.6, 1.0, 0.75, "int8", "another class to 25% of the images"),
    ],
)
def test_each_format_has_its_limit(
    logits, probabilities, largest, agreement, precision, problem
) -> None:
    outputs = {"logits": logits, "probabilities": probabilities}
    found = Difference(outputs, largest, agreement, 10).problem(Form(precision=precision))
    assert problem in found
    assert bool(problem) == bool(found)


def test_images_are_compared_one_by_one_too() -> None:
    graph = Graph(network(10, 0), Form())

    def of_the_batch(x: Tensor, off: float):
        off = off if len(x) == 1 else 0.0
        return {n: t + off for n, t in zip(graph.outputs, graph(x), strict=True)}

    found = compared(graph, partial(of_the_batch, off=0.5), IMAGES)
    assert found.largest == pytest.approx(0.5, abs=1e-4)
    found = compared(graph, partial(of_the_batch, off=float("nan")), IMAGES)
    assert "not finite" in found.problem(Form())


def test_images_that_are_sent_elsewhere_by_rounding_count_for_the_gate_alone() -> None:
    graph = Graph(sparse(mixture(), top=1), Form())
    right = dict(zip(graph.outputs, graph(IMAGES), strict=True))

    def rounded(x: Tensor):
        found = {name: t[: len(x)].clone() for name, t in right.items()}
        found["logits"][-1] += 7
        found["routed_weights"][-1] = 1 - found["routed_weights"][-1]
        return found

    found = compared(graph, lambda x: rounded(x) if len(x) > 1 else _row(graph, x), IMAGES)
    assert found.rerouted == 1
    assert found.largest < 1e-5


def _row(graph: Graph, x: Tensor) -> dict[str, Tensor]:
    return dict(zip(graph.outputs, graph(x), strict=True))


def test_bytes_are_the_nearest_to_the_pixels() -> None:
    x = torch.tensor([0.0, 1.0, 0.5, 0.25]).view(1, 1, 2, 2)
    assert Form("uint8").given(x).flatten().tolist() == [0, 255, 128, 64]
    assert Form("uint8").given(IMAGES).shape == (6, 8, 8, 3)
    assert Form().given(x) is x


def test_the_accuracy_of_a_file_is_compared_on_what_was_found_on_the_model(monkeypatch) -> None:
    from morex.attacks import PGD, WorstOfDraws, frozen
    from morex.core.seeding import generator_for
    from morex.data import ImageSet
    from morex.deploy.accuracy import accuracy_cost
    from morex.evaluation.suite import Row
    from morex.perturbations import Clean, Linf

    model = resnet(3, 1)
    with torch.no_grad():
        labels = model(IMAGES).argmax(1)
    data = ImageSet((IMAGES * 255).round().byte(), labels, ("a", "b", "c"))
    seen: list[Tensor] = []

    def runner(self):
        def run(x: Tensor):
            seen.append(x)
            return {"logits": torch.eye(3)[torch.zeros(len(x), dtype=torch.int64)]}

        return run

    monkeypatch.setattr(Exported, "runner", runner)
    made = Exported(Path("a.onnx"), Form(), ("logits",), Difference({"logits": 0}, 1, 1, 1), 1)
    ball = Linf(0.2)
    suite = (Row("clean", WorstOfDraws(Clean())), Row("pgd", PGD(ball)), Row("again", PGD(ball)))
    found = accuracy_cost(model, made, data, suite, batch=4)
    assert [*found] == ["clean", f"PGD {ball}"]
    assert found["clean"].first == 1.0
    assert found["clean"].second == pytest.approx(float((labels == 0).double().mean()))
    assert found[f"PGD {ball}"].first < 1.0
    clean, attacked = torch.cat(seen[:2]), torch.cat(seen[2:])
    assert 0 < (attacked - clean).abs().max() <= 0.2 + 1e-6

    # an image that barely fools the model would flatter the file, whose boundary is another
    with frozen(model):
        hasty = PGD(ball, 20, stop_when_fooled=True).search(model, clean, labels, generator_for(0))
        with torch.no_grad():
            losses = [
                nn.functional.cross_entropy(model(x), labels).item() for x in (attacked, hasty)
            ]
    assert losses[0] > 2 * losses[1]
