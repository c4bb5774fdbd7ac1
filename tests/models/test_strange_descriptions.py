"""Descriptions that nobody's morex wrote: one error, soon, and nothing large is allocated."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from morex.models.errors import ModelError
from morex.models.folder import DESCRIPTION
from morex.models.mixture import Mixture
from morex.models.named import load_model
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet
from morex.models.save import save_model

Content = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved mixture that shares the weights of a network beside it."""
    network = ResNet(NetworkConfig("resnet10", 2, 3, (8, 8)))
    save_model(network, tmp_path / "expert")
    mixture = Mixture({"a": network, "b": network}, network.sibling(2, seed=0))
    save_model(mixture, tmp_path / "mixture", beside=["expert"])
    load_model(tmp_path / "mixture")
    return tmp_path / "mixture"


def changed(*path: str, to: Any) -> Callable[[Content], object]:
    def change(content: Content) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = to

    return change


def many_experts(content: Content) -> None:
    expert = content["model"]["experts"]["a"]
    content["model"]["experts"] = {str(i): expert for i in range(20_000)}


def nested(content: Content) -> None:
    for _ in range(40):
        content["model"] = {"kind": "mean-of-experts", "experts": {"a": content["model"]}}


EXPERT = ("model", "experts", "a")

STRANGE: dict[str, tuple[Callable[[Content], object], str]] = {
    "format text": (changed("format", to="1"), "format '1'"),
    "model a list": (changed("model", to=[]), "model: "),
    "kind a list": (changed("model", "kind", to=[]), "damaged"),
    "kind a number": (changed("model", "kind", to=3), "damaged"),
    "experts a list": (changed("model", "experts", to=[1]), "damaged"),
    "expert a text": (changed(*EXPERT, to="resnet"), "damaged"),
    "gate null": (changed("model", "gate", to=None), "damaged"),
    "width huge": (changed(*EXPERT, "width", to=2**20), "does not fit"),
    "width beyond": (changed(*EXPERT, "width", to=2**62), "does not fit"),
    "width negative": (changed(*EXPERT, "width", to=-1), "at least 1"),
    "width a fraction": (changed(*EXPERT, "width", to=2.5), "whole number"),
    "width a boolean": (changed(*EXPERT, "width", to=True), "whole number"),
    "width null": (changed(*EXPERT, "width", to=None), "does not fit"),
    "outputs huge": (changed(*EXPERT, "outputs", to=2**40), "classes"),
    "one side": (changed(*EXPERT, "image_size", to=[8]), "tuple of 2"),
    "size a number": (changed(*EXPERT, "image_size", to=8), "a tuple"),
    "no channels": (changed(*EXPERT, "mean", to=[]), "per channel"),
    "channels": (changed(*EXPERT, "mean", to=[0.5]), "per channel"),
    "std text": (changed(*EXPERT, "std", to=["a", "b", "c"]), "number"),
    "std zero": (changed(*EXPERT, "std", to=[0, 0, 0]), "std > 0"),
    "architecture a list": (changed(*EXPERT, "architecture", to=["resnet10"]), "damaged"),
    "another key": (changed(*EXPERT, "depth", to=3), "depth"),
    "experts beyond number": (many_experts, "does not fit"),
    "nested": (nested, "damaged"),
    "about a list": (changed("about", to=[]), "about: "),
    "classes a number": (changed("about", to={"classes": 3}), r"about\.classes"),
    "classes numbers": (changed("about", to={"classes": [1, 2, 3]}), r"about\.classes\.0"),
    "image size": (changed("about", to={"image_size": [0, 8]}), r"about\.image_size\.0"),
    "image size huge": (changed("about", to={"image_size": [2**40] * 2}), r"about\.image_size"),
    "name a number": (changed("about", to={"name": 3}), r"about\.name"),
    "recipe a list": (changed("about", to={"recipe": [1]}), r"about\.recipe"),
    "checksum": (changed("weights_sha256", to="0"), "weights_sha256"),
    "shared a list": (changed("shared", to=[]), "shared: "),
    "shared up": (changed("shared", "experts.0.", "folder", to=".."), r"shared\.experts"),
    "shared far": (changed("shared", "experts.0.", "folder", to="../../x"), "one folder"),
    "shared absolute": (changed("shared", "experts.0.", "folder", to="/etc"), "one folder"),
    "shared number": (changed("shared", "experts.0.", to=3), r"shared\.experts"),
    "shared lost": (changed("shared", to={}), "expected floats of shape .* got nothing"),
    "signature": (changed("signature", to=3), "signature"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_description_is_one_error(name: str, folder: Path) -> None:
    change, problem = STRANGE[name]
    path = folder / DESCRIPTION
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=rf"(?s)mixture.*{problem}"):
        load_model(folder)


@pytest.mark.parametrize(
    "content",
    [b"[" * 10**6, b'{"format": 1, "model": NaN}', b'{"a": 1e999}', b"1" * 10**5, b"\xff\xfe"],
)
def test_strange_json_is_one_error(content: bytes, folder: Path) -> None:
    (folder / DESCRIPTION).write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.json is damaged"):
        load_model(folder)


def test_weights_of_another_type_are_refused(tmp_path: Path) -> None:
    network = ResNet(NetworkConfig("resnet10", 2, 3, (8, 8)))
    save_model(network, tmp_path)
    whole = {n: t.to(torch.int32) for n, t in network.state_dict().items()}
    from hashlib import sha256

    from safetensors.torch import save

    data = save(whole)
    (tmp_path / "model.safetensors").write_bytes(data)
    content = json.loads((tmp_path / DESCRIPTION).read_bytes())
    content["weights_sha256"] = sha256(data).hexdigest()
    (tmp_path / DESCRIPTION).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"expected floats of shape .* got torch\.int32"):
        load_model(tmp_path)


def test_checking_leaves_the_random_state_alone(folder: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    load_model(folder)
    assert torch.equal(torch.get_rng_state(), before)
