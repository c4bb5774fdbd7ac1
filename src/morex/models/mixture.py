"""Mixtures of experts: the model of MoRE, and the two ungated ones with which it is compared.

    f(x) = sum_i w_i E_i(x),   w = softmax(g(x))          (MoRE, section 2, equations 2 and 3)

Nothing here knows how an expert or a gate was trained, or what attacks the mixture.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from morex.core.near import did_you_mean
from morex.core.units import with_article
from morex.models.gates import ExtendedGate
from morex.models.in_place import images_for
from morex.models.network import LAST_LAYER
from morex.models.routing import Routing, log_shares, logits_of_asked, shares

Combine = Literal["logits", "probabilities"]
"""What the gate's weights multiply."""


class Ensemble(nn.Module, ABC):
    """Experts with frozen bodies and trainable last layers.

    The experts are copied, and fine-tuning leaves the originals as they are. Their bodies get no
    weight gradients and are always in evaluation mode: their BatchNorm statistics never drift.

    Args:
        experts: networks from images in [0, 1] to logits over the same classes, by name.
        last_layers: the dotted name of every expert's last linear layer: one name for all experts,
            or one per expert. The default is an expert's own attribute ``last_layer``, or
            ``"head"`` (as in the networks of morex) if it has none.

    Raises:
        ValueError: if there is no expert, or a last layer is missing, is not linear, or has another
            number of classes than that of the first expert.
    """

    def __init__(
        self,
        experts: Mapping[str, nn.Module],
        *,
        last_layers: str | Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        if not experts:
            raise ValueError("a mixture needs at least one expert, got none")
        self.expert_names = tuple(experts)
        if last_layers is None:
            last_layers = {name: last_layer_of(expert) for name, expert in experts.items()}
        self.last_layer_names = tuple(
            last_layers if isinstance(last_layers, str) else _layer_of(last_layers, name)
            for name in experts
        )
        self.experts = nn.ModuleList(deepcopy(expert) for expert in experts.values())
        for name, layer in zip(self.expert_names, self.last_layers(), strict=True):
            if layer.out_features != self.classes:
                raise ValueError(
                    f"expert {name!r} has {layer.out_features} classes, "
                    f"but {self.expert_names[0]!r} has {self.classes}"
                )
        self.experts.requires_grad_(False)
        for layer in self.last_layers():
            layer.requires_grad_(True)
        self.train(self.training)

    @property
    def classes(self) -> int:
        """The number of classes K."""
        return self.last_layers()[0].out_features

    def last_layers(self) -> list[nn.Linear]:
        """Return every expert's last linear layer."""
        return [
            last_linear(expert, layer, name)
            for expert, layer, name in zip(
                self.experts, self.last_layer_names, self.expert_names, strict=True
            )
        ]

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but the experts, which stay in evaluation mode."""
        self.training = mode
        for child in self.children():
            if child is not self.experts:
                child.train(mode)
        for expert in self.experts:
            if expert.training:  # otherwise its modules need not be visited
                expert.eval()
        self.experts.training = False
        return self

    def expert_logits(self, x: Tensor) -> Tensor:
        """Return the logits of every expert: (N, C, H, W) -> (N, experts, K)."""
        return torch.stack([expert(images_for(expert, x)) for expert in self.experts], dim=1)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of images in [0, 1]: (N, C, H, W) -> (N, K)."""

    def to_json(self, describe: Callable[[nn.Module], dict[str, Any]]) -> dict[str, Any]:
        """Return the experts by name."""
        parts = map(describe, self.experts)
        return {"experts": dict(zip(self.expert_names, parts, strict=True))}

    @classmethod
    def from_json(
        cls, form: Mapping[str, Any], build: Callable[[Mapping[str, Any]], nn.Module]
    ) -> Self:
        """Return an ensemble of the experts."""
        return cls(_parts(form, build))


class Mixture(Ensemble):
    """MoRE: the experts' logits weighted by the softmax of a gate (section 2, equation 3).

    With ``combine="probabilities"`` it is the mixture of distributions of Jacobs et al. (1991),

        f(x) = log sum_i w_i softmax(E_i(x)),

    in which an expert cannot outweigh the others by large logits: with a weight w_i it changes no
    probability by more than w_i.

    Args:
        experts: as for ``Ensemble``.
        gate: a network from images in [0, 1] to one output per expert.
        last_layers: as for ``Ensemble``.
        combine: what the weights multiply: ``logits`` as in the paper, or ``probabilities``.
        routing: which experts each image is sent to; None for all of them (``sparse``).

    Raises:
        ValueError: as ``Ensemble``, or if ``combine`` is neither.
    """

    def __init__(
        self,
        experts: Mapping[str, nn.Module],
        gate: nn.Module,
        *,
        last_layers: str | Mapping[str, str] | None = None,
        combine: Combine = "logits",
        routing: Routing | None = None,
    ) -> None:
        super().__init__(experts, last_layers=last_layers)
        if combine not in get_args(Combine):
            raise ValueError(f"combine: expected {' or '.join(get_args(Combine))}, got {combine!r}")
        self.combine = combine
        self.routing = routing
        self.gate = gate
        self.train(gate.training)

    def gate_weights(self, x: Tensor) -> Tensor:
        """Return softmax(g(x)), one weight per expert, summing to 1: (N, C, H, W) -> (N, m).

        A sparse mixture has ``routed_weights`` besides, with which it combines its experts.

        Raises:
            ValueError: if the gate does not have one output per expert.
        """
        return torch.softmax(self.scores(x), dim=1)

    def routed_weights(self, x: Tensor) -> Tensor:
        """Return the weights with which the experts are combined: 0 for those that are not asked.

        Without routing these are the ``gate_weights``: (N, C, H, W) -> (N, m).
        """
        weights = self.gate_weights(x)
        return weights if self.routing is None else shares(weights, self.routing.asked(weights))

    def choices(self, x: Tensor) -> Tensor:
        """Return the scores of what the gate chooses among, in float32: (N, C, H, W) -> (N, n).

        The gate chooses among the experts, unless it is an ``ExtendedGate``: then these are that
        gate's ``choices``, for which only part of it is evaluated.
        """
        if isinstance(self.gate, ExtendedGate):
            return self.gate.choices(x)
        return self.scores(x)

    def choice_weights(self, x: Tensor) -> Tensor:
        """Return the softmax of ``choices``, (N, C, H, W) -> (N, n)."""
        return torch.softmax(self.choices(x), dim=1)

    def scores(self, x: Tensor) -> Tensor:
        """Return the scores of the gate, in float32: (N, m)."""
        scores: Tensor = self.gate(images_for(self.gate, x))
        if scores.shape[1:] != (len(self.expert_names),):
            raise ValueError(
                f"the gate returned {tuple(scores.shape)} for {len(x)} images; expected one output "
                f"for each of the {len(self.expert_names)} experts"
            )
        return scores.float()

    def forward(self, x: Tensor) -> Tensor:
        """Return sum_i w_i E_i(x), or log sum_i w_i softmax(E_i(x))."""
        if self.routing is None:
            return self.dense_logits(x)
        scores = self.scores(x)
        asked = self.routing.asked(torch.softmax(scores, dim=1))
        return self.combined(
            scores, logits_of_asked([*self.experts], x, asked, self.classes), asked
        )

    def dense_logits(self, x: Tensor) -> Tensor:
        """Return the logits when every expert is asked, whatever the routing is: (N, K)."""
        return self.combined(self.scores(x), self.expert_logits(x).float())

    def combined(self, scores: Tensor, answers: Tensor, asked: Tensor | None = None) -> Tensor:
        """Return the mean of answers (N, m, K), weighted as the scores of the gate (N, m) say."""
        if self.combine == "probabilities":
            logs = torch.log_softmax(scores, dim=1)
            logs = logs if asked is None else log_shares(logs, asked)
            return torch.logsumexp(logs.unsqueeze(2) + torch.log_softmax(answers, dim=2), dim=1)
        weights = torch.softmax(scores, dim=1)
        weights = weights if asked is None else shares(weights, asked)
        # not einsum, which autocast would run, and round, in bfloat16
        return (weights.unsqueeze(2) * answers).sum(1)

    def to_json(self, describe: Callable[[nn.Module], dict[str, Any]]) -> dict[str, Any]:
        """Return the experts by name, the gate, and what differs from the paper's mixture."""
        form = super().to_json(describe) | {"gate": describe(self.gate)}
        if self.combine != "logits":
            form["combine"] = self.combine
        return form if self.routing is None else form | {"routing": self.routing.to_json()}

    @classmethod
    def from_json(
        cls, form: Mapping[str, Any], build: Callable[[Mapping[str, Any]], nn.Module]
    ) -> Self:
        """Return a mixture of the experts and the gate."""
        combine = form.get("combine", "logits")
        routing = Routing.from_json(form.get("routing"))
        return cls(_parts(form, build), build(form["gate"]), combine=combine, routing=routing)


class MeanOfExperts(Ensemble):
    """The mean of the experts' logits, without a gate (the paper's code calls it AMoE)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over i of E_i(x)."""
        return self.expert_logits(x).float().mean(1)


class LargestLogit(Ensemble):
    """For each image the logits of the expert with the largest one (the paper's code: MMoE)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return E_j(x) with j = argmax_i max_k E_i(x)_k."""
        logits = self.expert_logits(x).float()
        expert = logits.amax(2).argmax(1)
        return logits[torch.arange(len(x), device=x.device), expert]


def _parts(
    form: Mapping[str, Any], build: Callable[[Mapping[str, Any]], nn.Module]
) -> dict[str, nn.Module]:
    return {name: build(part) for name, part in form["experts"].items()}


def _layer_of(last_layers: Mapping[str, str], name: str) -> str:
    if name not in last_layers:
        raise ValueError(
            f"last_layers names no layer for expert {name!r}; "
            f"{did_you_mean(name, last_layers)}it has {', '.join(last_layers) or 'none'}"
        )
    return last_layers[name]


def last_layer_of(expert: nn.Module) -> str:
    """Return the dotted name of an expert's last linear layer: its ``last_layer``, or ``head``."""
    return str(getattr(expert, "last_layer", LAST_LAYER))


def last_linear(expert: nn.Module, layer: str, name: str) -> nn.Linear:
    """Return the layer of an expert that a mixture fine-tunes.

    Raises:
        ValueError: if it has no such layer, or the layer is not linear.
    """
    try:
        module = expert.get_submodule(layer)
    except AttributeError:
        children = ", ".join(n for n, _ in expert.named_children())
        linear = [n for n, part in expert.named_modules() if isinstance(part, nn.Linear)]
        raise ValueError(
            f"expert {name!r} has no layer {layer!r} (its children are {children}); "
            f"{did_you_mean(layer, linear)}name its last linear layer with last_layers"
        ) from None
    if not isinstance(module, nn.Linear):
        kind = with_article(type(module).__name__)
        raise ValueError(f"layer {layer!r} of expert {name!r} is {kind}, expected nn.Linear")
    return module


UNGATED: dict[str, type[MeanOfExperts] | type[LargestLogit]] = {
    "mean-of-experts": MeanOfExperts,
    "largest-logit": LargestLogit,
}
"""The mixtures without a gate, by their names in files."""
