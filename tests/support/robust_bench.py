"""A folder with weights as RobustBench keeps them, of networks that are small enough for tests."""

from pathlib import Path

import literature as lit
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from morex.models import robustbench
from morex.models.robustbench import FOLDER, Entry

WIDE, DEEPMIND = "cifar10/Linf/Wide2026", "cifar10/Linf/Deep-Mind_2026"
MEAN, STD = (0.1, 0.5, 0.7), (0.2, 0.3, 0.4)

ENTRIES = {
    WIDE: Entry("wrn-10-1", "the-id-of-wide"),
    DEEPMIND: Entry("wrn-10-1-deepmind", "the-id-of-deepmind", "silu", MEAN, STD),
}


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Let morex know two small models, and write their weights to ``folder``.

    Returns:
        The logits of ``images()`` by the name of the model, computed by another definition.
    """
    monkeypatch.setattr(robustbench, "entries", lambda: ENTRIES)
    monkeypatch.setenv(FOLDER, str(folder))
    (folder / "cifar10" / "Linf").mkdir(parents=True)
    wide, deepmind, x = lit.Weights(1), lit.Weights(2), images()
    normalised = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    logits = {
        WIDE: lit.trades_wide_resnet(wide, x, 10, 1, F.relu),
        DEEPMIND: lit.deepmind_wide_resnet(deepmind, normalised, 10, 1, F.silu),
    }
    torch.save({"state_dict": wide.drawn}, folder / f"{WIDE}.pt")
    torch.save({f"module.{k}": t for k, t in deepmind.drawn.items()}, folder / f"{DEEPMIND}.pt")
    return logits


def images() -> Tensor:
    """Return two images."""
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
