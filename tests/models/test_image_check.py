"""Loaded models refuse what are no images for them, in one sentence."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from morex.models.image_check import ImagesError
from morex.models.mixture import Mixture
from morex.models.named import FromFolder, load_model
from morex.models.network import NetworkConfig
from morex.models.resnet import ResNet
from morex.models.save import save_model


def images(n: int = 4) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(n))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = NetworkConfig("resnet10", 4, 5, (8, 8))
    experts = {name: ResNet(config, seed=seed) for seed, name in enumerate("ab")}
    mixture = Mixture(experts, experts["a"].sibling(2, seed=7))
    save_model(mixture, tmp_path / "mixture", about={"image_size": [8, 8]})
    return tmp_path / "mixture"


WRONG: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "bytes": (lambda x: (255 * x).byte(), "floating-point images in [0, 1], got torch.uint8"),
    "0..255": (lambda x: 255 * x, "pixels in [0, 1], got [0."),
    "-1..1": (lambda x: 2 * x - 1, "pixels in [0, 1], got [-0.9"),
    "nan": (lambda x: x / 0 * 0, "pixels in [0, 1], got [nan"),
    "one image": (lambda x: x[0], "of shape (N, 3, 8, 8), got (3, 8, 8)"),
    "channels last": (lambda x: x.permute(0, 2, 3, 1), "(N, 3, 8, 8), got (4, 8, 8, 3)"),
    "grey": (lambda x: x[:, :1], "(N, 3, 8, 8), got (4, 1, 8, 8)"),
    "large": (lambda x: x.repeat(1, 1, 2, 2), "(N, 3, 8, 8), got (4, 3, 16, 16)"),
    "doubles": (lambda x: x.double(), "type torch.float32, which is that of the model, got"),
    "array": (lambda x: x.numpy(), "(N, 3, 8, 8), got an object of type ndarray"),
    "nothing": (lambda x: None, "(N, 3, 8, 8), got an object of type NoneType"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("call", ["forward", "gate_weights", "expert_logits"])
def test_what_is_not_an_image_is_refused(folder: Path, wrong: str, call: str) -> None:
    model = load_model(folder)
    change, message = WRONG[wrong]
    ask = model if call == "forward" else getattr(model, call)
    with pytest.raises(ImagesError) as caught:
        ask(change(images()))
    assert message in str(caught.value)
    assert ask(images()).shape[0] == 4


def test_right_images_give_the_same_bits(folder: Path) -> None:
    plain, model = FromFolder(folder).load(), load_model(folder)
    for x in (images(), images(1), images().to(memory_format=torch.channels_last)):
        assert torch.equal(model(x), plain(x))
    assert model(images()[:0]).shape == (0, 5)
    edge = images() * 1.0004  # a resized picture may lie a little beyond
    assert torch.equal(model(edge), plain(edge))


def test_the_range_is_read_once(folder: Path) -> None:
    model = load_model(folder)
    model(images())
    model(3 * images())  # as an attack may on its way
    with pytest.raises(ImagesError, match=r"got torch\.uint8"):
        model(images().byte())


def test_a_model_of_doubles_takes_doubles(folder: Path) -> None:
    assert load_model(folder).double()(images().double()).shape == (4, 5)


def test_without_a_known_size_any_is_taken(folder: Path, tmp_path: Path) -> None:
    save_model(load_model(folder), tmp_path / "other")
    model = load_model(tmp_path / "other")
    assert model(images().repeat(1, 1, 2, 2)).shape == (4, 5)
    with pytest.raises(ImagesError, match=r"\(N, 3, H, W\), got \(4, 1, 8, 8\)"):
        model(images()[:, :1])


def test_other_uses_of_a_model_still_work(folder: Path, tmp_path: Path) -> None:
    model, x = load_model(folder), images()
    logits = model(x)
    for same in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(same(x), logits)
    assert torch.equal(torch.func.functional_call(model, dict(model.state_dict()), (x,)), logits)
    each = torch.func.vmap(lambda one: model(one[None])[0])(x)
    torch.testing.assert_close(each, logits)
    batch = {0: torch.export.Dim("n", min=2)}
    exported = torch.export.export(load_model(folder), (x,), dynamic_shapes=(batch,))
    torch.testing.assert_close(exported.module()(x[:3]), logits[:3])
    mixture = Mixture({"m": model.experts[0]}, nn.Sequential(nn.Flatten(), nn.Linear(192, 1)))
    torch.testing.assert_close(mixture(x), model.experts[0](x))
