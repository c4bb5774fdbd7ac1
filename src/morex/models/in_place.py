"""Networks that may change their images in place, for example by ``x.sub_(mean)``.

The networks of morex do not. Any other module may, so it gets a copy wherever the same images are
used again: by the other parts of a mixture, and by an attack.
"""

from torch import Tensor, nn

from morex.models.external import Rescaled
from morex.models.network import Network


def keeps_images(network: nn.Module) -> bool:
    """Return whether a network is known to leave its images as they are."""
    return isinstance(network, Network | Rescaled)


def images_for(network: nn.Module, x: Tensor) -> Tensor:
    """Return the images ``x`` for a network: a copy, unless it is known to leave them alone."""
    return x if keeps_images(network) else x.clone()
