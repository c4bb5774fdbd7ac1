"""How perturbations and attacks are written in a recipe.

Their schemas are built from the classes: to use a new perturbation or attack in recipes, add it to
``PERTURBATIONS`` or ``ATTACKS``. A custom perturbation needs no entry (``custom.py``).
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from functools import reduce
from itertools import starmap
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    create_model,
)

from morex.attacks import (
    APGD,
    PGD,
    Attack,
    AutoAttack,
    DeepFool,
    EoT,
    ExpertTransfer,
    GateSteering,
    GridSearch,
    RandomNoise,
    RayS,
    WorstOfDraws,
    WorstOfStrengths,
    attack_on,
)
from morex.core.near import not_among
from morex.core.trust import names_file
from morex.perturbations import (
    L0,
    L1,
    L2,
    AdversarialElastic,
    AdversarialFog,
    AdversarialJpeg,
    AdversarialSnow,
    Brightness,
    Clean,
    Contrast,
    DefocusBlur,
    Elastic,
    Flow,
    Fog,
    Frost,
    GaussianBlur,
    GaussianNoise,
    GlassBlur,
    HendrycksFog,
    HendrycksSnow,
    ImpulseNoise,
    Jpeg,
    Linf,
    MotionBlur,
    Occlusion,
    Patch,
    Perturbation,
    Pixelate,
    Rain,
    Recolor,
    RotateTranslate,
    Saturation,
    Scale,
    Shear,
    ShotNoise,
    Snow,
    Spatter,
    SpeckleNoise,
    ZoomBlur,
    compose,
)
from morex.recipe.custom import described, identified, make_own
from morex.recipe.fields import Strict

__all__ = [
    "ATTACKS",
    "COMPOSITION",
    "PERTURBATIONS",
    "AnyAttack",
    "AnyPerturbation",
    "AttackSpec",
    "described",
    "identified",
    "named_parts",
]

PERTURBATIONS: dict[str, type[Perturbation]] = {
    cls.name: cls
    for cls in (
        *(Clean, Linf, L2, L1, L0),
        *(Fog, Snow, Rain, Occlusion),
        *(RotateTranslate, Scale, Shear),
        *(GaussianNoise, ShotNoise, ImpulseNoise, DefocusBlur, MotionBlur, ZoomBlur),
        *(Brightness, Contrast, Saturation, Jpeg, Pixelate, Elastic),
        *(HendrycksFog, HendrycksSnow, Frost, GlassBlur, Spatter, GaussianBlur, SpeckleNoise),
        *(AdversarialFog, AdversarialSnow, AdversarialElastic, AdversarialJpeg),
        *(Recolor, Flow, Patch),
    )
}
ATTACKS: dict[str, type[Attack]] = {
    "draws": WorstOfDraws,
    "pgd": PGD,
    "apgd": APGD,
    "eot": EoT,
    "deepfool": DeepFool,
    "rays": RayS,
    "autoattack": AutoAttack,
    "steering": GateSteering,
    "transfer": ExpertTransfer,
    "strengths": WorstOfStrengths,
    "noise": RandomNoise,
    "grid": GridSearch,
}
COMPOSITION = "compose"
"""The kind of a sequence of perturbations, whose parts are named or written out."""

_MOST_PARTS = 100

_NOT_WRITTEN = {"perturbation", "loss", "stop_when_fooled", "keep", "goal"}
"""Fields of an attack that a row does not set. A row always keeps the best image, and what fools
the model outranks any loss."""


class _Composition(Strict):
    """Perturbations one after the other."""

    kind: Literal["compose"]
    parts: tuple["AnyPerturbation", ...]


class AttackSpec(Strict):
    """One row of a suite: an attack by name, the perturbation it searches, and its budget."""

    attack: str
    perturbation: str
    examples: int | None = Field(default=None, ge=1)

    def build(self, perturbations: Mapping[str, Perturbation]) -> Attack:
        """Return the attack on the perturbation that it names.

        Raises:
            ValueError: if the attack does not work on that kind of perturbation.
        """
        cls = ATTACKS[self.attack]
        budget = self.model_dump(exclude={"attack", "perturbation", "examples"})
        if cls is PGD:
            budget["stop_when_fooled"] = True
        return attack_on(
            perturbations[self.perturbation],
            lambda perturbation: cls(perturbation, **budget),  # type: ignore[call-arg]
        )


def _fields(cls: type, leave_out: set[str]) -> dict[str, Any]:
    """Return the dataclass's fields as pydantic wants them: name -> (type, default)."""
    hints = get_type_hints(cls)
    return {
        f.name: (
            hints[f.name],
            ... if f.default is dataclasses.MISSING else f.default,
        )
        for f in dataclasses.fields(cls)
        if f.name not in leave_out
    }


