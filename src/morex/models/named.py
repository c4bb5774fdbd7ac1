"""Models by name: a folder, a shipped model, one on the hub or in RobustBench, or a factory.

``open_model`` reads the description of a model once. Weights are read, and a factory is called,
only when they are needed.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from morex.artifacts.model_sets import read_set, shipped_sets
from morex.artifacts.stored_runs import local_model
from morex.core.object_store import is_url
from morex.core.user_code import executed_sources
from morex.models.external import Foreign, ForeignConfig, is_factory
from morex.models.folder import DESCRIPTION, ModelFolder
from morex.models.hub import hub_model, on_hub
from morex.models.image_check import with_image_check
from morex.models.named_model import NamedModel
from morex.models.robustbench import FromRobustBench, on_robustbench


class FromFolder(NamedModel):
    """A model in a folder.

    Args:
        name: as for ``find_model``.
        trust_code: whether code that its files name may run. Otherwise it may only if this user's
            morex wrote them here.

    Raises:
        ModelError: if the folder holds no model, or its description is damaged.
        HubError: if it cannot be downloaded from the hub.
        SetError: if it belongs to a set whose ``set.json`` is damaged.
    """

    def __init__(self, name: Path | str, *, trust_code: bool = False) -> None:
        self.name = os.fspath(name)
        self.trust_code = trust_code
        self._files = ModelFolder.open(find_model(name))

    @property
    def folder(self) -> Path:
        """The folder of the model."""
        return self._files.path

    @property
    def about(self) -> dict[str, Any]:
        """What was saved beside the model."""
        return self._files.about

    @property
    def recipe(self) -> Mapping[str, Any] | None:
        """The recipe of the set that the model belongs to, otherwise the one saved with it.

        Raises:
            SetError: if it belongs to a set whose ``set.json`` is damaged.
        """
        own: Mapping[str, Any] | None = self.about.get("recipe")
        return self._recipe_of_set or own

    @property
    def trusts_recipe(self) -> bool:
        """Whether code that its recipe names may run."""
        return self.trust_code or (not self._recipe_of_set and self._files.is_ours)

    @property
    def _recipe_of_set(self) -> Mapping[str, Any] | None:
        found = read_set(self.folder.resolve().parent)
        return found.recipe if found else None

    @property
    def digest(self) -> str:
        """The checksum of all weights, including those that it shares with other models."""
        return self._files.digest

    @property
    def identity(self) -> dict[str, Any]:
        """The checksum of all weights and of the code of factories, and the routing if any."""
        code = {name: executed_sources(name).version for name in self.code}
        routing = self._files.content["model"].get("routing")
        found = {"code": code, "routing": routing}
        return {"weights": self.digest} | {key: value for key, value in found.items() if value}

    @property
    def code(self) -> tuple[str, ...]:
        """The factories that make parts of it."""
        return self._files.code

    def load(self, device: torch.device | str = "cpu") -> nn.Module:
        """Return the model in evaluation mode, read anew each time.

        Raises:
            ModelError: if a file is damaged.
            UntrustedCodeError: if it has a part whose factory must not be called.
        """
        return self._files.build(trust_code=self.trust_code).to(device)


class FromFactory(NamedModel):
    """A classifier that a factory makes. The factory is imported and called at most once.

    Args:
        config: the factory, and the pixels that its classifier expects.
    """

    def __init__(self, config: ForeignConfig) -> None:
        self.name = config.factory
        self.config = config

    @property
    def about(self) -> dict[str, Any]:
        """Empty: a factory saves nothing beside its model."""
        return {}

    @property
    def recipe(self) -> None:
        """None: a factory has no recipe."""
        return None

    @cached_property
    def digest(self) -> str:
        """A checksum of the classifier's weights.

        Raises:
            ForeignModelError: if it cannot be made.
        """
        return self._made.digest()

    @property
    def identity(self) -> dict[str, Any]:
        """The factory with its pixels, and the checksums of its weights and of its code."""
        weights = self.digest  # makes it
        code = executed_sources(self.name).version
        return {"made_by": asdict(self.config), "weights": weights, "code": code}

    @property
    def code(self) -> tuple[str, ...]:
        """Its factory."""
        return (self.name,)

    def load(self, device: torch.device | str = "cpu") -> Foreign:
        """Return the classifier in evaluation mode: the same module each time, moved to ``device``.

        Raises:
            ForeignModelError: if it cannot be made.
        """
        return self._made.to(device).eval()

    @cached_property
    def _made(self) -> Foreign:
        return Foreign(self.config)


def open_model(
    name: Path | str,
    *,
    input_range: str = "0..1",
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    last_layer: str = "fc",
    trust_code: bool = False,
) -> NamedModel:
    """Return the model of that name, opened.

    Args:
        name: as for ``find_model``; or ``robustbench://cifar10/Linf/NAME``; or
            ``path/to/file.py:factory``.
        input_range: the pixels that a factory's classifier wants, as for ``ForeignConfig``. This
            and what follows has no effect on a saved model.
        mean: what is subtracted from each channel.
        std: what each channel is divided by.
        last_layer: the dotted name of the classifier's last linear layer.
        trust_code: as for ``FromFolder``. A factory that is the name itself is always called.

    Raises:
        ModelError, HubError, SetError: as ``FromFolder``, or as ``FromRobustBench``.
        ForeignModelError: if the range is unknown.
    """
    if is_factory(os.fspath(name)):
        return FromFactory(ForeignConfig(os.fspath(name), input_range, mean, std, last_layer))
    return open_saved(name, trust_code=trust_code)


def open_saved(name: Path | str, *, trust_code: bool = False) -> NamedModel:
    """Return the saved model of that name, opened: as ``open_model``, but no factory.

    Raises:
        ModelError, HubError, SetError: as ``FromFolder``, or as ``FromRobustBench``.
    """
    if on_robustbench(os.fspath(name)):
        return FromRobustBench(os.fspath(name))
    return FromFolder(name, trust_code=trust_code)


def load_model(
    folder: Path | str, *, device: torch.device | str = "cpu", trust_code: bool = False
) -> nn.Module:
    """Return the model saved in ``folder``, in evaluation mode: images in [0, 1] to logits.

    A mixture also has ``gate_weights(x)`` and ``expert_names``. What the model is given is checked
    (``ImageCheck``): an ``ImagesError`` says what is wrong with images of another shape, type or
    range.

    Args:
        folder: a saved model's folder, or the name of a shipped model such as ``cifar10-small``
            (its MoRE over all perturbations) or ``cifar10-small/minf``, or ``hf://owner/name`` on
            the Hugging Face hub (``hf://owner/name@revision/model`` for one model of a set, at a
            branch, tag or commit), or ``robustbench://cifar10/Linf/NAME``, or a model in a run at
            a URL, such as ``s3://bucket/runs/digits/models/clean``.
        device: the device for the model.
        trust_code: whether factories that its ``model.json`` names may be imported and called.
            Without it they are only if this user's morex saved the model here.

    Raises:
        ModelError: if the folder holds no model, or a file is damaged.
        UntrustedCodeError: if it has a part whose factory must not be called.
        HubError: if it cannot be downloaded from the hub.
        SetError: if it belongs to a set whose ``set.json`` is damaged.
    """
    named = open_saved(folder, trust_code=trust_code)
    return with_image_check(named.load(device), named.about)


def find_model(name: Path | str) -> Path:
    """Return the folder of a model: one on disk, a shipped one, or one on the hub.

    Args:
        name: a folder with a model, or with a set of models, whose default it stands for; or a
            shipped set such as ``cifar10-small``, which stands for its best
            mixture; or one of its models, such as ``cifar10-small/minf``; or ``hf://owner/name``;
            or a model in a run at a URL, such as ``s3://bucket/runs/digits/models/clean``.

    Raises:
        HubError: if it is on the hub and cannot be downloaded.
        SetError: if it belongs to a set whose ``set.json`` is damaged.
    """
    if on_hub(os.fspath(name)):
        return hub_model(os.fspath(name))
    if is_url(name):
        return local_model(os.fspath(name))
    folder = Path(name)
    if folder.exists():
        found = None if (folder / DESCRIPTION).exists() else read_set(folder)
        return folder / found.default if found else folder
    first, _, model = os.fspath(name).partition("/")
    known = shipped_sets()
    if first in known and (not model or model in known[first].models):
        return known[first].folder / (model or known[first].default)
    return folder
