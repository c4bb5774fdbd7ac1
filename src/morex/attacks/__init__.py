"""Attacks: searches inside a perturbation for images that a model gets wrong."""

from morex.attacks.base import Attack, Model, Passes, frozen
from morex.attacks.deepfool import DeepFool
from morex.attacks.draws import WorstOfDraws
from morex.attacks.pgd import PGD, cross_entropy
from morex.attacks.rays import RayS

__all__ = [
    "PGD",
    "Attack",
    "DeepFool",
    "Model",
    "Passes",
    "RayS",
    "WorstOfDraws",
    "cross_entropy",
    "frozen",
]
