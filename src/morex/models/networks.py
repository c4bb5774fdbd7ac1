"""Makes the network of a configuration, of whatever class."""

from collections.abc import Mapping

from morex.models.architectures import RESNETS, TIMM
from morex.models.network import Network, NetworkConfig
from morex.models.preact import PreActResNet
from morex.models.resnet import ResNet
from morex.models.timm_network import TimmNetwork

NETWORKS: Mapping[str, type[Network]] = {
    "resnet": ResNet,
    "preact-resnet": PreActResNet,
    "timm": TimmNetwork,
}
"""The classes of networks, by the names that files give them."""


def make_network(config: NetworkConfig, *, seed: int = 0) -> Network:
    """Return the network of a configuration, in training mode.

    Args:
        config: its shape; ``config.architecture`` decides the class.
        seed: of its weights, which depend on nothing else.

    Raises:
        TimmError: if it is a network of timm that cannot be made.
    """
    name = config.architecture
    if name.startswith(TIMM):
        return TimmNetwork(config, seed=seed)
    return (ResNet if name in RESNETS else PreActResNet)(config, seed=seed)
