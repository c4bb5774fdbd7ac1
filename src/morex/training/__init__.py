"""Training: the one loop, and the two choices that make every method of it.

==============  ===========================================================================
``loop``        a step: attack the frozen model, descend the loss on what came back
``objectives``  what x' a step trains on: every method of the paper
``criteria``    what a step teaches, and to which parameters
``config``      how long, how fast, and what is kept
``ema``         an average of the weights
``state``       what an interrupted training needs to go on
==============  ===========================================================================
"""

from morex.training.config import TrainingConfig
from morex.training.loop import Fit, NotFiniteError, Progress, TrainingData, train

__all__ = ["Fit", "NotFiniteError", "Progress", "TrainingConfig", "TrainingData", "train"]
