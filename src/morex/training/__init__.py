"""Training: the one loop, and the two choices that turn it into every method of the paper.

================  ==========================================================================
``loop``          draws batches, takes steps, validates, and keeps the state
``step``          a step: attack the frozen model, descend the loss on what came back
``execution``     steps are called on a CPU, and captured as graphs on a GPU
``objectives``    what x' a step trains on
``drawn``         one member for each batch, drawn evenly or by its errors
``criteria``      what a step teaches, and which parameters learn it
``trades``        teaches the right answer to x, and the same answer to x'
``natural``       natural training beside an adversarial one, and their projection
``distillation``  teaches a network to answer like another model
``config``        how long, how fast, and which weights are kept
``awp``           descends where the loss around the weights is largest
``batches``       the images and labels of each step
``validation``    the accuracy that decides which weights are kept
``state``         everything that changes in a training, saved and restored bit for bit
``resume``        whether a saved state is one of this training
``optimizers``    the optimizer, and the tensors that a training changes
``ema``           a moving average of the weights
``world``         several processes that train one model, each on its shard of a batch
``batch_norm``    BatchNorm over the batch of all processes
``together``      what several processes cannot divide, agree on, or write once
``reports``       what a training reports: its progress, its history, a failure
================  ==========================================================================
"""

from morex.training.batches import Extra, TrainingData
from morex.training.config import PerturbedWeights, TrainingConfig
from morex.training.criteria import (
    ClassOfImage,
    Criterion,
    ExpertForMember,
    LogitPairing,
    NewExperts,
)
from morex.training.distillation import AnswersOfTeacher
from morex.training.drawn import OneDrawn
from morex.training.loop import train
from morex.training.objectives import (
    Alternate,
    Average,
    Batch,
    Max,
    Objective,
    SideBySide,
    Single,
)
from morex.training.reports import Fit, NotFiniteError, Progress
from morex.training.resume import CheckpointError
from morex.training.state import Checkpoint, Snapshot
from morex.training.trades import Trades
from morex.training.world import World

__all__ = [
    "Alternate",
    "AnswersOfTeacher",
    "Average",
    "Batch",
    "Checkpoint",
    "CheckpointError",
    "ClassOfImage",
    "Criterion",
    "ExpertForMember",
    "Extra",
    "Fit",
    "LogitPairing",
    "Max",
    "NewExperts",
    "NotFiniteError",
    "Objective",
    "OneDrawn",
    "PerturbedWeights",
    "Progress",
    "SideBySide",
    "Single",
    "Snapshot",
    "Trades",
    "TrainingConfig",
    "TrainingData",
    "World",
    "train",
]
