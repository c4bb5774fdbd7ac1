"""What all networks have in common: a configuration, and normalisation inside.

Attacks and perturbations always see pixels in [0, 1].
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morex.core.near import not_among
from morex.core.number_checks import check_numbers
from morex.models.architectures import Activation, check_architecture, width_of

LAST_LAYER = "head"
"""The name of the last linear layer of a network."""

ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    # in place wherever the old values are not needed: small networks wait for memory
    "relu": partial(F.relu, inplace=True),
    "silu": F.silu,
    "softplus": F.softplus,
}
"""max(z, 0), z / (1 + exp(-z)) and log(1 + exp(z)). The gradients of the last two are smooth."""


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides the shape of a network.

    Args:
        architecture: its name, as in ``architectures``.
        width: the channels of the first stage; by default as many as usual, 64 in the paper. The
            name of a WideResNet says it, and networks of timm have none.
        outputs: the number of logits (classes, or experts for a gate).
        image_size: (height, width) of the images that it is meant for.
        mean: the mean of the training pixels in [0, 1] per channel, subtracted first.
        std: their standard deviation per channel, by which the difference is divided.
        activation: the nonlinearity, a key of ``ACTIVATIONS``; networks of timm have their own.

    Raises:
        ValueError: if a name is unknown, or a number is no number or out of range.
    """

    architecture: str = "resnet18"
    width: int | None = None
    outputs: int = 10
    image_size: tuple[int, int] = (32, 32)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        """Check names and ranges, and choose the width."""
        check_numbers(self)
        check_architecture(self.architecture)
        object.__setattr__(self, "width", width_of(self.architecture, self.width))
        if self.activation not in get_args(Activation):
            raise ValueError(not_among("activation", self.activation, get_args(Activation)))
        if self.outputs < 1 or min(self.image_size) < 1:
            raise ValueError(f"outputs and image_size must be at least 1, got {self}")
        if len(self.mean) != len(self.std) or not self.std or min(self.std) <= 0:
            raise ValueError(f"mean and std need one entry per channel and std > 0, got {self}")

    @property
    def channels(self) -> int:
        """The channels of the first stage."""
        assert self.width is not None, "networks of timm have no width"
        return self.width

    @property
    def stem_stride(self) -> int:
        """1 for images below 64 pixels, otherwise 2."""
        return 2 if min(self.image_size) >= 64 else 1

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; the usual activation is left out, as in older files."""
        form = asdict(self)
        return form if self.activation != "relu" else _without(form, "activation")


class Network(nn.Module, ABC):
    """A network that morex makes: images (N, C, H, W) in [0, 1] to logits (N, outputs).

    Attributes:
        config: its shape.
        last_layer: the dotted name of its last linear layer.
    """

    mean: Tensor
    std: Tensor

    compiles: ClassVar[bool] = True
    """Whether ``compiled`` compiles it."""

    last_layer: str = LAST_LAYER

    def __init__(self, config: NetworkConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(config.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(-1, 1, 1))
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed, which would also reseed every accelerator's global generator
            torch.default_generator.manual_seed(seed)
            self._make(config)

    @abstractmethod
    def _make(self, config: NetworkConfig) -> None:
        """Make the parts, with weights drawn from the global generator."""

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of images in [0, 1]."""
        return self.logits((x - self.mean) / self.std)

    def with_outputs(self, outputs: int) -> Self:
        """Return a copy with a new last layer of zeros: a gate that begins undecided."""
        copy, ours = self.sibling(outputs, seed=0), (f"{self.last_layer}.", "mean", "std")
        body = {n: t for n, t in self.state_dict().items() if not n.startswith(ours)}
        copy.load_state_dict(body, strict=False)
        last = copy.get_submodule(self.last_layer)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        return copy

    def sibling(self, outputs: int, *, seed: int) -> Self:
        """Return a new network of the same shape with another number of outputs (a gate)."""
        return type(self)(replace(self.config, outputs=outputs), seed=seed)

    def to_json(self, describe: Callable[[nn.Module], dict[str, Any]]) -> dict[str, Any]:
        """Return its configuration."""
        return self.config.to_json()

    @classmethod
    def from_json(
        cls, form: Mapping[str, Any], build: Callable[[Mapping[str, Any]], nn.Module]
    ) -> Self:
        """Return a network of a configuration."""
        return cls(NetworkConfig(**form))


def draw_convolutions(network: nn.Module) -> None:
    """Draw the convolutions as He et al. (2015) propose for layers before a ReLU."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _without(form: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in form.items() if key != name}
