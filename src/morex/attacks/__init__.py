"""Attacks: searches inside a perturbation for images that a model gets wrong.

=================  ===================================================================
``base``           what all attacks share, and what counts as fooled
``freezing``       models as attacks see them: frozen, with images of their own
``pgd``            projected gradient descent, in one ball or in a union (MSD)
``best``           the best image found so far
``standing``       which examples a search still works on
``losses``         what PGD maximises
``gradients``      finite gradients, and how many were not
``noisy_fgsm``     one step from a noisy image, for fast training
``judged``         an attack of a training beside the one that validates it
``own_answers``    away from the answers to the unchanged images, for TRADES
``targeted``       PGD towards one wrong class
``apgd``           PGD with the step lengths of AutoAttack
``eot``            PGD on models that draw
``batched``        several PGD searches at once
``deepfool``       the walk to the nearest decision boundary
``rays``           RayS, a search that uses only decisions
``autoattack``     AutoAttack, through pyautoattack
``draws``          draws of transforms, grids, and random noise
``sequence``       the worst of several attacks
``gate_steering``  adaptive attacks on the gate of a mixture
``gate_losses``    what attacks on a gate maximise
``transfer``       attacks on the experts, tried on the mixture
``composed``       any attack in the ball of a composition
=================  ===================================================================
"""

from morex.attacks.apgd import APGD
from morex.attacks.autoattack import AutoAttack
from morex.attacks.base import Attack, Passes, fooled, is_right, is_wrong
from morex.attacks.batched import search_slices
from morex.attacks.composed import SearchAround, attack_on, search_of
from morex.attacks.deepfool import DeepFool
from morex.attacks.draws import GridSearch, RandomNoise, WorstOfDraws, WorstOfStrengths
from morex.attacks.eot import EoT, OverDraws
from morex.attacks.freezing import Freezer, Model, frozen
from morex.attacks.gate_losses import AwayFromChoices
from morex.attacks.gate_steering import DrawnSteering, GateSteering
from morex.attacks.judged import JudgedBy
from morex.attacks.losses import Loss, OfLogits, PerExample, cross_entropy
from morex.attacks.noisy_fgsm import NoisyFGSM
from morex.attacks.own_answers import AwayFromOwnAnswers, divergence
from morex.attacks.pgd import PGD, Keep
from morex.attacks.rays import RayS
from morex.attacks.sequence import InTurn
from morex.attacks.targeted import Targeted
from morex.attacks.transfer import ExpertTransfer

__all__ = [
    "APGD",
    "PGD",
    "Attack",
    "AutoAttack",
    "AwayFromChoices",
    "AwayFromOwnAnswers",
    "DeepFool",
    "DrawnSteering",
    "EoT",
    "ExpertTransfer",
    "Freezer",
    "GateSteering",
    "GridSearch",
    "InTurn",
    "JudgedBy",
    "Keep",
    "Loss",
    "Model",
    "NoisyFGSM",
    "OfLogits",
    "OverDraws",
    "Passes",
    "PerExample",
    "RandomNoise",
    "RayS",
    "SearchAround",
    "Targeted",
    "WorstOfDraws",
    "WorstOfStrengths",
    "attack_on",
    "cross_entropy",
    "divergence",
    "fooled",
    "frozen",
    "is_right",
    "is_wrong",
    "search_of",
    "search_slices",
]
