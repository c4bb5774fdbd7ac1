"""The names that networks of the literature give to their tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from morex.models.architectures import RESNETS, pre_activation
from morex.models.errors import ModelError


@dataclass(frozen=True)
class Dialect:
    """The names that a definition of a network gives to its parts.

    Attributes:
        block: the name of block ``i`` of stage ``s``, from 0, as a format.
        parts: the parts of a block: their name and ours.
        ends: the parts before and after the blocks: their name and ours.
    """

    block: str
    parts: Mapping[str, str]
    ends: Mapping[str, str]
    first_stage: int = 0

    def prefixes(self, depths: tuple[int, ...]) -> dict[str, str]:
        """Return the name of every part of a network of that many blocks, and ours."""
        found = dict(self.ends)
        starts = [0, *accumulate(depths)]
        for s, depth in enumerate(depths):
            for i in range(depth):
                block = self.block.format(s=s + self.first_stage, i=i)
                ours = f"body.{starts[s] + i}"
                found |= {f"{block}.{a}": f"{ours}.{b}" for a, b in self.parts.items()}
        return found


_KUANGLIU = Dialect(
    "layer{s}.{i}",
    {
        **{f"conv{n}": f"{part}.conv" for n, part in enumerate(("first", "second", "third"), 1)},
        **{f"bn{n}": f"{part}.norm" for n, part in enumerate(("first", "second", "third"), 1)},
        "shortcut.0": "shortcut.conv",
        "shortcut.1": "shortcut.norm",
    },
    {"conv1": "stem.conv", "bn1": "stem.norm", "linear": "head"},
    first_stage=1,
)
_BN_FIRST = {"bn1": "norm", "conv1": "first.conv", "bn2": "first.norm", "conv2": "second"}
_KUANGLIU_PREACT = Dialect(
    "layer{s}.{i}",
    {**_BN_FIRST, "shortcut.0": "shortcut"},
    {"conv1": "stem", "bn": "norm", "linear": "head"},
    first_stage=1,
)
_TRADES = Dialect(
    "block{s}.layer.{i}",
    {**_BN_FIRST, "convShortcut": "shortcut"},
    {"conv1": "stem", "bn1": "norm", "fc": "head"},
    first_stage=1,
)
_DEEPMIND_WIDE = Dialect(
    "layer.{s}.block.{i}",
    {
        "batchnorm_0": "norm",
        "conv_0": "first.conv",
        "batchnorm_1": "first.norm",
        "conv_1": "second",
        "shortcut": "shortcut",
    },
    {"init_conv": "stem", "batchnorm": "norm", "logits": "head"},
)
_DEEPMIND_PREACT = Dialect(
    "layer_{s}.{i}",
    {
        "batchnorm_0": "norm",
        "conv_2d_1": "first.conv",
        "batchnorm_1": "first.norm",
        "conv_2d_2": "second",
        "shortcut": "shortcut",
    },
    {"conv_2d": "stem", "batchnorm": "norm", "logits": "head"},
)


def dialect_of(architecture: str) -> tuple[Dialect, tuple[int, ...]]:
    """Return the names that the literature uses for an architecture, and its numbers of blocks.

    Raises:
        ModelError: if it is a network of timm.
    """
    if architecture in RESNETS:
        return _KUANGLIU, RESNETS[architecture].depths
    shape = pre_activation(architecture)
    if shape is None:
        raise ModelError(f"{architecture}: morex knows no published names of its weights")
    if shape.pads_end:
        return (_DEEPMIND_WIDE if shape.factor else _DEEPMIND_PREACT), shape.depths
    return (_TRADES if shape.factor else _KUANGLIU_PREACT), shape.depths
