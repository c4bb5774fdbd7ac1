"""Common corruptions with the severities of CIFAR-10-C (Hendrycks & Dietterich 2019)."""

from morex.perturbations.corruptions.base import Corruption
from morex.perturbations.corruptions.blur import DefocusBlur, MotionBlur, ZoomBlur
from morex.perturbations.corruptions.jpeg import Jpeg
from morex.perturbations.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise
from morex.perturbations.corruptions.photometric import Brightness, Contrast, Saturation
from morex.perturbations.corruptions.resampling import Elastic, Pixelate

__all__ = [
    "Brightness",
    "Contrast",
    "Corruption",
    "DefocusBlur",
    "Elastic",
    "GaussianNoise",
    "ImpulseNoise",
    "Jpeg",
    "MotionBlur",
    "Pixelate",
    "Saturation",
    "ShotNoise",
    "ZoomBlur",
]
