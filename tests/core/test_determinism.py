"""The same bits from a GPU every time; what that takes is set for a while only."""

import os
from typing import Any

import pytest
import torch

from morex.core.determinism import deterministic


def settings() -> dict[str, Any]:
    return {
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "convolutions": torch.backends.cudnn.deterministic,
        "timed": torch.backends.cudnn.benchmark,
        "filled": torch.utils.deterministic.fill_uninitialized_memory,
        "workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


@pytest.mark.parametrize("own", [None, ":16:8"])
def test_a_gpu_is_told_for_the_length_of_a_block(
    own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if own:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", own)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = settings()
    with deterministic(True, torch.device("cuda")):
        inside = settings()
    assert inside == {
        "algorithms": True,
        "convolutions": True,
        "timed": False,
        "filled": False,
        "workspace": own or ":4096:8",
    }
    assert settings() == before


def test_otherwise_nothing_is_set() -> None:
    before = settings()
    for wanted, device in ((True, "cpu"), (False, "cuda")):
        with deterministic(wanted, torch.device(device)):
            assert settings() == before
