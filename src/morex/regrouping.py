"""Adding experts to a trained mixture, and taking some away, without starting anew.

What the new mixture shares with the old it takes over as it is: the experts with their fine-tuned
last layers, the body of the gate, and the gate's outputs for those experts. Taking an expert away
hands its weight to the others in proportion, as the softmax over fewer outputs does. The output
that a new expert gets is the mean of the old ones,

    s_new = (s_1 + ... + s_m) / m,   so that   w_new / (w_1 + ... + w_m) <= 1 / m,

and next to nothing on images for which the gate is sure of an expert: the new mixture begins where
the old one was, and a short training does the rest (MoRE, section 1: "easy extension onto newly
added perturbation types"; how is left open there).
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from morex.mixture import Mixture, last_layer_of
from morex.networks import LAST_LAYER, ResNet


def regrouped(
    mixture: Mixture,
    names: Sequence[str],
    new: Mapping[str, nn.Module] | None = None,
    *,
    gate_layer: str = LAST_LAYER,
    last_layers: str | Mapping[str, str] | None = None,
) -> Mixture:
    """Return a mixture of the experts ``names`` that starts from ``mixture``, which stays as it is.

    Args:
        mixture: a trained mixture.
        names: the experts of the result, in its order.
        new: experts among ``names`` that ``mixture`` does not have, as for ``Mixture``.
        gate_layer: the dotted name of the gate's last linear layer.
        last_layers: as for ``Mixture``, of the new experts.

    Raises:
        ValueError: if a name belongs to no expert or to two, nothing of the old mixture is left, or
            a last layer is not linear or of another number of classes.
    """
    new = dict(new or {})
    _check(mixture, names, new)
    old = dict(zip(mixture.expert_names, mixture.experts, strict=True))
    layers = dict(zip(mixture.expert_names, mixture.last_layer_names, strict=True))
    if last_layers is None:
        last_layers = {name: last_layer_of(expert) for name, expert in new.items()}
    for name in new:
        layers[name] = last_layers if isinstance(last_layers, str) else last_layers[name]
    gate = deepcopy(mixture.gate)
    _set_outputs(gate, gate_layer, _outputs(gate, gate_layer, mixture.expert_names, names))
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


def _outputs(
    gate: nn.Module, layer: str, old: Sequence[str], names: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Return weight (m, features) and bias (m,) of the gate's outputs for the experts ``names``."""
    linear = gate.get_submodule(layer)
    if not isinstance(linear, nn.Linear):
        raise ValueError(
            f"layer {layer!r} of the gate is a {type(linear).__name__}, expected nn.Linear; name "
            "its last layer with gate_layer"
        )
    weight = linear.weight.detach()
    bias = weight.new_zeros(len(old)) if linear.bias is None else linear.bias.detach()
    place = {name: i for i, name in enumerate(old)}

    def rows(values: Tensor) -> Tensor:
        return torch.stack([values[place[n]] if n in place else values.mean(0) for n in names])

    return rows(weight), rows(bias)


def _set_outputs(gate: nn.Module, layer: str, outputs: tuple[Tensor, Tensor]) -> None:
    """Give the gate, in place, other outputs."""
    weight, bias = outputs
    linear = nn.Linear(weight.shape[1], len(weight), device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    gate.set_submodule(layer, linear)
    if isinstance(gate, ResNet):
        gate.config = replace(gate.config, outputs=len(weight))
