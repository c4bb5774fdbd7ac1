"""The kinds of models that can be saved, each with a form in JSON.

A class itself writes its form (``to_json``) and is made from it again (``from_json``). ``KINDS``
has the name of each kind in a ``model.json``. A new kind is a class with these two methods, and a
line in ``KINDS``.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import nn

from morex.core.units import with_article
from morex.models.errors import ModelError
from morex.models.external import Foreign
from morex.models.gates import ExtendedGate
from morex.models.mixture import UNGATED, Mixture
from morex.models.networks import NETWORKS


class Saveable(Protocol):
    """A model that JSON can describe, apart from its weights."""

    def to_json(self, describe: Callable[[nn.Module], dict[str, Any]]) -> dict[str, Any]:
        """Return the model's form; ``describe`` returns that of a part of it."""

    @classmethod
    def from_json(
        cls, form: Mapping[str, Any], build: Callable[[Mapping[str, Any]], nn.Module]
    ) -> nn.Module:
        """Return a model with new weights; ``build`` makes a part from its form.

        Args:
            form: what ``to_json`` returned; its lists have become tuples.
            build: makes a part from what ``describe`` returned for it.
        """


KINDS: Mapping[str, type[Saveable]] = {
    **NETWORKS,
    "foreign": Foreign,
    "extended-gate": ExtendedGate,
    "mixture": Mixture,
    **UNGATED,
}
"""Every kind of model that can be saved, by the name that files give it."""

_NAMES: Mapping[type, str] = {cls: kind for kind, cls in KINDS.items()}


def is_kind(model: nn.Module) -> bool:
    """Return whether the class of a model is in ``KINDS``. A subclass is not."""
    return type(model) in _NAMES


def describe(model: nn.Module) -> dict[str, Any]:
    """Return the form of a model in JSON.

    Raises:
        ModelError: if its class, or that of a part, is not in ``KINDS``. A subclass is not: it may
            compute something else.
    """
    kind = _NAMES.get(type(model))
    if kind is None:
        raise ModelError(
            f"cannot save {with_article(type(model).__name__)}, which is not a network of morex: "
            "name the function or class that makes it, for example factory='path/to/net.py:make'"
        )
    saveable: Saveable = model  # type: ignore[assignment]  # its class is in KINDS
    return {"kind": kind} | saveable.to_json(describe)


def build(description: Mapping[str, Any]) -> nn.Module:
    """Return the model of a description, with new weights.

    Factories that it names are imported and called: the caller has checked that it may be trusted.

    Args:
        description: what ``describe`` returned.

    Raises:
        ForeignModelError: if a factory's classifier cannot be made.
        KeyError, TypeError, ValueError, AttributeError: if the description is damaged.
    """
    kind = KINDS[description["kind"]]
    form = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in description.items()
        if key != "kind"
    }
    return kind.from_json(form, build)
