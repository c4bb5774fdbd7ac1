"""Perturbations: what may happen to an image."""

from morex.perturbations.balls import L1, L2, Linf
from morex.perturbations.base import Ball, Clean, Perturbation, Transform
from morex.perturbations.blur import DefocusBlur, MotionBlur, ZoomBlur
from morex.perturbations.composition import Around, Chain, compose
from morex.perturbations.corruption import Corruption
from morex.perturbations.debris import Occlusion, Rain
from morex.perturbations.jpeg import Jpeg
from morex.perturbations.noise import GaussianNoise, ImpulseNoise, ShotNoise
from morex.perturbations.resampling import Elastic, Pixelate
from morex.perturbations.spatial import RotateTranslate, Scale, Shear, Spatial
from morex.perturbations.tone import Brightness, Contrast, Saturation
from morex.perturbations.weather import Fog, Snow

__all__ = [
    "L1",
    "L2",
    "Around",
    "Ball",
    "Brightness",
    "Chain",
    "Clean",
    "Contrast",
    "Corruption",
    "DefocusBlur",
    "Elastic",
    "Fog",
    "GaussianNoise",
    "ImpulseNoise",
    "Jpeg",
    "Linf",
    "MotionBlur",
    "Occlusion",
    "Perturbation",
    "Pixelate",
    "Rain",
    "RotateTranslate",
    "Saturation",
    "Scale",
    "Shear",
    "ShotNoise",
    "Snow",
    "Spatial",
    "Transform",
    "ZoomBlur",
    "compose",
]
