"""Saves models such that ``morex.load`` returns them; see ``folder`` for the files."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from morex.core.files import write_atomically
from morex.core.trust import code_named, signature
from morex.models.folder import DESCRIPTION, WEIGHTS, ModelFolder, text_to_sign
from morex.models.kinds import describe
from morex.models.made_by import Factories, with_factories
from morex.models.mixture import Ensemble
from morex.models.tied import tied_names


def save_model(
    model: nn.Module,
    folder: Path | str,
    *,
    about: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    beside: Sequence[str] = (),
    factory: Factories | None = None,
) -> None:
    """Write ``model`` to ``folder``: each file atomically, and the description last.

    Tied weights, one tensor under several names, are written once and tied again when loaded.

    Args:
        model: a ``ResNet``, a ``Foreign`` classifier, or a mixture of them; with ``factory`` also
            another module, or a mixture with such experts or such a gate.
        folder: the folder, which is made if it does not exist.
        about: JSON values to save beside it, such as class names; ``NamedModel.about`` has them.
        dtype: store floating-point weights in this type, for example ``torch.bfloat16``.
        beside: the names of neighbouring folders with saved networks. Weights that an expert of a
            mixture has in common with one of them are not written again, but read from there.
        factory: what makes modules that are not of morex, as ``path/to/net.py:name`` or
            ``package.module:name``: a function without arguments, or a class. For a mixture it may
            be a mapping from the names of experts, and from ``gate``. Loading the model imports and
            calls it.

    Raises:
        ModelError: if a folder in ``beside`` holds no model, or a part of the model is of a kind
            that cannot be rebuilt from JSON, or ``factory`` makes another kind of module, or two
            weights share a part of their memory.
        ForeignModelError: if ``factory`` cannot be imported or called.
        TypeError: if ``about`` holds something that JSON cannot express.
        ValueError: if ``dtype`` is not a floating-point type, or a finite weight is too large for
            it. Then nothing is written.
    """
    folder = Path(folder)
    if factory is not None:
        model = with_factories(model, factory)
    described = {"format": 1, "model": describe(model), "about": dict(about or {})}
    described = json.loads(json.dumps(described))  # fails before anything is written
    tied = tied_names(model)
    weights = {
        # safetensors refuses channels-last tensors
        name: _narrowed(name, t, dtype).detach().cpu().contiguous()
        for name, t in model.state_dict().items()
        if name not in tied
    }
    if tied:
        described["tied"] = tied
    folder.mkdir(parents=True, exist_ok=True)
    if shared := _take_out_shared(model, weights, folder.parent, beside):
        described["shared"] = shared
    content = save(weights)
    described["weights_sha256"] = hashlib.sha256(content).hexdigest()
    if code := code_named(described):
        described["signature"] = signature(text_to_sign(described), code)
    write_atomically(folder / WEIGHTS, content)
    write_atomically(folder / DESCRIPTION, json.dumps(described, indent=1).encode())


def _narrowed(name: str, weights: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return floating-point weights in ``dtype``, and others as they are."""
    if dtype is None or not weights.is_floating_point():
        return weights
    if not dtype.is_floating_point:
        raise ValueError(f"dtype: expected a floating-point type, got {dtype}")
    narrow = weights.to(dtype)
    lost = weights.isfinite() & ~narrow.to(weights.dtype).isfinite()
    if lost.any():
        largest = float(weights[lost].abs().max())
        raise ValueError(
            f"{name} holds {largest:g}, but {dtype} ends at {torch.finfo(dtype).max:g}; save in a "
            "type with a wider range, such as torch.bfloat16"
        )
    return narrow


def _take_out_shared(
    model: nn.Module, weights: dict[str, Tensor], home: Path, beside: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Remove the weights that neighbouring networks have as well; return where they are.

    An expert shares a network's weights if all but those of its last layer are the same. The result
    maps its prefix, such as ``experts.0.``, to the folder's name and the checksum of its weights.
    """
    layers = model.last_layer_names if isinstance(model, Ensemble) else ()
    shared: dict[str, dict[str, str]] = {}
    for other in beside:
        network = ModelFolder.open(home / other)
        theirs = network.weights()
        for i, layer in enumerate(layers):
            prefix = f"experts.{i}."
            same = [n for n, t in theirs.items() if _identical(t, weights.get(prefix + n))]
            body = {name for name in theirs if not name.startswith(f"{layer}.")}
            if prefix not in shared and body <= {*same}:
                checksum = network.description.weights_sha256
                shared[prefix] = {"folder": other, "weights_sha256": checksum}
                for name in same:
                    del weights[prefix + name]
    return shared


def _identical(a: Tensor, b: Tensor | None) -> bool:
    return b is not None and a.dtype == b.dtype and torch.equal(a, b)
