"""Training: the one loop, and the two choices that turn it into every method of the paper.

==============  ===========================================================================
``loop``        a step: attack the frozen model, descend the loss on what came back
``objectives``  what x' a step trains on
``criteria``    what a step teaches, and which parameters learn it
``config``      how long, how fast, and which weights are kept
``batches``     the images and labels of each step
``validation``  the accuracy that decides which weights are kept
``state``       all that changes in a training, saved and restored bit for bit
``ema``         a moving average of the weights
``reports``     what a training reports: progress, its course, a failure
==============  ===========================================================================
"""

from morex.training.batches import TrainingData
from morex.training.config import TrainingConfig
from morex.training.loop import train
from morex.training.reports import Fit, NotFiniteError, Progress

__all__ = ["Fit", "NotFiniteError", "Progress", "TrainingConfig", "TrainingData", "train"]
