"""A package with the few functions of timm that morex calls: timm itself needs torchvision."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from torch import Tensor, nn


class Tiny(nn.Module):
    """A network that takes images of any size, with a last layer called ``top.fc``."""

    default_cfg: ClassVar[dict[str, object]] = {"classifier": "top.fc"}

    def __init__(self, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, 4, 3, padding=1)
        self.norms = nn.Sequential(*[nn.BatchNorm2d(4) for _ in range(4)])
        self.top = nn.ModuleDict({"fc": nn.Linear(4, num_classes)})

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.top["fc"](self.norms(self.conv(x)).mean((2, 3)))
        return logits


class Patches(nn.Module):
    """A network for images of one size, which it is told."""

    default_cfg: ClassVar[dict[str, object]] = {"classifier": "fc"}

    def __init__(self, num_classes: int, in_chans: int, img_size: tuple[int, int]) -> None:
        super().__init__()
        if img_size[0] % 8 or img_size[1] % 8:
            raise AssertionError("height should be divisible by 8")
        self.fc = nn.Linear(in_chans * img_size[0] * img_size[1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.fc(x.flatten(1))
        return logits


class TwoHeads(Tiny):
    """A network with two last layers."""

    default_cfg: ClassVar[dict[str, object]] = {"classifier": ("a", "b")}


NETWORKS = {"tiny_net": Tiny, "patches": Patches, "two_heads": TwoHeads}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``import timm`` find the stand-in."""
    timm, models = ModuleType("timm"), ModuleType("timm.models")
    timm.__version__ = "1.0"  # type: ignore[attr-defined]
    timm.models = models  # type: ignore[attr-defined]
    timm.is_model = NETWORKS.__contains__  # type: ignore[attr-defined]
    timm.list_models = lambda: [*NETWORKS]  # type: ignore[attr-defined]
    models.get_pretrained_cfg = lambda name: (  # type: ignore[attr-defined]
        SimpleNamespace(fixed_input_size=name == "patches")
    )
    models.create_model = _create  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "timm.models", models)


def _create(name: str, *, pretrained: bool, **rest: Any) -> Any:
    assert not pretrained, "nothing is downloaded"
    return NETWORKS[name](**rest)
