"""The files that a run leaves behind. Writers and readers share these definitions.

None of them needs torch.

=====================  =========================================================================
``outcomes``           one boolean per example and attack
``pieces``             outcomes of single batches, in parts of an evaluation
``notes``              what an evaluation noticed about a model besides its outcomes
``origins``            what a row of outcomes was measured on and how
``corruption_errors``  means over severities, and mCE
``statistics``         Wilson intervals of proportions, McNemar's test
``results``            ``results.json``: settings, rows, models, costs and stages
``progress``           ``work/progress.json``: how far a run in progress is
``gate_usage``         how a gate spreads its weight over the experts
``manifest``           which files a run in an object store has
``stored_runs``        local copies of runs in an object store
``records``            ``stages/STAGE.json``: keys, files, cost and history of a stage
``overfitting``        trainings with single steps that failed suddenly
``labels``             ``test-labels.json``: classes and labels of the test images
``class_words``        words for classes, and for answers without a class
``findings``           verdicts of the masking audit
``illustration``       answers, curves and pictures of a model on a few images
``provenance``         versions, hardware, commit and command
``schema``             the base of everything that is kept as JSON
``model_description``  ``model.json`` of a saved model
``model_sets``         sets of trained models, those that ship with morex among them
=====================  =========================================================================
"""

from morex.artifacts.illustration import Curve, Illustration, Pictures
from morex.artifacts.notes import Note, NoteBook
from morex.artifacts.outcomes import Outcomes
from morex.artifacts.statistics import BoolArray, Comparison, Proportion, wilson_interval

__all__ = [
    "BoolArray",
    "Comparison",
    "Curve",
    "Illustration",
    "Note",
    "NoteBook",
    "Outcomes",
    "Pictures",
    "Proportion",
    "wilson_interval",
]
