"""Models of RobustBench, by their addresses, from a folder."""

import hashlib
from pathlib import Path

import pytest
import torch
from robust_bench import DEEPMIND, ENTRIES, WIDE, images, install
from torch import Tensor

import morex
from morex.core.trust import code_named
from morex.models.errors import ModelError
from morex.models.external import is_factory
from morex.models.image_check import ImagesError
from morex.models.named import open_model
from morex.models.network import NetworkConfig
from morex.models.robustbench import FOLDER, FromRobustBench, entries
from morex.models.save import save_model

Logits = dict[str, Tensor]


@pytest.fixture
def logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logits:
    return install(tmp_path, monkeypatch)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_model_is_read_from_the_folder(name: str, logits: Logits, tmp_path: Path) -> None:
    opened = open_model(f"robustbench://{name}")
    assert isinstance(opened, FromRobustBench)
    torch.testing.assert_close(opened.load()(images()), logits[name], rtol=1e-4, atol=1e-4)
    file = (tmp_path / f"{name}.pt").read_bytes()
    assert opened.digest == hashlib.sha256(file).hexdigest()
    assert opened.about["classes"][:2] == ["airplane", "automobile"]
    assert (opened.code, opened.recipe) == ((), None)
    with pytest.raises(ImagesError):
        morex.load(f"robustbench://{name}")(images()[:, :, :16])


def test_the_same_weights_in_another_network_are_another_model(
    logits: Logits, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_model(f"robustbench://{WIDE}").identity
    monkeypatch.setitem(ENTRIES, WIDE, ENTRIES[DEEPMIND])
    after = open_model(f"robustbench://{WIDE}").identity
    assert before["weights"] == after["weights"]
    assert before != after


def test_a_saved_copy_needs_no_folder(
    logits: Logits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(morex.load(f"robustbench://{DEEPMIND}"), tmp_path / "copy")
    monkeypatch.delenv(FOLDER)
    copy = morex.load(tmp_path / "copy")
    torch.testing.assert_close(copy(images()), logits[DEEPMIND], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("logits")
def test_a_missing_file_is_an_error_that_says_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / f"{WIDE}.pt").unlink()
    opened = open_model(f"robustbench://{WIDE}")
    place = f"gdown the-id-of-wide -O {tmp_path / WIDE}.pt"
    with pytest.raises(ModelError, match=f"drive.google.com.*id=the-id-of-wide .*{place}"):
        opened.load()
    with pytest.raises(ModelError, match=FOLDER):
        _ = opened.digest


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("robustbench://cifar10/Linf", "expected robustbench://cifar10/Linf/NAME"),
        ("robustbench://cifar10/Linf/../../x", "expected robustbench://cifar10/Linf/NAME"),
        (
            "robustbench://cifar10/linf/carmon2019Unlabeled",
            "none of them; did you mean 'cifar10/Linf/Carmon2019Unlabeled'",
        ),
        ("robustbench://imagenet/Linf/Standard_R50", "a factory"),
    ],
)
def test_other_addresses_are_errors(address: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        open_model(address)


def test_an_address_names_no_code() -> None:
    address = f"robustbench://{WIDE}"
    assert not is_factory(address)
    assert not code_named({"a": {"kind": "saved", "model": address}})
    assert code_named({"a": {"kind": "saved", "model": "robustbench:make"}})


CIFAR_10 = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
NONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "architecture", "activation", "pixels"),
    [
        ("cifar10/Linf/Andriushchenko2020Understanding", "preactresnet18-wong", "relu", NONE),
        ("cifar10/Linf/Wong2020Fast", "preactresnet18-wong", "relu", CIFAR_10),
        ("cifar10/Linf/Carmon2019Unlabeled", "wrn-28-10", "relu", NONE),
        ("cifar10/Linf/Hendrycks2019Using", "wrn-28-10", "relu", ((0.5,) * 3,) * 2),
        ("cifar10/Linf/Rade2021Helper_R18_ddpm", "preactresnet18-deepmind", "silu", CIFAR_10),
        ("cifar10/Linf/Wang2023Better_WRN-70-16", "wrn-70-16-deepmind", "silu", CIFAR_10),
        ("cifar10/Linf/Addepalli2022Efficient_RN18", "resnet18", "relu", NONE),
        ("cifar10/L2/Rice2020Overfitting", "preactresnet18", "relu", CIFAR_10),
    ],
)
def test_entries_say_what_robustbench_says(
    name: str, architecture: str, activation: str, pixels: tuple[tuple[float, ...], ...]
) -> None:
    config = FromRobustBench(f"robustbench://{name}").config
    assert (config.architecture, config.activation) == (architecture, activation)
    assert (config.mean, config.std) == pixels


def test_every_entry_has_a_network_and_a_place() -> None:
    assert len(entries()) > 100
    for name, entry in entries().items():
        config = FromRobustBench(f"robustbench://{name}").config
        assert isinstance(config, NetworkConfig)
        assert config.outputs == (100 if name.startswith("cifar100/") else 10)
        assert len(entry.drive) == 33
        assert entry.activation == ("silu" if "deepmind" in entry.architecture else "relu")
