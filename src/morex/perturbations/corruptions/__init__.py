"""Common corruptions with the severities of CIFAR-10-C (Hendrycks & Dietterich 2019).

===============  ===================================================
``base``         what all corruptions share
``noise``        Gaussian, shot, impulse and speckle noise
``blur``         defocus, Gaussian, glass, motion and zoom blur
``weather``      Hendrycks' fog and snow, and frost
``plasma``       the random heights of that fog
``spatter``      drops of water and mud
``smoothing``    Gaussian smoothing, and colours as grey
``photometric``  brightness, contrast, saturation
``resampling``   pixelate and elastic
``jpeg``         JPEG compression
===============  ===================================================
"""

from morex.perturbations.corruptions.base import Corruption
from morex.perturbations.corruptions.blur import (
    DefocusBlur,
    GaussianBlur,
    GlassBlur,
    MotionBlur,
    ZoomBlur,
)
from morex.perturbations.corruptions.jpeg import Jpeg
from morex.perturbations.corruptions.noise import (
    GaussianNoise,
    ImpulseNoise,
    ShotNoise,
    SpeckleNoise,
)
from morex.perturbations.corruptions.photometric import Brightness, Contrast, Saturation
from morex.perturbations.corruptions.resampling import Elastic, Pixelate
from morex.perturbations.corruptions.spatter import Spatter
from morex.perturbations.corruptions.weather import Frost, HendrycksFog, HendrycksSnow

CORRUPTIONS: tuple[type[Corruption], ...] = (
    *(GaussianNoise, ShotNoise, ImpulseNoise, DefocusBlur, GlassBlur, MotionBlur, ZoomBlur),
    *(HendrycksSnow, Frost, HendrycksFog, Brightness, Contrast, Elastic, Pixelate, Jpeg),
    *(SpeckleNoise, GaussianBlur, Spatter, Saturation),
)
"""All kinds, in the order of the published code; the last four do not count in mCE."""

__all__ = [
    "CORRUPTIONS",
    "Brightness",
    "Contrast",
    "Corruption",
    "DefocusBlur",
    "Elastic",
    "Frost",
    "GaussianBlur",
    "GaussianNoise",
    "GlassBlur",
    "HendrycksFog",
    "HendrycksSnow",
    "ImpulseNoise",
    "Jpeg",
    "MotionBlur",
    "Pixelate",
    "Saturation",
    "ShotNoise",
    "Spatter",
    "SpeckleNoise",
    "ZoomBlur",
]
