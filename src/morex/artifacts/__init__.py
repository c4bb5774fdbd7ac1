"""What a run leaves behind, for those who write it and those who read it. Torch is not needed.

================  ===========================================================================
``outcomes``      one boolean per example and attack
``statistics``    Wilson intervals of proportions, McNemar's test
``findings``      verdicts of the masking audit
``illustration``  answers, curves and pictures of a model on a few images
``model_sets``    sets of trained models, those that ship with morex among them
================  ===========================================================================
"""

from morex.artifacts.illustration import Curve, Illustration, Pictures
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import BoolArray, Comparison, Proportion, wilson_interval

__all__ = [
    "BoolArray",
    "Comparison",
    "Curve",
    "Illustration",
    "Outcomes",
    "Pictures",
    "Proportion",
    "wilson_interval",
]
