"""Checks what a loaded model is given: images of the right shape and type, in [0, 1].

Otherwise the answer is an error deep inside of a convolution, or a prediction that means nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from morex.models.mixture import Ensemble, Mixture
from morex.models.network import Network

_SLACK = 1e-3
"""How far beyond 0 and 1 a pixel may lie, for example after resizing."""


class ImagesError(ValueError):
    """A model is given something other than images that it can classify."""


class ImageCheck:
    """A hook that checks the input of a model before every call.

    Shape and type are checked every time, which takes a few microseconds. Pixels are read once: in
    the first call that succeeds, if they can be read there. Attacks may leave [0, 1] on their way,
    and on a GPU every look at pixels waits for all that was computed before.

    Args:
        channels: of the images; None if they are not known.
        size: their height and width; empty if they are not known.
    """

    def __init__(self, channels: int | None, size: tuple[int, ...]) -> None:
        self.channels = channels
        self.size = size
        self.in_range = False

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Raise ``ImagesError`` unless the input is what the model was trained on."""
        if not inputs:
            return
        x = inputs[0]
        if not isinstance(x, Tensor):
            raise ImagesError(
                f"expected images as {self._expected}, got an object of type {type(x).__name__}; "
                "make a tensor of them, for example with torch.as_tensor"
            )
        self._check_shape(x)
        self._check_type(x, module)
        if not (self.in_range or _is_recorded(x)):
            self._check_range(x)

    def _check_shape(self, x: Tensor) -> None:
        right = x.ndim == 4 and self.channels in (None, x.shape[1])
        if not right or (self.size and tuple(x.shape[2:]) != self.size):
            raise ImagesError(f"expected images as {self._expected}, got {tuple(x.shape)}")

    def _check_type(self, x: Tensor, module: nn.Module) -> None:
        if not x.is_floating_point():
            raise ImagesError(
                f"expected floating-point images in [0, 1], got {x.dtype}; convert them, for "
                "example with images.float() / 255"
            )
        if x.dtype is torch.float64:  # NumPy's default, which a model of float32 does not take
            weight = next(module.parameters(), x)
            if weight.dtype is not torch.float64:
                raise ImagesError(
                    f"expected images of type {weight.dtype}, which is that of the model, got "
                    f"{x.dtype}; convert them with images.float()"
                )

    def _check_range(self, x: Tensor) -> None:
        try:
            low, high = (float(end) for end in x.detach().aminmax())
        except RuntimeError:  # no image, or pixels that cannot be read here
            return
        if not (low >= -_SLACK and high <= 1 + _SLACK):
            raise ImagesError(
                f"expected pixels in [0, 1], got [{low:.4g}, {high:.4g}]; scale them, and leave "
                "any normalisation to the model"
            )
        self.in_range = True

    @property
    def _expected(self) -> str:
        channels = "C" if self.channels is None else self.channels
        height, width = self.size or ("H", "W")
        return f"a tensor of shape (N, {channels}, {height}, {width})"


def _is_recorded(x: Tensor) -> bool:
    """Return whether the call is compiled, exported, traced or captured: no pixel may be read."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return True
    return x.is_cuda and torch.cuda.is_current_stream_capturing()


def with_image_check(model: nn.Module, about: Mapping[str, Any]) -> nn.Module:
    """Add a check of its images to a model, and to the experts and the gate of a mixture.

    Args:
        model: the model, which is changed.
        about: what was saved beside it, of which ``image_size`` is used.
    """
    networks = [module for module in model.modules() if isinstance(module, Network)]
    channels = len(networks[0].config.mean) if networks else None
    check = ImageCheck(channels, tuple(about.get("image_size") or ()))
    for part in _parts(model):
        part.register_forward_pre_hook(check)
    return model


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    yield model
    if isinstance(model, Ensemble):
        yield from model.experts
    if isinstance(model, Mixture):
        yield model.gate
