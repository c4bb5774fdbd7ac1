"""Adding experts to a trained mixture, and taking some away, without starting anew.

What the new mixture shares with the old it takes over as it is: the experts with their fine-tuned
last layers, and the gate. Taking an expert away hands its weight to the others in proportion, as
the softmax over fewer outputs does. For experts that join, the gate gets a network h beside it
(``ExtendedGate``), which says what the odds of each are against all that the gate knew. Nothing
that h learns makes the gate forget (MoRE, section 1: "easy extension onto newly added perturbation
types"; how is left open there). It begins with the body of the gate and a last layer of zeros,
undecided: an expert that joins has as much weight as all that the gate knew, until h has learnt.
Taking a known expert away hands its weight to the other known ones, if any.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from torch import nn

from morex.models.gates import ExtendedGate
from morex.models.mixture import Mixture, last_layer_of
from morex.models.resnet import LAST_LAYER, ResNet


def regrouped(
    mixture: Mixture,
    names: Sequence[str],
    new: Mapping[str, nn.Module] | None = None,
    *,
    gate_layer: str = LAST_LAYER,
    last_layers: str | Mapping[str, str] | None = None,
    gate: nn.Module | None = None,
) -> Mixture:
    """Return a mixture of the experts ``names`` that starts from ``mixture``, which stays as it is.

    Args:
        mixture: a trained mixture.
        names: the experts of the result, in its order; those that join or have joined come last.
        new: experts among ``names`` that ``mixture`` does not have, as for ``Mixture``.
        gate_layer: the dotted name of the gate's last linear layer.
        last_layers: as for ``Mixture``, of the new experts.
        gate: what ``regrouped_gate`` made for the same names, and has learnt since; by default what
            it makes now.

    Raises:
        ValueError: if a name belongs to no expert or to two, nothing of the old mixture is left, an
            expert that joined is named before one that was known, or a last layer is not linear or
            of another number of classes.
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
    result = Mixture(experts, gate, last_layers=layers, combine=mixture.combine)
    return result.to(device).train(mixture.training)


def _check(mixture: Mixture, names: Sequence[str], new: Mapping[str, nn.Module]) -> None:
    old = mixture.expert_names
    if twice := sorted(set(old) & set(new)):
        raise ValueError(f"the mixture has an expert {twice[0]!r} already; give another name")
    if len(set(names)) < len(names):
        raise ValueError(f"names something twice: {', '.join(names)}")
    if unknown := [name for name in names if name not in (*old, *new)]:
        known = ", ".join((*old, *new))
        raise ValueError(f"no expert {unknown[0]!r}; there are {known}")
    if not set(names) & set(old):
        raise ValueError(f"nothing would be left of the mixture of {', '.join(old)}")


def regrouped_gate(
    mixture: Mixture, names: Sequence[str], *, gate_layer: str = LAST_LAYER
) -> nn.Module:
    """Return the gate alone that ``regrouped`` gives the result, a copy.

    What it is to learn of experts that join it can learn before they are there: it names them, and
    does not ask them.

    Args:
        mixture: a trained mixture.
        names: the experts of the result, in its order, as for ``regrouped``.
        gate_layer: the dotted name of the gate's last linear layer.

    Raises:
        ValueError: if an expert that joined is named before one that was known.
    """
    layer, gate, old = gate_layer, mixture.gate, mixture.expert_names
    before: tuple[str, ...] = ()  # those that joined already
    if isinstance(gate, ExtendedGate):
        known, joined = gate.known, gate.joined
        count = len(old) - _linear(joined, layer).out_features
        old, before = old[:count], old[count:]
    else:
        known = joined = gate
    stay = [name for name in names if name in old]
    if (*names[: len(stay)],) != (*stay,):
        raise ValueError(
            f"expected the experts that the gate knew first, {', '.join(stay)}, then those that "
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
    """Return a copy with outputs for ``names``: as they are, or 0 where there is none."""
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
    if isinstance(network, ResNet):
        network.config = replace(network.config, outputs=len(names))
    return network


def _linear(gate: nn.Module, layer: str) -> nn.Linear:
    linear = gate.get_submodule(layer)
    if not isinstance(linear, nn.Linear):
        raise ValueError(
            f"layer {layer!r} of the gate is a {type(linear).__name__}, expected nn.Linear; name "
            "its last layer with gate_layer"
        )
    return linear
