"""A mixture of nine experts and a gate, against ten networks one after the other."""

from collections.abc import Iterator

from benchmarks import passes
from benchmarks.measuring import Measurement, ratio
from benchmarks.networks import images, resnet18
from morex import Mixture
from morex.attacks import frozen

_BATCH = 64
_STEPS = 3
"""Gradients per attack: folding is done once for all of them."""


def measure() -> Iterator[Measurement]:
    """Compare forward pass and input gradient, in the number format of training."""
    x, y = images(_BATCH)
    for width in (16, 64):
        experts = {f"expert {i}": resnet18(width, seed=i) for i in range(9)}
        mixture = Mixture(experts, resnet18(width, seed=9, outputs=9))
        networks = [*experts.values(), mixture.gate]
        for network in networks:
            network.eval()

        def plain(networks=networks) -> None:
            for network in networks:
                for _ in range(_STEPS):
                    moved = x.clone().requires_grad_()
                    passes.weight_gradient(network, moved, y % network.config.outputs)

        def input_only(networks=networks) -> None:
            for network in networks:
                network.requires_grad_(False)
                for _ in range(_STEPS):
                    passes.input_gradient(network, x, y % network.config.outputs)
                network.requires_grad_(True)

        def ours(mixture=mixture) -> None:
            with frozen(mixture):
                for _ in range(_STEPS):
                    passes.input_gradient(mixture, x, y)

        what = f"ten networks / mixture of nine and gate, width {width}"
        value, about = ratio(plain, ours, rounds=3)
        yield Measurement(what, value, 1.3, about=about)
        value, about = ratio(input_only, ours, rounds=3)
        yield Measurement(f"{what}, input gradients only", value, about=about)
