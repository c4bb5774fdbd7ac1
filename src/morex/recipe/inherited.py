"""What models inherit from the sections ``training`` and ``inner`` of a recipe."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

_DEFAULTS = {"training": ("training", "gate_warmup"), "inner": ("inner",)}
"""The sections of a recipe that models inherit, and the sections of a model that inherit them."""

_OF_LABELS = {"gate_warmup": ("gradient_projection",)}
"""What sections of a model do not inherit, because it is for trainings on labels."""

_NOT_TRAINED = ("saved", "sparse", "mean-of-experts", "largest-logit")
"""Kinds of models that inherit nothing."""


def with_defaults(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy in which the models inherit the sections ``training`` and ``inner``."""
    content = deepcopy(dict(raw))
    models = content.get("models")
    for model in models.values() if isinstance(models, dict) else ():
        if not isinstance(model, dict) or model.get("kind") in _NOT_TRAINED:
            continue
        for section, heirs in _DEFAULTS.items():
            default = content.get(section)
            inherited = default if isinstance(default, dict) else {}
            for heir in heirs:
                own = model.get(heir, {} if heir == section else None)
                if isinstance(own, dict):
                    left_out = _OF_LABELS.get(heir, ())
                    fitting = {k: value for k, value in inherited.items() if k not in left_out}
                    model[heir] = {**fitting, **own}
    return content


def origin(path: Sequence[str]) -> list[str]:
    """Return the path in the recipe from which a model would inherit the value at ``path``."""
    for section, heirs in _DEFAULTS.items():
        if path[:1] == ["models"] and path[2:3] and path[2] in heirs:
            return [section, *path[3:]]
    return ["nowhere"]
