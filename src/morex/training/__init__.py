"""Training: the one loop, and the two choices that turn it into every method of the paper.

================  ==================================================================="""

from morex.training.batches import TrainingData
from morex.training.config import TrainingConfig
from morex.training.criteria import ClassOfImage, Criterion, ExpertForMember, NewExperts
from morex.training.distillation import AnswersOfTeacher
from morex.training.loop import train
from morex.training.objectives import (
    Alternate,
    Average,
    Batch,
    Max,
    Objective,
    OneDrawn,
    SideBySide,
    Single,
)
from morex.training.reports import Fit, NotFiniteError, Progress
from morex.training.resume import CheckpointError
from morex.training.state import Checkpoint, Snapshot

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
    "Fit",
    "Max",
    "NewExperts",
    "NotFiniteError",
    "Objective",
    "OneDrawn",
    "Progress",
    "SideBySide",
    "Single",
    "Snapshot",
    "TrainingConfig",
    "TrainingData",
    "train",
]
