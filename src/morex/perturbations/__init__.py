"""Perturbations: what may happen to an image."""

from morex.perturbations.balls import L1, L2, Linf
from morex.perturbations.base import Ball, Clean, Perturbation, Transform
from morex.perturbations.debris import Occlusion, Rain
from morex.perturbations.spatial import RotateTranslate, Scale, Shear, Spatial
from morex.perturbations.weather import Fog, Snow

__all__ = [
    "L1",
    "L2",
    "Ball",
    "Clean",
    "Fog",
    "Linf",
    "Occlusion",
    "Perturbation",
    "Rain",
    "RotateTranslate",
    "Scale",
    "Shear",
    "Snow",
    "Spatial",
    "Transform",
]
