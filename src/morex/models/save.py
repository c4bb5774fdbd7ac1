"""Models on disk: a folder with ``model.json`` (what it is) and ``model.safetensors`` (weights).

Nothing is unpickled. Floating-point weights may be stored at lower precision; models are float32.
A mixture may share weights with networks in folders beside its own. A foreign expert is made by its
factory (``package.module:factory``), which loading imports and calls: that module must be there,
and whoever wrote the ``model.json`` names it.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from morex.artifacts.model_sets import shipped_sets
from morex.core.files import write_atomically
from morex.models.external import Foreign, ForeignConfig, ForeignModelError
from morex.models.gates import ExtendedGate
from morex.models.mixture import UNGATED, Ensemble, Mixture
from morex.models.resnet import LAST_LAYER, NetworkConfig, ResNet

_KINDS: dict[type[nn.Module], str] = {
    ResNet: "resnet",
    Foreign: "foreign",
    ExtendedGate: "extended-gate",
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
    beside: Sequence[str] = (),
) -> None:
    """Write ``model`` to ``folder``, each file atomically, the description last.

    Args:
        model: a ``ResNet``, a ``Foreign`` classifier, or a mixture of them.
        folder: made if it does not exist.
        about: JSON values to keep beside it, for example class names; ``NamedModel.about``.
        dtype: store floating-point weights in this type, for example ``torch.bfloat16``.
        beside: names of folders beside ``folder`` with saved networks. Where an expert of a mixture
            has the very weights of one of them they are not written again, but read from there.

    Raises:
        ModelError: if a folder in ``beside`` holds no model, or the model holds a network that
            morex does not know how to rebuild.
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
    if shared := _take_out_shared(weights, folder.parent, beside):
        described["shared"] = shared
    content = save(weights)
    described["weights_sha256"] = hashlib.sha256(content).hexdigest()
    write_atomically(folder / WEIGHTS, content)
    write_atomically(folder / DESCRIPTION, json.dumps(described, indent=1).encode())


