"""Perturbations: what may happen to an image."""

from morex.perturbations.balls import L1, L2, Linf
from morex.perturbations.base import Ball, Clean, Perturbation, Transform
from morex.perturbations.weather import Fog, Snow

__all__ = ["L1", "L2", "Ball", "Clean", "Fog", "Linf", "Perturbation", "Snow", "Transform"]
