"""What a gate takes a picture for: the perturbations whose experts get the most weight."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from morex.models.mixture import Mixture
from morex.models.named_model import NamedModel
from morex.recipe import Recipe, load_recipe, shipped_recipes
from morex.recipe.lineage import right_experts


@dataclass(frozen=True)
class GateLessons:
    """What the gate of a mixture has learned to tell apart.

    Attributes:
        right: for each perturbation, the experts that are right for it; empty if that is unknown.
    """

    right: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def taken_for(self, weights: Mapping[str, float]) -> tuple[str, ...]:
        """Return the perturbations for which a gate with these weights takes a picture.

        Perturbations with the same experts are not told apart. The group whose experts have the
        most weight together is returned; of two that are equal, the first.
        """
        groups: dict[tuple[str, ...], list[str]] = {}
        for name, experts in self.right.items():
            groups.setdefault(experts, []).append(name)
        totals = {experts: sum(weights.get(e, 0.0) for e in experts) for experts in groups}
        best = max(totals, key=totals.__getitem__, default=())
        return tuple(groups.get(best, ()))


def gate_lessons(network: nn.Module, model: NamedModel, recipe: Recipe | None) -> GateLessons:
    """Return what the gate of a loaded model has learned, as far as a recipe tells.

    Args:
        network: the model, loaded.
        model: the same by its name.
        recipe: the recipe of its run, if it is in one.
    """
    named, place = model.about.get("name"), model.name.partition("/")[0]
    if recipe is None or named not in recipe.mixtures:
        recipe = load_recipe(place) if place in shipped_recipes() else None
    mixture = recipe.mixtures.get(str(named)) if recipe else None
    if recipe is None or mixture is None or not isinstance(network, Mixture):
        return GateLessons()
    same = network.expert_names == tuple(mixture.experts)
    return GateLessons(right_experts(recipe, mixture) if same else {})