@dataclass(frozen=True)
class ModelFolder:
    """A saved model: what its ``model.json`` says, and where its weights are.

    Attributes:
        path: the folder.
        description: the content of ``model.json``.
    """

    path: Path
    description: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> "ModelFolder":
        """Read what a folder's ``model.json`` says.

        Raises:
            ModelError: if the folder holds no model, or its description is damaged.
        """
        return cls(path, _read_description(path))

    @property
    def about(self) -> dict[str, Any]:
        """What was saved beside the model."""
        about: dict[str, Any] = self.description["about"]
        return about

    @property
    def digest(self) -> str:
        """The checksum of all weights, including those that it shares."""
        sources = [source["weights_sha256"] for source in self._shared.values()]
        all_of_them = [self.description["weights_sha256"], *sources]
        return hashlib.sha256("".join(all_of_them).encode()).hexdigest()

    def build(self, *, trusted: bool) -> nn.Module:
        """Return the model with its weights, in evaluation mode on the CPU.

        Args:
            trusted: whether the factories that the description names may be imported and called.

        Raises:
            ModelError: if a file is damaged, or a factory would have to be called.
        """
        model = self._empty(trusted=trusted)
        try:
            model.load_state_dict(self._all_weights())
        except RuntimeError as error:
            raise ModelError(
                f"{self.path / WEIGHTS} does not fit its {DESCRIPTION}: {error}"
            ) from None
        return model.eval()

    def weights(self) -> dict[str, Tensor]:
        """Return the weights in the folder itself, by name.

        Raises:
            ModelError: if the file is missing or damaged.
        """
        return _read_weights(self.path / WEIGHTS, self.description["weights_sha256"])

    @property
    def _shared(self) -> Mapping[str, Mapping[str, str]]:
        shared: Mapping[str, Mapping[str, str]] = self.description.get("shared", {})
        return shared

    def _empty(self, *, trusted: bool) -> nn.Module:
        try:
            return _build(self.description["model"], trusted=trusted)
        except _UntrustedFactoryError as error:
            raise ModelError(
                f"a part of this model is made by {error}, which is not imported for models of the "
                f"hub; if you trust it, load {self.path}"
            ) from None
        except ForeignModelError as error:
            raise ModelError(f"{self.path}: an expert comes from elsewhere: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            path = self.path / DESCRIPTION
            raise ModelError(f"{path} is damaged ({error!r}); {_AGAIN}") from None

    def _all_weights(self) -> dict[str, Tensor]:
        weights = self.weights()
        for prefix, source in self._shared.items():
            weights = _read_shared(self.path.parent, source, prefix) | weights
        return weights


def _describe(model: nn.Module) -> dict[str, Any]:
    kind = _KINDS.get(type(model))  # a subclass may compute something else: it has no kind
    described: dict[str, Any] = {"kind": kind}
    if kind and isinstance(model, ResNet | Foreign):
        return described | asdict(model.config)
    if kind and isinstance(model, ExtendedGate):
        return described | {"known": _describe(model.known), "joined": _describe(model.joined)}
    if kind and isinstance(model, Ensemble):
        parts = map(_describe, model.experts)
        described["experts"] = dict(zip(model.expert_names, parts, strict=True))
        if isinstance(model, Mixture):
            described["gate"] = _describe(model.gate)
            if model.combine != "logits":
                described["combine"] = model.combine
        return described
    raise ModelError(
        f"cannot save a {type(model).__name__}: only morex's networks and mixtures of them can be "
        "rebuilt from JSON; save the state_dict of other modules yourself"
    )


class _UntrustedFactoryError(Exception):
    """A model of the hub wants this factory to be imported."""


def _build(description: dict[str, Any], *, trusted: bool) -> nn.Module:
    kind = description["kind"]
    if kind in ("resnet", "foreign"):
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in description.items() if k != "kind"
        }
        if kind == "foreign":
            if not trusted:
                raise _UntrustedFactoryError(fields["factory"])
            return Foreign(ForeignConfig(**fields))
        return ResNet(NetworkConfig(**fields))
    if kind == "extended-gate":
        known, joined = (_build(description[part], trusted=trusted) for part in ("known", "joined"))
        return ExtendedGate(known, joined)
    parts = description["experts"].items()
    experts = {name: _build(part, trusted=trusted) for name, part in parts}
    if kind == "mixture":
        gate = _build(description["gate"], trusted=trusted)
        return Mixture(experts, gate, combine=description.get("combine", "logits"))
    return UNGATED[kind](experts)


def _last_layer(description: Mapping[str, Any]) -> str:
    if description["kind"] == "foreign":
        return ForeignConfig(description["factory"], last_layer=description["last_layer"]).path
    return LAST_LAYER


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


def _read_weights(path: Path, digest: str) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
        weights: dict[str, Tensor] = load(content)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is damaged or does not fit its {DESCRIPTION}: {error}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(
            f"{path} is damaged or does not fit its {DESCRIPTION}: wrong checksum; {_AGAIN}"
        )
    return weights


def _take_out_shared(
    weights: dict[str, Tensor], home: Path, beside: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Remove from ``weights`` what networks beside have as well; return whose is whose.

    The result maps a prefix such as ``experts.0.`` to the folder's name and its checksum.
    """
    prefixes = {".".join(name.split(".")[:2]) + "." for name in weights if name[:8] == "experts."}
    shared: dict[str, dict[str, str]] = {}
    for other in beside:
        network = ModelFolder.open(home / other)
        digest = network.description["weights_sha256"]
        last, theirs = _last_layer(network.description["model"]), network.weights()
        for prefix in sorted(prefixes - shared.keys()):
            same = [n for n, t in theirs.items() if _identical(t, weights.get(prefix + n))]
            if {name for name in theirs if not name.startswith(last)} <= {*same}:
                shared[prefix] = {"folder": other, "weights_sha256": digest}
                for name in same:
                    del weights[prefix + name]
    return shared


def _identical(a: Tensor, b: Tensor | None) -> bool:
    return b is not None and a.dtype == b.dtype and torch.equal(a, b)


def _read_shared(home: Path, source: Mapping[str, str], prefix: str) -> dict[str, Tensor]:
    """Return the weights of a network beside under the names that they have in the mixture."""
    path = home / source["folder"] / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{path} is missing, whose weights this model shares; copy it as well")
    theirs = _read_weights(path, source["weights_sha256"])
    return {prefix + name: t for name, t in theirs.items()}
