"""Which experts of a mixture an image is sent to: the sparse mixtures.

A sparse mixture asks, for each image, only the experts that carry weight, and gives them the weight
of the others in proportion:

    f(x) = sum_{i in S(x)} w_i E_i(x) / sum_{i in S(x)} w_i,   w = softmax(g(x))

S(x) holds the experts with a weight of at least a threshold, and always the one with the largest;
or the k experts with the largest weights (Shazeer et al. 2017). f is no longer continuous where
S(x) changes, and gradients do not see the experts outside of S(x). So attacks also search through
the dense mixture, in which every expert is asked (``Mixture.dense_logits``).
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from morex.core.number_checks import check_numbers
from morex.core.units import with_article
from morex.models.errors import ModelError
from morex.models.in_place import images_for

if TYPE_CHECKING:
    from morex.models.mixture import Mixture


@dataclass(frozen=True)
class Routing:
    """Decides by the gate's weights which experts an image is sent to. Set one of the two.

    Args:
        threshold: ask the experts with at least this weight, in [0, 1), and always the one with
            the largest weight. With 0 all experts are asked: the dense mixture, bit for bit.
        top: ask this many experts, those with the largest weights.

    Raises:
        ValueError: unless exactly one of the two is set, and is in its range.
    """

    threshold: float | None = None
    top: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_numbers(self)
        if (self.threshold is None) == (self.top is None):
            given = f"threshold {self.threshold} and top {self.top}"
            raise ValueError(f"expected either a threshold or top, got {given}")
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise ValueError(f"threshold must be in [0, 1), got {self.threshold}")
        if self.top is not None and self.top < 1:
            raise ValueError(f"top must be at least 1, got {self.top}")

    def __str__(self) -> str:
        """Return for example ``threshold 0.05`` or ``top 2``."""
        return f"top {self.top}" if self.top is not None else f"threshold {self.threshold:g}"

    def asked(self, weights: Tensor) -> Tensor:
        """Return which experts are asked, given the gate's weights: (N, m) -> (N, m) of bool.

        Of experts with the same weight the first ones are asked.
        """
        count = weights.shape[1]
        places = torch.arange(count, device=weights.device)
        asked = torch.zeros_like(weights, dtype=torch.bool)
        for _ in range(min(self.top or 1, count)):
            best = weights.masked_fill(asked, -1).argmax(1, keepdim=True)  # the first of equal ones
            asked = asked | (places == best)
        return asked if self.threshold is None else asked | (weights >= self.threshold)

    def to_json(self) -> dict[str, Any]:
        """Return the one number that is set, by its name."""
        return {"top": self.top} if self.top is not None else {"threshold": self.threshold}

    @classmethod
    def from_json(cls, form: Mapping[str, Any] | None) -> "Routing | None":
        """Return the routing of a form; None if there is none."""
        return None if form is None else cls(**form)


def sparse(
    mixture: "Mixture", *, threshold: float | None = None, top: int | None = None
) -> "Mixture":
    """Return a mixture that asks, for each image, only the experts that carry weight.

    It shares its networks with ``mixture``, which stays as it is.

    Args:
        mixture: a mixture with a gate.
        threshold: the least weight of an expert that is asked, as for ``Routing``.
        top: the number of experts that are asked, as for ``Routing``.

    Raises:
        ModelError: if the model has no gate.
        ValueError: as for ``Routing``, or if ``top`` is more than the number of experts.
    """
    return routed(mixture, Routing(threshold, top))


def routed(model: nn.Module, routing: Routing) -> "Mixture":
    """Return a mixture that sends images as ``routing`` says; as for ``sparse``."""
    from morex.models.mixture import Mixture

    if not isinstance(model, Mixture):
        raise ModelError(
            f"expected a mixture with a gate, which chooses its experts, got "
            f"{with_article(type(model).__name__)}"
        )
    count = len(model.expert_names)
    if routing.top is not None and routing.top > count:
        raise ValueError(f"top must be at most {count}, the number of experts, got {routing.top}")
    found: Any = copy(model)
    # its own dictionaries: modules and hooks of the one must not appear in the other
    for name in ("_modules", "_forward_pre_hooks", "_forward_hooks"):
        setattr(found, name, copy(getattr(model, name)))
    found.routing = routing
    return found  # type: ignore[no-any-return]


def shares(weights: Tensor, asked: Tensor) -> Tensor:
    """Return the weights of the experts that are asked, which sum to 1, and 0 for the others.

    Where all are asked, weights keep their bits.
    """
    kept = weights.masked_fill(~asked, 0)
    return torch.where(asked.all(1, keepdim=True), weights, kept / kept.sum(1, keepdim=True))


def log_shares(logs: Tensor, asked: Tensor) -> Tensor:
    """Return the logarithm of ``shares``, given that of the weights."""
    kept = logs.masked_fill(~asked, -torch.inf)
    return torch.where(asked.all(1, keepdim=True), logs, kept.log_softmax(1))


def logits_of_asked(
    experts: Sequence[Callable[[Tensor], Tensor]], x: Tensor, asked: Tensor, classes: int
) -> Tensor:
    """Return the logits of the experts that are asked, and 0 for the others: (N, m, K) in float32.

    Each expert gets all its images at once; one without images is not called.
    """
    found = []
    for i, expert in enumerate(experts):
        rows = asked[:, i].nonzero().flatten()
        logits = torch.zeros(len(x), classes, device=x.device)
        if len(rows) == len(x):
            logits = _answers(expert, x)
        elif len(rows):
            logits = logits.index_copy(0, rows, _answers(expert, x[rows]))
        found.append(logits)
    return torch.stack(found, dim=1)


def _answers(expert: Any, x: Tensor) -> Tensor:
    logits: Tensor = expert(images_for(expert, x))
    return logits.float()
