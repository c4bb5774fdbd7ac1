import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import morex.core.files
from morex.core.files import write_atomically
from morex.models.errors import ModelError
from morex.models.folder import DESCRIPTION, WEIGHTS
from morex.models.mixture import LargestLogit, MeanOfExperts, Mixture
from morex.models.named import load_model, open_model
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet
from morex.models.save import save_model

CONFIG = NetworkConfig("resnet10", 4, 5, (8, 8), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def used(net: nn.Module) -> nn.Module:
    """Return a network whose BatchNorm statistics have moved, as after training."""
    net.train()
    with torch.no_grad():
        net(images(16))
    return net.eval()


def load_digest(folder: Path) -> str:
    return json.loads((folder / DESCRIPTION).read_text())["weights_sha256"]


def images(n: int = 4) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(n))


def network(seed: int = 1) -> ResNet:
    return used(ResNet(CONFIG, seed=seed))


def experts() -> dict[str, nn.Module]:
    # not in alphabetical order: the order is part of the model
    return {"linf 8/255": network(1), "clean": network(2), "a": network(3)}


def mixture() -> Mixture:
    return Mixture(experts(), used(network().sibling(3, seed=7)))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "network": network,
    "bottlenecks": lambda: used(ResNet(NetworkConfig("resnet50", 2, 3, (8, 8)))),
    "mixture": mixture,
    "probabilities": lambda: Mixture(
        experts(), used(network().sibling(3, seed=7)), combine="probabilities"
    ),
    "mean": lambda: MeanOfExperts(experts()).eval(),
    "largest": lambda: LargestLogit(experts()).eval(),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_with_the_same_bits(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    save_model(model, tmp_path / "new" / "folder")
    loaded = load_model(tmp_path / "new" / "folder")
    assert type(loaded) is type(model)
    assert not any(m.training for m in loaded.modules())
    assert torch.equal(loaded(images()), model(images()))


def test_a_mixture_keeps_names_gate_and_what_learns(tmp_path: Path) -> None:
    model = mixture()
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, Mixture)
    assert loaded.expert_names == ("linf 8/255", "clean", "a")
    assert torch.equal(loaded.gate_weights(images()), model.gate_weights(images()))
    learn = [p.requires_grad for p in model.parameters()]
    assert [p.requires_grad for p in loaded.parameters()] == learn


def test_saving_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    model = mixture().train()
    save_model(model, tmp_path, dtype=torch.bfloat16)
    assert model.training
    assert model.gate.stem.conv.weight.dtype == torch.float32


def test_channels_last_models_can_be_saved(tmp_path: Path) -> None:
    model = network().to(memory_format=torch.channels_last)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], t) for name, t in model.state_dict().items())


def test_bf16_halves_the_file_and_models_stay_float32(tmp_path: Path) -> None:
    model = network()
    save_model(model, tmp_path / "fp32")
    save_model(model, tmp_path / "bf16", dtype=torch.bfloat16)
    sizes = [(tmp_path / kind / WEIGHTS).stat().st_size for kind in ("fp32", "bf16")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = load_model(tmp_path / "bf16")
    for name, t in model.state_dict().items():
        expected = t.to(torch.bfloat16).float() if t.is_floating_point() else t
        assert loaded.state_dict()[name].dtype == t.dtype
        assert torch.equal(loaded.state_dict()[name], expected)


def test_what_is_saved_about_a_model_comes_back(tmp_path: Path) -> None:
    about = {"classes": ["cat", "Hündin"], "accuracy": 0.5, "none": None}
    save_model(network(), tmp_path, about=about)
    assert open_model(tmp_path).about == about
    save_model(network(), tmp_path)
    assert open_model(tmp_path).about == {}


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    save_model(mixture(), tmp_path)
    for module, name in [
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
        (torch, "load"),
    ]:
        monkeypatch.setattr(module, name, refuse)
    load_model(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"\x80\x04N.")  # pickle of None
    with pytest.raises(ModelError):
        load_model(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 100, -1, -1000])
def test_truncated_weights_raise(keep: int, tmp_path: Path) -> None:
    save_model(network(), tmp_path)
    content = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(content[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        load_model(tmp_path)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.999])
def test_a_flipped_bit_of_the_weights_raises(place: float, tmp_path: Path) -> None:
    save_model(network(), tmp_path)
    content = bytearray((tmp_path / WEIGHTS).read_bytes())
    content[int(place * len(content))] ^= 1
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        load_model(tmp_path)


def described(model: str) -> bytes:
    """Return a description that is complete except for its model."""
    return f'{{"format": 1, "model": {model}, "weights_sha256": "", "about": {{}}}}'.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b"null",
        b"{}",
        b'{"format": 1}',
        b'{"format": 1, "model": {}, "about": {}}',
        described("{}"),
        described("3"),
        described('{"kind": "transformer"}'),
        described('{"kind": "mean-of-experts", "experts": {}}'),
        described('{"kind": "resnet", "architecture": "vgg"}'),
        described('{"kind": "resnet", "depth": 3}'),
        described('{"kind": "resnet", "width": "4"}'),
    ],
)
def test_damaged_descriptions_raise(content: bytes, tmp_path: Path) -> None:
    save_model(network(), tmp_path)
    (tmp_path / DESCRIPTION).write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.json"):
        load_model(tmp_path)


