"""What an exported file computes: from pictures to logits, probabilities and gate weights."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from morex.deploy.errors import ExportError
from morex.models.conv_bn import ConvNorm
from morex.models.image_check import ImageCheck
from morex.models.in_place import images_for
from morex.models.mixture import Mixture
from morex.models.routing import Routing, shares

Precision = Literal["fp32", "fp16", "int8"]
"""The number format of a file's weights."""

Pixels = Literal["float", "uint8"]
"""What a file takes: floats in [0, 1] as (N, C, H, W), or bytes as (N, H, W, C)."""

INPUT = "images"


@dataclass(frozen=True)
class Form:
    """The form of an exported file.

    Args:
        pixels: what it takes.
        precision: the number format of its weights. Inputs and outputs are float32 in any case.
    """

    pixels: Pixels = "float"
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        """Check the names."""
        for name, kind in (("pixels", Pixels), ("precision", Precision)):
            value, known = getattr(self, name), get_args(kind)
            if value not in known:
                raise ExportError(f"{name}: expected {' or '.join(known)}, got {value!r}")

    def given(self, x: Tensor) -> Tensor:
        """Return images (N, C, H, W) in [0, 1] as the file takes them."""
        if self.pixels == "float":
            return x
        return (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class Graph(nn.Module):
    """A model as it is exported: a tuple of outputs, whose names are ``outputs``.

    A sparse mixture runs an expert if any image of the batch asks for it. So for one picture at a
    time only the experts that it asks run. In int8 all of them run, and the answers of those that
    are not asked are dropped.

    Args:
        model: images in [0, 1] to logits; it stays as it is.
        form: what it takes, and its number format.
    """

    def __init__(self, model: nn.Module, form: Form) -> None:
        super().__init__()
        copy = _ready(model)
        self.model = copy.half() if form.precision == "fp16" else copy
        self.form = form

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs; all are float32, with one row for each image."""
        gate = ("gate_weights",) if isinstance(self.model, Mixture) else ()
        sparse = ("routed_weights",) if _routing(self.model) else ()
        return ("logits", "probabilities", *gate, *sparse)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for pictures in the form that the file takes."""
        x = images
        if self.form.pixels == "uint8":
            x = images.permute(0, 3, 1, 2).float() / 255
        x = x.half() if self.form.precision == "fp16" else x
        logits, *weights = self._answers(x)
        return tuple(t.float() for t in (logits, logits.float().softmax(1), *weights))

    def _answers(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the logits, and the weights of the experts if there is a gate."""
        if not isinstance(self.model, Mixture):
            return (self.model(x),)
        scores = self.model.scores(x)
        weights = torch.softmax(scores, dim=1)
        routing = _routing(self.model)
        if routing is None:
            return self.model.combined(scores, self.model.expert_logits(x).float()), weights
        asked = routing.asked(weights)
        answers = self._of_asked(x, asked)
        return self.model.combined(scores, answers, asked), weights, shares(weights, asked)

    def _of_asked(self, x: Tensor, asked: Tensor) -> Tensor:
        """Return the logits of the experts that any image asks, and 0 for the others: (N, m, K)."""
        assert isinstance(self.model, Mixture)
        if self.form.precision == "int8":
            return self.model.expert_logits(x).float()
        classes = self.model.classes

        def none(x: Tensor) -> Tensor:
            return x.new_zeros(x.shape[0], classes, dtype=torch.float32)

        found = [
            torch.cond(asked[:, i].any(), _asking(expert), none, (x,))
            for i, expert in enumerate(self.model.experts)
        ]
        return torch.stack(found, dim=1)


def _ready(model: nn.Module) -> nn.Module:
    """Return a copy on the CPU that only answers: without checks, gradients and normalisation."""
    copy = deepcopy(model).cpu().eval().requires_grad_(False)
    for module in copy.modules():
        for key, hook in [*module._forward_pre_hooks.items()]:
            if isinstance(hook, ImageCheck):
                del module._forward_pre_hooks[key]
        if isinstance(module, ConvNorm):
            module.bake()
    return copy.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload,no-any-return]


def _asking(expert: nn.Module) -> Callable[[Tensor], Tensor]:
    def ask(x: Tensor) -> Tensor:
        logits: Tensor = expert(images_for(expert, x))
        return logits.float()

    return ask


def _routing(model: nn.Module) -> Routing | None:
    return model.routing if isinstance(model, Mixture) else None
