"""Networks of timm, by ``architecture: timm/NAME``; timm is an extra of morex.

Their weights are drawn, not downloaded. Normalisation is that of the configuration, inside.
"""

from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from morex.core.near import hint
from morex.models.architectures import TIMM
from morex.models.network import Network, NetworkConfig


class TimmError(ValueError):
    """A network of timm cannot be made."""


class TimmNetwork(Network):
    """A network of timm: images (N, C, H, W) in [0, 1] to logits (N, outputs).

    Raises:
        TimmError: if timm is not installed, has no such network, or cannot make it for images of
            this size.
    """

    compiles: ClassVar[bool] = False
    """Nothing is known about how long that would take, and what it would gain."""

    def _make(self, config: NetworkConfig) -> None:
        check_timm(config.architecture, config.activation)
        self.body = _made(config)
        self.last_layer = f"body.{_classifier(self.body, config.architecture)}"

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of normalised images."""
        logits: Tensor = self.body(x)
        return logits


def check_timm(architecture: str, activation: str = "relu") -> None:
    """Raise ``TimmError`` unless timm is installed and has the network ``timm/NAME``.

    Its activation cannot be chosen: ``activation`` must be the default.
    """
    timm, name = _timm(architecture), architecture.removeprefix(TIMM)
    if not timm.is_model(name):  # this also refuses addresses of downloads, such as hf-hub:NAME
        near = hint(name, timm.list_models())
        raise TimmError(
            f"timm {timm.__version__} has no network {name!r}{near or '; see timm.list_models()'}"
        )
    if activation != "relu":
        raise TimmError(
            f"{architecture} has an activation of its own, got {activation}; remove activation"
        )


def _timm(architecture: str) -> Any:
    try:
        return import_module("timm")
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "timm"
        why = "which is not installed" if missing else f"which cannot be imported ({error})"
        raise TimmError(
            f"{architecture} needs the package timm, {why}; pip install 'morex[timm]', with a "
            "torchvision that fits your torch"
        ) from error


def _made(config: NetworkConfig) -> nn.Module:
    """Return the bare network, which takes normalised images."""
    name = config.architecture.removeprefix(TIMM)
    models = import_module("timm.models")
    published = models.get_pretrained_cfg(name)
    fixed = published is not None and published.fixed_input_size
    size = {"img_size": config.image_size} if fixed else {}
    channels = len(config.mean)
    try:
        network: nn.Module = models.create_model(
            name, pretrained=False, num_classes=config.outputs, in_chans=channels, **size
        )
        network.eval()
        with torch.no_grad():
            network(torch.zeros(2, channels, *config.image_size))
    except Exception as error:  # each network of timm fails in a way of its own
        height, width = config.image_size
        raise TimmError(
            f"{config.architecture} does not work with {channels} channels of {height}x{width} "
            f"pixels ({type(error).__name__}: {error}); choose another network, or larger images "
            "with data.image_size"
        ) from error
    return network.train()


def _classifier(network: Any, architecture: str) -> str:
    """Return the dotted name of the last linear layer of a bare network."""
    name = (getattr(network, "default_cfg", None) or {}).get("classifier")
    if isinstance(name, str) and isinstance(network.get_submodule(name), nn.Linear):
        return name
    raise TimmError(
        f"the last layer of {architecture} is {name!r}, not one linear layer; choose another "
        "network"
    )
