"""Gates that are made of other gates: what they choose among is not the experts themselves.

A plain gate is any network from images to one score per expert. It chooses among the experts, and
its softmax is their weights. The gates here choose among something else, from which the weights of
the experts follow:

================  ===========================================================
gate              chooses among
================  ===========================================================
``ExtendedGate``  all that was known, together, and each expert that joined
``Committees``    committees, in which every expert has a fixed share
================  ===========================================================
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ComposedGate(nn.Module, ABC):
    """A gate that chooses among something else than the experts."""

    @abstractmethod
    def choices(self, x: Tensor) -> Tensor:
        """Return the score of every choice, in float32: (N, C, H, W) -> (N, choices)."""

    def choice_weights(self, x: Tensor) -> Tensor:
        """Return the softmax of ``choices``, (N, C, H, W) -> (N, choices)."""
        return torch.softmax(self.choices(x), dim=1)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return scores whose softmax is the experts' weights: (N, C, H, W) -> (N, m)."""


class ExtendedGate(ComposedGate):
    """A gate that was trained without some of its experts, and a network for those that joined.

        s_i = log softmax(g(x))_i  for known experts,    s_j = h(x)_j  for those that joined

    Whatever h says, the known experts share what weight it leaves them as g says.

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
        return torch.cat([self.known(x).float().log_softmax(1), self.joined(x).float()], 1)

    def choices(self, x: Tensor) -> Tensor:
        """Return the log odds of what is known, 0, and of each that joined: (N, 1 + joined)."""
        scores = self.joined(x).float()
        return torch.cat([scores.new_zeros(len(scores), 1), scores], 1)


class Committees(ComposedGate):
    """A gate over committees of experts, in each of which every expert has a fixed share.

        w_i(x) = sum_c softmax(h(x))_c S_ci

    Wherever the gate is, and wherever an attacker steers it to, the weight of expert i is at most
    max_c S_ci, and that of several experts at most the largest sum of their shares.

    Args:
        network: h, from images to one score per committee.
        shares: S, for each committee the shares of all experts, not negative; in proportion.

    Raises:
        ValueError: if shares are negative, a committee is empty, an expert is in none, or rows
            differ in length.
    """

    network: nn.Module
    shares: Tensor

    def __init__(self, network: nn.Module, shares: Sequence[Sequence[float]]) -> None:
        super().__init__()
        if not shares or not shares[0] or len({len(row) for row in shares}) > 1:
            raise ValueError(f"committees need one share per expert each, got {shares}")
        table = torch.tensor(shares, dtype=torch.float64)
        if not (table >= 0).all() or not table.any(0).all() or not table.any(1).all():
            raise ValueError(
                "expected shares >= 0, an expert in every committee, and every expert in one, got "
                f"{shares}"
            )
        self.network = network
        self.parts = tuple(tuple(float(share) for share in row) for row in shares)
        table = (table / table.sum(1, keepdim=True)).float()
        self.register_buffer("shares", table, persistent=False)
        self.train(network.training)

    def choices(self, x: Tensor) -> Tensor:
        """Return the score of every committee: (N, C, H, W) -> (N, committees).

        Raises:
            ValueError: if the network has another number of outputs.
        """
        scores: Tensor = self.network(x)
        if scores.shape[1:] != self.shares.shape[:1]:
            raise ValueError(
                f"the network of a gate over {len(self.shares)} committees returned "
                f"{tuple(scores.shape)} for {len(x)} images; expected one score for each"
            )
        return scores.float()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithm of the experts' weights: (N, C, H, W) -> (N, m)."""
        logs = self.choices(x).log_softmax(1).unsqueeze(2) + self.shares.log()
        return logs.logsumexp(1)
