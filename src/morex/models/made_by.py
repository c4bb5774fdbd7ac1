"""Modules of the user in a model that is saved: each becomes a ``Foreign`` with its factory."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from morex.core.near import not_among
from morex.models.errors import ModelError
from morex.models.external import Foreign, ForeignConfig, import_model
from morex.models.kinds import is_kind
from morex.models.mixture import Ensemble, Mixture

GATE = "gate"
"""The name of a mixture's gate among its parts."""

Factories = str | Mapping[str, str]
"""The factory of every module of the user, or one for each expert and for ``gate``, by name."""


def with_factories(model: nn.Module, factories: Factories) -> nn.Module:
    """Return a model that can be saved: modules of the user are replaced by their ``Foreign``.

    The model itself stays as it is; the result shares its weights.

    Args:
        model: a module of the user, or a mixture with such experts or such a gate.
        factories: what makes them, as ``path/to/file.py:factory`` or ``package.module:factory``.
            Each factory is called once.

    Raises:
        ModelError: if a name is not that of a part, or a factory makes a module with other weights.
        ForeignModelError: if a factory cannot be called.
    """
    if not isinstance(model, Ensemble):
        if not isinstance(factories, str):
            raise ModelError("expected one factory for a single network, got a mapping")
        return _foreign(model, factories, "the model", None)
    parts = _parts(model)
    chosen = _by_part(parts, factories)
    layers = dict(zip(model.expert_names, model.last_layer_names, strict=True))
    made = {
        name: _foreign(part, chosen[name], name, layers.get(name)) if name in chosen else part
        for name, part in parts.items()
    }
    return _rebuilt(model, made)


def _parts(model: Ensemble) -> dict[str, nn.Module]:
    experts = dict(zip(model.expert_names, model.experts, strict=True))
    return experts | ({GATE: model.gate} if isinstance(model, Mixture) else {})


def _by_part(parts: Mapping[str, nn.Module], factories: Factories) -> dict[str, str]:
    """Return the factory of each part that has one."""
    if isinstance(factories, str):
        return {name: factories for name, part in parts.items() if not is_kind(part)}
    if strangers := [name for name in factories if name not in parts]:
        raise ModelError(not_among("part", strangers[0], parts))
    return dict(factories)


def _foreign(module: nn.Module, factory: str, name: str, last_layer: str | None) -> Foreign:
    """Return the module as a ``Foreign``, after a look at what its factory makes."""
    made = _shapes(import_model(factory))
    for weight in {**made, **_shapes(module)}:
        want, have = _shapes(module).get(weight), made.get(weight)
        if want != have:
            raise ModelError(
                f"{factory} does not make {name}: {weight} has shape {want} in the model, and "
                f"{have} in what the factory makes; name the factory of this module"
            )
    config = ForeignConfig(factory)
    return Foreign(replace(config, last_layer=last_layer or config.last_layer), module)


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in module.state_dict().items()}


def _rebuilt(model: Ensemble, parts: Mapping[str, nn.Module]) -> Ensemble:
    """Return a shallow copy of an ensemble with other parts."""
    found: Any = copy.copy(model)
    found._modules = dict(model._modules)
    experts = [parts[name] for name in model.expert_names]
    found.experts = nn.ModuleList(experts)
    found.last_layer_names = tuple(
        expert.last_layer if isinstance(expert, Foreign) else layer
        for expert, layer in zip(experts, model.last_layer_names, strict=True)
    )
    if isinstance(model, Mixture):
        found.gate = parts[GATE]
    return found  # type: ignore[no-any-return]
