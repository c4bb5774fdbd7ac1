"""The gate of a mixture that experts have joined.

A plain gate is any network from images to one score per expert. It chooses among the experts, and
the softmax of its scores is their weights. An ``ExtendedGate`` chooses among all known experts
together and each expert that joined; the weights of the experts follow from that.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from morex.models.in_place import images_for


class ExtendedGate(nn.Module):
    """A gate that was trained without some of the experts, and a network for those that joined.

        s_i = log softmax(g(x))_i  for known experts,    s_j = h(x)_j  for those that joined

    Whatever h returns, g decides how the known experts share the weight that h leaves them.

    Args:
        known: g, a gate with an output for each of the first experts.
        joined: h, a network from the same images to an output for each of the others: the
            logarithm of its odds against all known ones together.
    """

    def __init__(self, known: nn.Module, joined: nn.Module) -> None:
        super().__init__()
        self.known = known
        self.joined = joined
        self.train(known.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of all experts: (N, C, H, W) -> (N, known + joined)."""
        known = self.known(images_for(self.known, x))
        return torch.cat([known.float().log_softmax(1), self.joined(x).float()], 1)

    def choices(self, x: Tensor) -> Tensor:
        """Return 0 for the known experts together, then h(x): (N, C, H, W) -> (N, 1 + joined)."""
        scores = self.joined(x).float()
        return torch.cat([scores.new_zeros(len(scores), 1), scores], 1)

    def choice_weights(self, x: Tensor) -> Tensor:
        """Return the softmax of ``choices``: (N, C, H, W) -> (N, 1 + joined)."""
        return torch.softmax(self.choices(x), dim=1)

    def to_json(self, describe: Callable[[nn.Module], dict[str, Any]]) -> dict[str, Any]:
        """Return the forms of its two networks."""
        return {"known": describe(self.known), "joined": describe(self.joined)}

    @classmethod
    def from_json(
        cls, form: Mapping[str, Any], build: Callable[[Mapping[str, Any]], nn.Module]
    ) -> "ExtendedGate":
        """Return a gate of two networks."""
        return cls(build(form["known"]), build(form["joined"]))
