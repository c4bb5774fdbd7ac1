"""Tied weights: one tensor that a model holds under several names."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from morex.models.errors import ModelError


def tied_names(model: nn.Module) -> dict[str, str]:
    """Return the first name of every tensor that has several, by each of its other names.

    Raises:
        ModelError: if two tensors share a part of their memory without being the same.
    """
    first, tied = dict[tuple[object, ...], str](), dict[str, str]()
    tensors = model.state_dict(keep_vars=True)
    for name, t in tensors.items():
        place = (t.data_ptr(), t.shape, t.stride(), t.dtype, t.device)
        if t.numel() and first.setdefault(place, name) != name:
            tied[name] = first[place]
    _check_apart({name: t for name, t in tensors.items() if t.numel() and name not in tied})
    return tied


def _check_apart(tensors: Mapping[str, Tensor]) -> None:
    """Raise if the memory of two tensors overlaps."""
    spans = sorted((str(t.device), t.data_ptr(), _end(t), name) for name, t in tensors.items())
    for (device, _, end, name), (other, start, _, following) in pairwise(spans):
        if device == other and start < end:
            raise ModelError(
                f"{name} and {following} share a part of their memory, which a saved model cannot "
                "keep; tie whole tensors, or give each its own"
            )


def _end(t: Tensor) -> int:
    """Return the address after the last element."""
    last = sum((size - 1) * stride for size, stride in zip(t.shape, t.stride(), strict=True))
    return t.data_ptr() + (last + 1) * t.element_size()


@torch.no_grad()
def tie(model: nn.Module, tied: Mapping[str, str]) -> None:
    """Make the tensors of a model the same again; names are those of ``tied_names``.

    Raises:
        ModelError: if the model has no such tensor, or two differ in their shape.
    """
    tensors = model.state_dict(keep_vars=True)
    for name, first in tied.items():
        if name not in tensors or first not in tensors:
            raise ModelError(f"no tensors {name} and {first}, which are said to be tied")
        if tensors[name].shape != tensors[first].shape:
            raise ModelError(f"{name} and {first} are said to be tied, but differ in their shape")
        owner, _, own = name.rpartition(".")
        module = model.get_submodule(owner)
        if isinstance(tensors[name], nn.Parameter) and isinstance(tensors[first], nn.Parameter):
            module._parameters[own] = tensors[first]
        else:
            tensors[name].data = tensors[first].data
