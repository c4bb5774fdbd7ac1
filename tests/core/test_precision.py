import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from callers_settings import SETTINGS
from torch import Tensor

from morex import evaluate
from morex.attacks import WorstOfDraws
from morex.core.precision import default_device, default_settings, exact_float32
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


@pytest.mark.parametrize("setting", SETTINGS)
def test_default_settings_are_those_of_a_fresh_process(setting: str) -> None:
    with SETTINGS[setting](), default_settings(torch.device("cpu")):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")
        assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_device() == torch.device("cpu")
        assert torch.ones(1, requires_grad=True).mul(2).requires_grad
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_device() == torch.device("cpu")


def test_a_default_device_on_which_the_images_are_stays() -> None:
    with SETTINGS["another device by default"](), default_settings(torch.device("meta")):
        assert torch.get_default_device() == torch.device("meta")


def test_products_are_exact_whichever_interface_allowed_rounding() -> None:
    with SETTINGS["rounded products"](), exact_float32():
        assert torch.get_float32_matmul_precision() == "highest"
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this PyTorch has only the older interface")
    code = (
        "import torch; from morex.core.precision import exact_float32; b = torch.backends\n"
        "b.fp32_precision = 'tf32'\n"
        "kinds = (b.cuda.matmul, b.cudnn.conv, b.mkldnn.matmul, b.mkldnn.conv)\n"
        "before = [k.fp32_precision for k in kinds]\n"
        "with exact_float32(): print(*{k.fp32_precision for k in kinds} - {'none', 'ieee'})\n"
        "assert [k.fp32_precision for k in kinds] == before, before\n"
        "assert 'tf32' in before"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""