def test_weights_of_another_model_raise(tmp_path: Path) -> None:
    save_model(network(), tmp_path / "a")
    save_model(network().sibling(3, seed=0), tmp_path / "b")
    (tmp_path / "a" / WEIGHTS).write_bytes((tmp_path / "b" / WEIGHTS).read_bytes())
    with pytest.raises(ModelError, match=r"safetensors .*does not fit its model\.json: wrong"):
        load_model(tmp_path / "a")
    described = json.loads((tmp_path / "a" / DESCRIPTION).read_text())
    described["weights_sha256"] = load_digest(tmp_path / "b")
    (tmp_path / "a" / DESCRIPTION).write_text(json.dumps(described))
    with pytest.raises(ModelError, match=r"(?s)safetensors does not fit its model\.json.*head"):
        load_model(tmp_path / "a")


def test_missing_files_raise(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model in .*nowhere.*expected a folder with"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="no model in"):
        open_model(tmp_path)
    save_model(network(), tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load_model(tmp_path)


def test_a_format_of_the_future_raises(tmp_path: Path) -> None:
    save_model(network(), tmp_path)
    path = tmp_path / DESCRIPTION
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(ModelError, match=r"has format 2, but this version of morex reads format 1"):
        load_model(tmp_path)


class Doubled(ResNet):
    """Computes something that is not in its configuration."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(2, 2),
        Doubled(CONFIG),
        Mixture({"a": Doubled(CONFIG)}, ResNet(CONFIG).sibling(1, seed=0)),
        Mixture({"a": ResNet(CONFIG)}, nn.Linear(2, 1)),
        type("Mine", (MeanOfExperts,), {})({"a": ResNet(CONFIG)}),
    ],
    ids=["foreign", "subclass", "expert", "gate", "ensemble"],
)
def test_models_that_could_not_be_rebuilt_are_refused(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot save a"):
        save_model(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_refused_description_leaves_the_old_model(tmp_path: Path) -> None:
    old = network(1)
    save_model(old, tmp_path)
    with pytest.raises(TypeError, match="JSON"):
        save_model(network(2), tmp_path, about={"tensor": torch.zeros(1)})
    assert torch.equal(load_model(tmp_path)(images()), old(images()))


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(morex.core.files.os, fails, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_a_kill_in_the_middle_of_a_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    killed = (
        "import os, signal, sys; from pathlib import Path; from morex.core.files import *;"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL);"
        "write_atomically(Path(sys.argv[1]), b'new')"
    )
    assert subprocess.run([sys.executable, "-c", killed, path], check=False).returncode == -9
    assert path.read_bytes() == b"old"
    write_atomically(path, b"newer")
    assert path.read_bytes() == b"newer"


# --- weights that are shared with neighbouring networks


@pytest.fixture
def shared(tmp_path: Path) -> tuple[Path, Mixture]:
    """A mixture next to two of its three experts, with different last layers."""
    parts, model = experts(), mixture()
    for name, folder in (("clean", "clean"), ("a", "third")):
        save_model(parts[name], tmp_path / folder, dtype=torch.bfloat16)
    with torch.no_grad():
        for layer in model.last_layers():
            layer.weight.add_(1)
    save_model(model, tmp_path / "alone", dtype=torch.bfloat16)
    save_model(model, tmp_path / "mix", dtype=torch.bfloat16, beside=["clean", "third"])
    return tmp_path, model


@pytest.mark.parametrize("value", [7e4, -7e4])
def test_weights_that_overflow_are_refused_before_anything_is_written(
    value: float, tmp_path: Path
) -> None:
    model = network()
    name = list(model.state_dict())[-1]
    with torch.no_grad():
        model.state_dict()[name].view(-1)[0] = value
    message = rf"{name} holds 70000, but torch.float16 ends at 65504; save in .*bfloat16"
    with pytest.raises(ValueError, match=message):
        save_model(model, tmp_path / "new", dtype=torch.float16)
    assert not (tmp_path / "new").exists()
    save_model(model, tmp_path / "new", dtype=torch.bfloat16)


def test_weights_that_are_infinite_stay_so(tmp_path: Path) -> None:
    model = network()
    name = list(model.state_dict())[-1]
    with torch.no_grad():
        model.state_dict()[name].fill_(-torch.inf)
    save_model(model, tmp_path, dtype=torch.float16)
    assert (load_model(tmp_path).state_dict()[name] == -torch.inf).all()


def test_weights_are_not_saved_as_whole_numbers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a floating-point type, got torch.int8"):
        save_model(network(), tmp_path / "new", dtype=torch.int8)


def test_shared_weights_are_stored_once_and_come_back(shared: tuple[Path, Mixture]) -> None:
    home, _ = shared
    alone, mix = (load_model(home / name) for name in ("alone", "mix"))
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, mix.state_dict()[name]), name
    sizes = [(home / name / WEIGHTS).stat().st_size for name in ("alone", "mix", "clean")]
    assert sizes[0] - sizes[1] > 1.8 * sizes[2]
    described = json.loads((home / "mix" / DESCRIPTION).read_text())["shared"]
    assert {k: v["folder"] for k, v in described.items()} == {
        "experts.1.": "clean",
        "experts.2.": "third",
    }


def test_a_missing_or_changed_neighbour_is_named(shared: tuple[Path, Mixture]) -> None:
    home, model = shared
    save_model(model.experts[0], home / "third")
    with pytest.raises(ModelError, match=r"third.*wrong checksum"):
        load_model(home / "mix")
    (home / "third" / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"third.*is missing, and this model shares its weights"):
        load_model(home / "mix")
    with pytest.raises(ModelError, match="no model in"):
        save_model(model, home / "more", beside=["nowhere"])
