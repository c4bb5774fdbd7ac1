"""Models on disk: a folder with ``model.json`` (what it is) and ``model.safetensors`` (weights).

Nothing is unpickled. Floating-point weights may be stored at lower precision; models are float32.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from morex.files import write_atomically
from morex.mixture import UNGATED, Ensemble, Mixture
from morex.networks import NetworkConfig, ResNet
from morex.shipped import find_model, shipped_sets

_KINDS: dict[type[nn.Module], str] = {
    ResNet: "resnet",
    Mixture: "mixture",
    **{cls: kind for kind, cls in UNGATED.items()},
}
DESCRIPTION, WEIGHTS = "model.json", "model.safetensors"
_KEYS = {"format", "model", "weights_sha256", "about"}
_AGAIN = "save or train the model again"


class ModelError(ValueError):
    """A saved model is missing, damaged or of a kind that cannot be saved or loaded."""


def save_model(
    model: nn.Module,
    folder: Path | str,
    *,
    about: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write ``model`` to ``folder``, each file atomically, the description last.

    Args:
        model: a ``ResNet``, or a mixture of them.
        folder: made if it does not exist.
        about: JSON values to keep beside it, for example class names; ``load_about`` returns them.
        dtype: store floating-point weights in this type, for example ``torch.bfloat16``.

    Raises:
        ModelError: if the model holds a network that morex does not know how to rebuild.
        TypeError: if ``about`` holds something that JSON cannot.
    """
    folder = Path(folder)
    described = {"format": 1, "model": _describe(model), "about": dict(about or {})}
    json.dumps(described)  # may fail: before anything is written
    weights = {
        # safetensors refuses channels-last tensors
        name: (t.to(dtype) if dtype and t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in model.state_dict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    content = save(weights)
    described["weights_sha256"] = hashlib.sha256(content).hexdigest()
    write_atomically(folder / WEIGHTS, content)
    write_atomically(folder / DESCRIPTION, json.dumps(described, indent=1).encode())


def load_model(folder: Path | str, *, device: torch.device | str = "cpu") -> nn.Module:
    """Return the model saved in ``folder``, in evaluation mode: images in [0, 1] to logits.

    A mixture also has ``gate_weights(x)`` and ``expert_names``.

    Args:
        folder: a saved model's folder, or the name of a shipped model such as ``cifar10-small``
            (its MoRE over all perturbations) or ``cifar10-small/minf``.
        device: where to put it.

    Raises:
        ModelError: if the folder holds no model, or a file is damaged.
    """
    folder = find_model(folder)
    described = _read_description(folder)
    try:
        model = _build(described["model"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder / DESCRIPTION} is damaged ({error!r}); {_AGAIN}") from None
    _load_weights(model, folder / WEIGHTS, described["weights_sha256"])
    return model.to(device).eval()


def load_about(folder: Path | str) -> dict[str, Any]:
    """Return what was saved beside the model in ``folder``.

    Raises:
        ModelError: if the folder holds no model, or its description is damaged.
    """
    about: dict[str, Any] = _read_description(find_model(folder))["about"]
    return about


def _describe(model: nn.Module) -> dict[str, Any]:
    kind = _KINDS.get(type(model))  # a subclass may compute something else: it has no kind
    described: dict[str, Any] = {"kind": kind}
    if kind and isinstance(model, ResNet):
        return described | asdict(model.config)
    if kind and isinstance(model, Ensemble):
        parts = map(_describe, model.experts)
        described["experts"] = dict(zip(model.expert_names, parts, strict=True))
        if isinstance(model, Mixture):
            described["gate"] = _describe(model.gate)
        return described
    raise ModelError(
        f"cannot save a {type(model).__name__}: only morex's networks and mixtures of them can be "
        "rebuilt from JSON; save the state_dict of other modules yourself"
    )


def _build(description: dict[str, Any]) -> nn.Module:
    kind = description["kind"]
    if kind == "resnet":
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in description.items() if k != "kind"
        }
        return ResNet(NetworkConfig(**fields))
    experts = {name: _build(part) for name, part in description["experts"].items()}
    if kind == "mixture":
        return Mixture(experts, _build(description["gate"]))
    return UNGATED[kind](experts)


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ModelError(
            f"no model in {os.fspath(folder)!r}: expected a folder with {DESCRIPTION} and {WEIGHTS}"
            + _or_shipped()
        )
    try:
        description: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}); {_AGAIN}") from None
    if not isinstance(description, dict) or not description.keys() >= _KEYS:
        raise ModelError(f"{path} is damaged (not a description of a model); {_AGAIN}")
    if description["format"] != 1:
        raise ModelError(
            f"{path} has format {description['format']!r}, this version of morex reads 1"
        )
    return description


def _or_shipped() -> str:
    names = [f"{name}/{model}" for name, found in shipped_sets().items() for model in found.models]
    return f", or a shipped model: {', '.join(names)}" if names else ""


def _load_weights(model: nn.Module, path: Path, digest: str) -> None:
    try:
        content = path.read_bytes()
        weights: dict[str, Tensor] = load(content)
        model.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path} is damaged or does not fit its {DESCRIPTION}: {error}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(
            f"{path} is damaged or does not fit its {DESCRIPTION}: wrong checksum; {_AGAIN}"
        )
