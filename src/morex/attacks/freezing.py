"""Models as attacks see them: in evaluation mode, with nothing that learns and images of their own.

What an attack does to a model is undone on exit.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from morex.models.conv_bn import ConvNorm
from morex.models.gates import ExtendedGate
from morex.models.in_place import keeps_images
from morex.models.mixture import Ensemble

Model = Callable[[Tensor], Tensor]
"""Any callable from images (N, C, H, W) in [0, 1] to logits (N, K); an ``nn.Module`` or not."""


class Freezer:
    """Freezes one model repeatedly, as ``frozen`` does, but lists its modules only once.

    Training freezes its model in every step, and in a mixture of small networks a walk through all
    modules takes as long as a convolution.

    Args:
        model: the model to freeze; a callable that is not an ``nn.Module`` is left alone. Its
            modules and parameters must stay the same ones.
    """

    def __init__(self, model: Model) -> None:
        self._modules = [*model.modules()] if isinstance(model, nn.Module) else []
        self._parameters = [*model.parameters()] if isinstance(model, nn.Module) else []
        self._pairs = [m for m in self._modules if isinstance(m, ConvNorm)]
        self._strangers = _strangers(model) if isinstance(model, nn.Module) else []
        buffers = [*model.buffers()] if isinstance(model, nn.Module) else []
        _check_weights([*self._parameters, *buffers])

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Freeze the model inside a ``with`` block."""
        training = [module for module in self._modules if module.training]
        trained = [p for p in self._parameters if p.requires_grad]
        unfolded = [pair for pair in self._pairs if not pair.folded]
        hooks = [part.register_forward_pre_hook(_copied) for part in self._strangers]
        try:
            for module in training:
                # a plain assignment, because TorchScript stores the flag elsewhere
                module.training = False
            for p in trained:
                p.requires_grad_(False)
            for pair in unfolded:
                pair.fold()
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for pair in unfolded:
                pair.unfold()
            for module in training:
                module.training = True
            for p in trained:
                p.requires_grad_(True)


def frozen(model: Model) -> AbstractContextManager[None]:
    """Put a module in evaluation mode with no weight gradients; restore everything on exit.

    Without weight gradients the backward pass of an attack computes only what reaches the input.
    Convolutions are folded with their normalisation, so the weights must not change inside.
    Networks that morex did not make get copies of their images, which they may change in place.
    A callable that is not an ``nn.Module`` is left alone.

    Raises:
        ValueError: if weights were made in ``torch.inference_mode``.
    """
    return Freezer(model)()


def on_copies(model: Model) -> Model:
    """Return a model that may change its input in place without changing the caller's images.

    A module is returned as it is: ``frozen`` takes care of it.
    """
    if isinstance(model, nn.Module | _OnCopies) or _has_parts(model):
        return model
    return _OnCopies(model)


@dataclass(frozen=True)
class _OnCopies:
    model: Model

    def __call__(self, x: Tensor) -> Tensor:
        return self.model(x.clone())


def _has_parts(model: Model) -> bool:
    """Return whether attacks look inside a model that is no module."""
    return any(getattr(model, part, None) for part in ("experts", "gate_weights"))


def _strangers(network: nn.Module) -> list[nn.Module]:
    """Return the networks in a model that may change their images in place.

    A TorchScript module is left out: it takes no hooks.
    """
    if keeps_images(network) or isinstance(network, torch.jit.ScriptModule):
        return []
    if isinstance(network, Ensemble | ExtendedGate | nn.ModuleList):
        return [found for part in network.children() for found in _strangers(part)]
    return [network]


def _copied(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a module with a copy of the first, its images."""
    return (given[0].clone(), *given[1:])


def _check_weights(weights: Iterable[Tensor]) -> None:
    """Raise if a weight cannot take part in a gradient."""
    if any(weight.is_inference() for weight in weights):
        raise ValueError(
            "the weights of this model were made in torch.inference_mode, which allows no "
            "gradients; load or build the model outside of it"
        )
