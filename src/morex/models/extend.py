"""Adds experts to a trained mixture, and removes some, without training it anew.

The new mixture takes over the experts with their fine-tuned last layers, and the gate. The weight
of a removed expert goes to the others in proportion, by the softmax over fewer outputs. For experts
that join, the gate gets a network h beside it (``ExtendedGate``), which returns the log odds of
each of them against all known experts together. Nothing that h learns makes the gate forget. (MoRE,
section 1, promises "easy extension onto newly added perturbation types" and leaves open how.)

h begins with the body of the gate and a last layer of zeros. Until it has learnt, an expert that
joins has as much weight as all known experts together. The weight of a known expert that is removed
goes to the other known ones, if there are any.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from torch import nn

from morex.core.near import not_among
from morex.core.units import with_article
from morex.models.gates import ExtendedGate
from morex.models.mixture import Mixture, last_layer_of
from morex.models.network import LAST_LAYER, Network


def regrouped(
    mixture: Mixture,
    names: Sequence[str],
    new: Mapping[str, nn.Module] | None = None,
    *,
    gate_layer: str = LAST_LAYER,
    last_layers: str | Mapping[str, str] | None = None,
    gate: nn.Module | None = None,
) -> Mixture:
    """Return a mixture of the experts ``names`` that starts from ``mixture``; that stays unchanged.

    Args:
        mixture: a trained mixture.
        names: the experts of the result, in order; those that join now or joined earlier come last.
        new: the experts among ``names`` that ``mixture`` lacks, as for ``Mixture``.
        gate_layer: the dotted name of the gate's last linear layer.
        last_layers: those of the new experts, as for ``Mixture``.
        gate: the result of ``regrouped_gate`` for the same names, trained since; by default an
            untrained one.

    Raises:
        ValueError: if a name belongs to no expert or to two, no old expert is left, an expert that
            joined comes before one that was known, or a last layer is not linear or has another
            number of classes.
    """
    new = dict(new or {})
    _check(mixture, names, new)
    old = dict(zip(mixture.expert_names, mixture.experts, strict=True))
    layers = dict(zip(mixture.expert_names, mixture.last_layer_names, strict=True))
    if last_layers is None:
        last_layers = {name: last_layer_of(expert) for name, expert in new.items()}
    for name in new:
        layers[name] = last_layers if isinstance(last_layers, str) else last_layers[name]
    if gate is None:
        gate = regrouped_gate(mixture, names, gate_layer=gate_layer)
    experts = {name: old[name] if name in old else new[name] for name in names}
    device = next(gate.parameters()).device
    result = Mixture(
        experts, gate, last_layers=layers, combine=mixture.combine, routing=mixture.routing
    )
    return result.to(device).train(mixture.training)


def _check(mixture: Mixture, names: Sequence[str], new: Mapping[str, nn.Module]) -> None:
    old = mixture.expert_names
    if twice := sorted(set(old) & set(new)):
        raise ValueError(
            f"the mixture already has an expert {twice[0]!r}; give the new one another name"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"names contain an expert twice: {', '.join(names)}")
    if unknown := [name for name in names if name not in (*old, *new)]:
        raise ValueError(not_among("expert", unknown[0], (*old, *new)))
    if not set(names) & set(old):
        raise ValueError(
            f"no expert would be left of the mixture of {', '.join(old)}; keep at least one"
        )


def regrouped_gate(
    mixture: Mixture, names: Sequence[str], *, gate_layer: str = LAST_LAYER
) -> nn.Module:
    """Return only the gate of the mixture that ``regrouped`` returns, as a copy.

    It can be trained before the experts that join exist, because it chooses among experts without
    running them.

    Args:
        mixture: a trained mixture.
        names: the experts of the result, in order, as for ``regrouped``.
        gate_layer: the dotted name of the gate's last linear layer.

    Raises:
        ValueError: if an expert that joined comes before one that was known.
    """
    layer, gate, old = gate_layer, mixture.gate, mixture.expert_names
    before: tuple[str, ...] = ()  # those that joined earlier
    if isinstance(gate, ExtendedGate):
        known, joined = gate.known, gate.joined
        count = len(old) - _linear(joined, layer).out_features
        old, before = old[:count], old[count:]
    else:
        known = joined = gate
    stay = [name for name in names if name in old]
    if (*names[: len(stay)],) != (*stay,):
        raise ValueError(
            f"expected first the experts that the gate knew, {', '.join(stay)}, then those that "
            f"joined; got {', '.join(names)}"
        )
    others = names[len(stay) :]
    if not others:
        return _with_outputs(known, layer, old, stay)
    joined = _with_outputs(joined, layer, before, others)
    return ExtendedGate(_with_outputs(known, layer, old, stay), joined) if stay else joined


def _with_outputs(
    network: nn.Module, layer: str, old: Sequence[str], names: Sequence[str]
) -> nn.Module:
    """Return a copy with outputs for ``names``; an output for a new name has weights of 0."""
    network = deepcopy(network)
    before = _linear(network, layer)
    after = nn.Linear(before.in_features, len(names)).to(before.weight)
    place = {name: i for i, name in enumerate(old)}
    with torch.no_grad():
        after.weight.zero_()
        after.bias.zero_()
        for row, name in enumerate(names):
            if name in place:
                after.weight[row] = before.weight[place[name]]
                after.bias[row] = 0 if before.bias is None else before.bias[place[name]]
    network.set_submodule(layer, after)
    if isinstance(network, Network):
        network.config = replace(network.config, outputs=len(names))
    return network


def _linear(gate: nn.Module, layer: str) -> nn.Linear:
    linear = gate.get_submodule(layer)
    if not isinstance(linear, nn.Linear):
        raise ValueError(
            f"layer {layer!r} of the gate is {with_article(type(linear).__name__)}, expected "
            "nn.Linear; name its last layer with gate_layer"
        )
    return linear
