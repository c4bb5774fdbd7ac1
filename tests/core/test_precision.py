from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from morex import evaluate
from morex.attacks import WorstOfDraws
from morex.core.precision import default_device, exact_float32
from morex.data import ImageSet
from morex.evaluation.suite import Row
from morex.perturbations import Clean


def settings() -> dict[str, object]:
    cudnn = torch.backends.cudnn
    return {
        "enabled": cudnn.enabled,
        "benchmark": cudnn.benchmark,
        "deterministic": cudnn.deterministic,
        "allow_tf32": cudnn.allow_tf32,
    }


def evaluated() -> dict[str, object]:
    found: list[dict[str, object]] = []

    def model(x: Tensor) -> Tensor:
        found.append(settings())
        return torch.zeros(len(x), 2)

    images = ImageSet(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), torch.zeros(3).long(), ("a", "b"))
    evaluate(model, images, (Row("clean", WorstOfDraws(Clean())),))
    return found[0]


def alone() -> dict[str, object]:
    with exact_float32():
        return settings()


@pytest.mark.parametrize("inside", [alone, evaluated])
def test_only_tf32_is_switched_off_and_comes_back(
    inside: Callable[[], dict[str, object]],
) -> None:
    before = settings()
    assert before["enabled"]
    assert inside() == before | {"allow_tf32": False}
    assert settings() == before


def test_it_comes_back_after_an_error() -> None:
    before = settings()
    with pytest.raises(RuntimeError), exact_float32():
        raise RuntimeError
    assert settings() == before


@pytest.mark.parametrize("gpu", [True, False])
def test_the_environment_names_the_default_device(
    gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    for unset in (None, ""):
        monkeypatch.setenv("MOREX_DEVICE", unset or "")
        if unset is None:
            monkeypatch.delenv("MOREX_DEVICE")
        assert default_device() == torch.device("cuda" if gpu else "cpu")
    monkeypatch.setenv("MOREX_DEVICE", "cpu")
    assert default_device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x", "meta"])
def test_a_wrong_device_in_the_environment_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOREX_DEVICE", name)
    with pytest.raises(ValueError, match=f"MOREX_DEVICE={name}: expected a device of this machine"):
        default_device()
