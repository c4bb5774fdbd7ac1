"""What share of the machine's bfloat16 peak the training of a network reaches."""

from collections.abc import Iterator
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import passes
from benchmarks.measuring import Measurement, seconds
from benchmarks.networks import images, resnet18

_BATCH = 128


def measure() -> Iterator[Measurement]:
    """Compare the operations per second of training passes with those of a matrix product."""
    for width in (64, 32, 16):
        model = resnet18(width).train()
        x, y = images(_BATCH)
        with FlopCounterMode(display=False) as counter:
            passes.weight_gradient(model, x, y, "bf16")
        work = partial(passes.weight_gradient, model, x, y, "bf16")
        pairs = [(_matrix_product(), counter.get_total_flops() / seconds(work)) for _ in range(6)]
        best_product, best_network = (max(rates) for rates in zip(*pairs[1:], strict=True))
        about = {"product_gflops": best_product / 1e9, "network_gflops": best_network / 1e9}
        yield Measurement(
            f"ResNet-18 width {width}, forward and backward / bf16 matrix product",
            best_network / best_product,
            about={name: round(rate) for name, rate in about.items()} | {"batch": _BATCH},
        )


def _matrix_product(size: int = 2048) -> float:
    """Return the operations per second of the product of two square matrices."""
    a, b = torch.randn(2, size, size, dtype=torch.bfloat16)
    return 2 * size**3 / seconds(lambda: a @ b)
