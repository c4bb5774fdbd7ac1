"""Checksums of tensors, by name, type, shape and bits."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor


def digest_of_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of named tensors in their order, wherever they are, in hexadecimal."""
    found = hashlib.sha256()
    for name, tensor in tensors:
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
