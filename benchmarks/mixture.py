"""A mixture of nine experts and a gate, against ten networks one after another."""

from collections.abc import Callable, Iterator

from torch import Tensor

from benchmarks import passes
from benchmarks.measuring import Measurement, ratio
from benchmarks.networks import images, resnet18
from morex import Mixture, ResNet
from morex.attacks import frozen

_BATCH = 64
_STEPS = 3
"""How many gradients an attack takes; convolutions are folded once for all of them."""


def measure() -> Iterator[Measurement]:
    """Compare a forward pass and an input gradient, in the number format of training."""
    x, y = images(_BATCH)
    for width in (16, 64):
        experts = {f"expert {i}": resnet18(width, seed=i).eval() for i in range(9)}
        gate = resnet18(width, seed=9, outputs=9).eval()
        networks, mixture = [*experts.values(), gate], Mixture(experts, gate)

        def ours(mixture: Mixture = mixture) -> None:
            with frozen(mixture):
                for _ in range(_STEPS):
                    passes.input_gradient(mixture, x, y)

        what = f"ten networks / mixture of nine and gate, width {width}"
        value, about = ratio(_one_after_the_other(networks, x, y, weights=True), ours, rounds=3)
        yield Measurement(what, value, 1.3, about=about)
        value, about = ratio(_one_after_the_other(networks, x, y, weights=False), ours, rounds=3)
        yield Measurement(f"{what}, without weight gradients", value, about=about)


def _one_after_the_other(
    networks: list[ResNet], x: Tensor, y: Tensor, *, weights: bool
) -> Callable[[], None]:
    """Return the usual way: ``loss.backward()``, with or without gradients for the weights."""

    def run() -> None:
        for network in networks:
            network.requires_grad_(weights)
            labels = y % network.config.outputs
            for _ in range(_STEPS):
                if weights:
                    passes.weight_gradient(network, x.clone().requires_grad_(), labels)
                else:
                    passes.input_gradient(network, x, labels)

    return run
