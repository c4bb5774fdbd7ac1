"""Perturbations: what may happen to an image.

====================  =========================================================================
``base``              the two kinds: balls, which are searched, and transforms, which are drawn
``balls``             the l_inf, l_2 and l_1 balls
``sparse``            the l_0 ball
``weather``           the fog and snow of the MoRE paper
``occlusion``         rain and occlusion
``spatial``           rotation, translation, scale, shear
``parametric``        perturbations whose images are numbered by points: what can be chosen
``adversarial``       fog, snow, warps, colours and patches that an attacker chooses
``adversarial_jpeg``  JPEG with chosen coefficients
``corruptions``       the 19 corruptions of CIFAR-10-C, with their severities
``composition``       transforms one after the other, and a ball at the end
``validate``          checks of a perturbation that a user wrote
``color``             hue, lightness and saturation, for snow
====================  =========================================================================
"""

from morex.perturbations.adversarial import (
    AdversarialElastic,
    AdversarialFog,
    AdversarialSnow,
    Flow,
    Patch,
    Recolor,
)
from morex.perturbations.adversarial_jpeg import AdversarialJpeg
from morex.perturbations.balls import L1, L2, Linf
from morex.perturbations.base import Ball, Clean, Perturbation, Transform, draw
from morex.perturbations.composition import Around, Chain, compose
from morex.perturbations.corruptions import (
    CORRUPTIONS,
    Brightness,
    Contrast,
    Corruption,
    DefocusBlur,
    Elastic,
    Frost,
    GaussianBlur,
    GaussianNoise,
    GlassBlur,
    HendrycksFog,
    HendrycksSnow,
    ImpulseNoise,
    Jpeg,
    MotionBlur,
    Pixelate,
    Saturation,
    ShotNoise,
    Spatter,
    SpeckleNoise,
    ZoomBlur,
)
from morex.perturbations.occlusion import Occlusion, Rain
from morex.perturbations.parametric import Parametric
from morex.perturbations.sparse import L0
from morex.perturbations.spatial import RotateTranslate, Scale, Shear, Spatial
from morex.perturbations.weather import Fog, Snow

__all__ = [
    "CORRUPTIONS",
    "L0",
    "L1",
    "L2",
    "AdversarialElastic",
    "AdversarialFog",
    "AdversarialJpeg",
    "AdversarialSnow",
    "Around",
    "Ball",
    "Brightness",
    "Chain",
    "Clean",
    "Contrast",
    "Corruption",
    "DefocusBlur",
    "Elastic",
    "Flow",
    "Fog",
    "Frost",
    "GaussianBlur",
    "GaussianNoise",
    "GlassBlur",
    "HendrycksFog",
    "HendrycksSnow",
    "ImpulseNoise",
    "Jpeg",
    "Linf",
    "MotionBlur",
    "Occlusion",
    "Parametric",
    "Patch",
    "Perturbation",
    "Pixelate",
    "Rain",
    "Recolor",
    "RotateTranslate",
    "Saturation",
    "Scale",
    "Shear",
    "ShotNoise",
    "Snow",
    "Spatial",
    "Spatter",
    "SpeckleNoise",
    "Transform",
    "ZoomBlur",
    "compose",
    "draw",
]