def _perturbation_schema(kind: str, cls: type[Perturbation]) -> Any:
    tag: Any = (Literal[kind], ...)
    schema: Any = create_model(cls.__name__, __base__=Strict, kind=tag, **_fields(cls, set()))
    return Annotated[
        schema,
        AfterValidator(lambda spec: cls(**spec.model_dump(exclude={"kind"}))),
        AfterValidator(_in_pixels),
    ]


def _in_pixels(perturbation: Perturbation) -> Perturbation:
    """Refuse an Linf ball that is measured in levels of 255."""
    if isinstance(perturbation, Linf) and perturbation.eps > 1:
        eps = f"{perturbation.eps:g}"
        raise ValueError(f"eps of linf is for pixels in [0, 1], got {eps}; write {eps}/255")
    return perturbation


def _attack_schema(name: str, cls: type[Attack]) -> Any:
    tag: Any = (Literal[name], ...)
    budget = _fields(cls, _NOT_WRITTEN)
    return create_model(cls.__name__ + "Spec", __base__=AttackSpec, attack=tag, **budget)


def named_parts(perturbations: Any) -> Any:
    """Return perturbations as written, with the names of parts replaced by the parts themselves.

    Raises:
        ValueError: if a name is unknown, a composition is a part of itself, or it has more than
            100 parts, those of its parts included.
    """
    parts: Counter[str] = Counter()

    def resolved(spec: Any, within: tuple[str, ...]) -> Any:
        parts[within[0]] += 1
        if parts[within[0]] > _MOST_PARTS:  # a few compositions of compositions make billions
            raise ValueError(f"{within[0]}: has more than {_MOST_PARTS} parts")
        if isinstance(spec, str):
            if spec in within:
                raise ValueError(f"{within[0]}: the composition {spec!r} is a part of itself")
            if spec not in perturbations:
                unknown = not_among("perturbation", spec, perturbations)
                raise ValueError(f"{within[0]}.parts: {unknown}")
            return resolved(perturbations[spec], (*within, spec))
        if not isinstance(spec, dict) or not isinstance(spec.get("parts"), list | tuple):
            return spec
        return {**spec, "parts": [resolved(part, within) for part in spec["parts"]]}

    if not isinstance(perturbations, dict):
        return perturbations
    return {
        name: spec if isinstance(spec, str) else resolved(spec, (name,))
        for name, spec in perturbations.items()
    }


def _sort(value: Any) -> str:
    """Return the tag of the schema that a perturbation as written has."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind == COMPOSITION:
        return COMPOSITION
    return "own" if names_file(kind) else "builtin"


if TYPE_CHECKING:
    AnyPerturbation = Perturbation
    AnyAttack = AttackSpec
else:
    _Builtin = Annotated[
        reduce(or_, starmap(_perturbation_schema, PERTURBATIONS.items())),
        Field(discriminator="kind"),
    ]
    _Own = Annotated[dict[str, Any], AfterValidator(make_own)]
    _Composed = Annotated[_Composition, AfterValidator(lambda spec: compose(*spec.parts))]
    AnyPerturbation = Annotated[
        Annotated[_Builtin, Tag("builtin")]
        | Annotated[_Own, Tag("own")]
        | Annotated[_Composed, Tag(COMPOSITION)],
        Discriminator(_sort),
        PlainSerializer(described),
    ]
    _Composition.model_rebuild()
    AnyAttack = Annotated[
        reduce(or_, starmap(_attack_schema, ATTACKS.items())),
        Field(discriminator="attack"),
    ]
