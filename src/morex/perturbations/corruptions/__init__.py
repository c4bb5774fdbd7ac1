"""Common corruptions with the severities of CIFAR-10-C (Hendrycks & Dietterich 2019).

===============  ===================================================
``base``         what all corruptions share
``noise``        Gaussian, shot and impulse noise
``blur``         defocus, motion and zoom blur
``photometric``  brightness, contrast, saturation
``resampling``   pixelate and elastic
``jpeg``         JPEG compression
===============  ===================================================
"""

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
