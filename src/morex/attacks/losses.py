"""What attacks maximise besides the cross-entropy: margins, which no scale of logits can hide."""

from dataclasses import dataclass

import torch
from torch import Tensor

from morex.attacks.base import Model


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return max_{k != y} f_k - f_y, above zero where the model is wrong: (N, K), (N,) -> (N,)."""
    others = logits.float().scatter(1, y[:, None], -torch.inf).amax(1)
    return others - logits.float().gather(1, y[:, None])[:, 0]


@dataclass(frozen=True)
class TowardsRival:
    """The targeted margin f_k - f_y, where k is the rival that ranks ``rank``-th at the start of x.

    Args:
        rank: 1 for the most likely class but the true one, and so on; the last one if there are
            fewer.
    """

    rank: int = 1

    def __call__(self, model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the margin of the rival."""
        logits = model(x)
        wide = logits.float()
        others = wide.detach().scatter(1, y[:, None], -torch.inf)
        rank = min(self.rank, wide.shape[1] - 1)
        rival = others.topk(rank, 1).indices[:, -1:]
        gain = wide.gather(1, rival) - wide.gather(1, y[:, None])
        return logits, gain[:, 0]
