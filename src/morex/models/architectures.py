"""The architectures of networks by name: what a recipe or a saved model may name.

=======================  ==========================================================================
``resnet18`` and others  residual networks; BatchNorm and activation after each convolution
``preactresnet18``       BatchNorm and activation before each convolution, and at the end once more,
                         as Rice et al. (2020) and most papers on adversarial training have it
``wrn-28-10``            a WideResNet of any depth 6n + 4 and factor, as TRADES has it
``timm/NAME``            a network of timm (``timm_network``)
=======================  ==========================================================================

Published weights of some of them come from networks that differ in what they compute with weights
of the same shapes. The suffixes of ``preactresnet18`` and ``wrn-D-K`` name these.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

from morex.core.near import did_you_mean

TIMM = "timm/"
"""The prefix of networks of timm."""

Activation = Literal["relu", "silu", "softplus"]


@dataclass(frozen=True)
class PostActivation:
    """A residual network whose BatchNorm and activation follow a convolution (He et al. 2016a).

    Attributes:
        block: the type of its blocks.
        depths: the number of blocks in each stage.
    """

    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]


@dataclass(frozen=True)
class PreActivation:
    """A residual network whose BatchNorm and activation precede a convolution (He et al. 2016b).

    Attributes:
        depths: the number of blocks in each stage.
        factor: the first stage has 16 times as many channels, and the stem 16; None if the width
            decides, and the stem is as wide as the first stage.
        last_norm: whether BatchNorm and activation follow the last block.
        shortcut: what a convolution on a shortcut takes: the activated input of its block, or the
            raw one.
        shortcut_kernel: the side of its kernel.
        pads_end: whether a 3x3 convolution with stride 2 pads only the right and the lower edge, as
            TensorFlow and JAX do, and not all four.
        relu_at_end: whether the last activation is ReLU, whatever that of the blocks is.
    """

    depths: tuple[int, ...]
    factor: int | None = None
    last_norm: bool = True
    shortcut: Literal["activated", "raw"] = "activated"
    shortcut_kernel: int = 1
    pads_end: bool = False
    relu_at_end: bool = False


RESNETS = {
    "resnet10": PostActivation("basic", (1, 1, 1, 1)),
    "resnet18": PostActivation("basic", (2, 2, 2, 2)),
    "resnet34": PostActivation("basic", (3, 4, 6, 3)),
    "resnet50": PostActivation("bottleneck", (3, 4, 6, 3)),
}

_PREACT_18 = PreActivation((2, 2, 2, 2))

PREACT_RESNETS = {
    "preactresnet18": _PREACT_18,
    # kuangliu/pytorch-cifar
    "preactresnet18-kuangliu": replace(_PREACT_18, last_norm=False),
    # Wong et al. (2020), Fast is better than free
    "preactresnet18-wong": replace(_PREACT_18, last_norm=False, shortcut="raw"),
    # Croce & Hein (2022), E-AT, and Jiang & Singh (2024), RAMP: softplus, but for the end
    "preactresnet18-croce": replace(_PREACT_18, relu_at_end=True),
    # DeepMind's adversarial_robustness, and what continues it
    "preactresnet18-deepmind": replace(
        _PREACT_18, shortcut="raw", shortcut_kernel=3, pads_end=True
    ),
}

_WIDE = re.compile(r"wrn-([1-9]\d{0,2})-([1-9]\d{0,2})(-deepmind)?")


def wide_resnet(name: str) -> PreActivation | None:
    """Return the WideResNet of that name; None if it is the name of none.

    Raises:
        ValueError: if a WideResNet cannot have that depth.
    """
    match = _WIDE.fullmatch(name)
    if not match:
        return None
    depth, factor = int(match[1]), int(match[2])
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(
            f"architecture {name!r}: a WideResNet has a depth of 6n + 4, such as 10, 16, 22, 28, "
            f"34 or 70; got {depth}"
        )
    return PreActivation(((depth - 4) // 6,) * 3, factor, pads_end=bool(match[3]))


def pre_activation(name: str) -> PreActivation | None:
    """Return the pre-activation network of that name; None if it is the name of none.

    Raises:
        ValueError: as ``wide_resnet``.
    """
    return PREACT_RESNETS.get(name) or wide_resnet(name)


def check_architecture(name: str) -> None:
    """Raise ``ValueError`` unless there is an architecture of that name; timm is not asked."""
    if name.startswith(TIMM) or name in RESNETS or pre_activation(name):
        return
    known = (*RESNETS, *PREACT_RESNETS)
    near = did_you_mean(name, (*known, "wrn-28-10", "wrn-34-10", "wrn-70-16"))
    raise ValueError(
        f"no architecture {name!r}; {near}there are {', '.join(known)}, wrn-DEPTH-FACTOR (such as "
        "wrn-28-10) and timm/NAME"
    )


def width_of(name: str, width: int | None) -> int | None:
    """Return the channels of the first stage of a network: ``width``, or the usual ones.

    Args:
        name: the name of an architecture.
        width: the channels that were asked for; None for the usual ones.

    Returns:
        None for networks of timm, in which no width can be chosen.

    Raises:
        ValueError: if another width was asked for than the name says, or it is not positive.
    """
    wide = wide_resnet(name)
    said = 16 * wide.factor if wide and wide.factor else None
    if name.startswith(TIMM) and width is not None:
        raise ValueError(f"width: {name} has no width to choose, got {width}; remove it")
    if said and width not in (None, said):
        raise ValueError(
            f"width: the first stage of {name} has {said} channels, as its name says, got {width}; "
            "remove width, or choose another factor"
        )
    if width is not None and width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    return width or said or (None if name.startswith(TIMM) else 64)
