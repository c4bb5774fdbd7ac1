"""What every model that is given by its name answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class NamedModel(ABC):
    """A model that is given by its name.

    Attributes:
        name: the name.
    """

    name: str

    @property
    @abstractmethod
    def about(self) -> Mapping[str, Any]:
        """What was saved beside the model, such as its ``classes``; empty if nothing was."""

    @property
    @abstractmethod
    def recipe(self) -> Mapping[str, Any] | None:
        """How it is evaluated, as keys of a recipe; None if it has no recipe."""

    @property
    def trusts_recipe(self) -> bool:
        """Whether code that its recipe names may run."""
        return False

    @property
    @abstractmethod
    def digest(self) -> str:
        """The checksum of its weights."""

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """What decides its outputs, as JSON: a checksum of its weights, and its factory if any."""

    @property
    @abstractmethod
    def code(self) -> tuple[str, ...]:
        """The names of the code that makes it, or parts of it."""

    @abstractmethod
    def load(self, device: torch.device | str = "cpu") -> nn.Module:
        """Return the model in evaluation mode: images (N, C, H, W) in [0, 1] to logits (N, K)."""
