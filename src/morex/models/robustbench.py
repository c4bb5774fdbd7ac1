"""Models of RobustBench (Croce et al. 2021), ``robustbench://cifar10/Linf/NAME``.

The networks are those of morex, which compute what the networks of RobustBench compute; their
package is not needed. ``robustbench.json`` says for each model which network it is, which mean and
standard deviation of pixels it takes, and where RobustBench keeps its weights. They are read from
a folder with the layout of RobustBench's own: ``cifar10/Linf/NAME.pt``.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from morex.core.files import digest_of
from morex.core.near import hint
from morex.models.architectures import Activation
from morex.models.errors import ModelError
from morex.models.named_model import NamedModel
from morex.models.network import Network, NetworkConfig
from morex.models.published import load_published

SCHEME = "robustbench://"
FOLDER = "MOREX_ROBUSTBENCH"
"""The environment variable with the folder of the weights."""

_ADDRESS = re.compile(rf"{SCHEME}([\w-]+/[\w-]+/[\w-]+)")
_CLASSES = {
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )
}
_OUTPUTS = {"cifar10": 10, "cifar100": 100}


@dataclass(frozen=True)
class Entry:
    """A model of RobustBench.

    Attributes:
        architecture, activation: its network, as for ``NetworkConfig``.
        mean, std: of the pixels, per channel, as it was trained.
        drive: the identifier of its weights on Google Drive.
    """

    architecture: str
    drive: str
    activation: Activation = "relu"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)


@cache
def entries() -> Mapping[str, Entry]:
    """Return the models whose networks morex makes, by ``dataset/threat/name``."""
    content = json.loads(Path(__file__).with_name("robustbench.json").read_text("utf-8"))
    return {name: _entry(fields) for name, fields in content.items()}


def _entry(fields: Mapping[str, Any]) -> Entry:
    values: dict[str, Any] = {k: tuple(v) if type(v) is list else v for k, v in fields.items()}
    return Entry(**values)


def on_robustbench(name: str) -> bool:
    """Return whether the name of a model is an address in RobustBench."""
    return name.startswith(SCHEME)


class FromRobustBench(NamedModel):
    """A model of RobustBench; its weights are read from a file when they are first needed.

    Args:
        name: its address, ``robustbench://dataset/threat/name``.

    Raises:
        ModelError: if the address is malformed, or the model is not in ``entries``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        match = _ADDRESS.fullmatch(name)
        if not match:
            raise ModelError(f"{name!r}: expected robustbench://cifar10/Linf/NAME")
        if match[1] not in entries():
            near = hint(match[1], entries())
            raise ModelError(
                f"{name}: morex knows {len(entries())} models of RobustBench, those that are a "
                f"PreAct-ResNet, a WideResNet or a ResNet, and this is none of them{near}; "
                "name any other one by a factory, path/to/file.py:factory"
            )
        self._key, self._entry = match[1], entries()[match[1]]

    @property
    def about(self) -> dict[str, Any]:
        """Its name, the size of its images, and its classes if they are those of CIFAR-10."""
        dataset, _, name = self._key.split("/")
        classes = {"classes": [*_CLASSES[dataset]]} if dataset in _CLASSES else {}
        return {"name": name, "image_size": [32, 32], **classes}

    @property
    def recipe(self) -> None:
        """None: RobustBench has no recipes."""
        return None

    @cached_property
    def digest(self) -> str:
        """The checksum of its file of weights.

        Raises:
            ModelError: if the file is missing.
        """
        return digest_of(self.file)

    @property
    def identity(self) -> dict[str, Any]:
        """The checksum of its weights, and its network."""
        return {"weights": self.digest, "network": self.config.to_json()}

    @property
    def code(self) -> tuple[str, ...]:
        """Nothing: no code of RobustBench runs."""
        return ()

    @property
    def config(self) -> NetworkConfig:
        """The shape of its network."""
        entry, outputs = self._entry, _OUTPUTS[self._key.partition("/")[0]]
        return NetworkConfig(
            entry.architecture,
            outputs=outputs,
            mean=entry.mean,
            std=entry.std,
            activation=entry.activation,
        )

    @property
    def file(self) -> Path:
        """The file of its weights.

        Raises:
            ModelError: if there is none; the message says where to get it and where to put it.
        """
        path = folder() / f"{self._key}.pt"
        safe = path.with_suffix(".safetensors")
        if safe.is_file() or path.is_file():
            return safe if safe.is_file() else path
        raise ModelError(
            f"{self.name}: there is no {path}; download https://drive.google.com/uc?id="
            f"{self._entry.drive} to that place, for example with: gdown {self._entry.drive} -O "
            f"{path} (the environment variable {FOLDER} names another folder)"
        )

    def load(self, device: torch.device | str = "cpu") -> Network:
        """Return the model in evaluation mode, read anew each time.

        Raises:
            ModelError: if the file is missing or damaged.
        """
        return load_published(self.file, self.config).to(device)


def folder() -> Path:
    """Return the folder of the weights: ``MOREX_ROBUSTBENCH``, or one in the user's cache."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(FOLDER) or Path(cache_home) / "morex" / "robustbench")
