"""How fast a GPU is that this machine does not have, from measurements that were made on one.

The figures are those of a ResNet-18 of width 64 in bfloat16 on images of 32x32 pixels, one network
at a time. Other networks are taken to reach as many operations per second, which holds for larger
images and does not for much narrower networks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from morex.core.precision import Precision
from morex.run.builder import Builder
from morex.run.calibration import Speed, Way, held_bytes
from morex.training.batches import channels_last

WIDTH = 64
"""The width of the networks that were measured."""


@dataclass(frozen=True)
class Gpu:
    """What was measured on a GPU.

    Args:
        name: the GPU.
        rates: for each way to execute passes, the TFLOP/s of attacks at some batch sizes.
        update: the TFLOP/s of an update over that of an attack.
        single: the TFLOP/s of float32. It was not measured: a share of what the maker states.
    """

    name: str
    rates: Mapping[Way, Mapping[int, float]]
    update: float
    single: float

    def rate(self, way: Way, batch: int) -> float:
        """Return the operations per second at a batch size, with lines between measurements."""
        points = sorted(self.rates[way].items())
        if batch <= points[0][0]:
            return points[0][1] * 1e12 * batch / points[0][0]
        for (low, slow), (high, fast) in pairwise(points):
            if batch <= high:
                return (slow + (fast - slow) * (batch - low) / (high - low)) * 1e12
        return points[-1][1] * 1e12


H200 = Gpu(
    "H200",
    {
        "called": {100: 46, 256: 98, 512: 214, 1024: 232},
        "captured": {128: 115, 256: 133, 512: 143},
        "compiled": {128: 220, 256: 293, 512: 321},
    },
    update=0.77,  # 68,000 images/s of 3.3 GFLOP at batch 256
    single=40.0,
)
GPUS = {"h200": H200}


def forecast(
    gpu: Gpu, builder: Builder, network: nn.Module, batch: int, precision: Precision, way: Way
) -> Speed:
    """Return how fast a network would be on a GPU.

    Raises:
        ValueError: if its width is not the one that was measured.
    """
    width = builder.recipe.network.width
    if width != WIDTH:
        raise ValueError(
            f"the forecast for an {gpu.name} is made from networks of width {WIDTH}, but the "
            f"recipe has width {width}; narrower networks reach a smaller part of a GPU"
        )
    work = _operations(builder, network)
    rate = gpu.rate(way, batch) if precision == "bf16" else 1e12 * gpu.single
    attack, update = held_bytes(builder, network, precision)
    return Speed(work / rate, work / rate, 3 * work / (gpu.update * rate), attack, update)


def _operations(builder: Builder, network: nn.Module) -> float:
    """Return the floating-point operations of a forward pass of one image."""
    x = channels_last(builder.training_data.train.pixels(slice(0, 1)))
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x)
    return float(counter.get_total_flops())
