"""Evaluation: what is measured on a model, however it was made.

===================  ================================================================
``workload``         how much work attacks are, and how much is done
``suite``            which attacks, on how many images; the paper's Table 1
``evaluate``         one boolean per attack and image, also in parts
``batches``          which images are attacked together, and in which part
``settings``         batch size and precision of a search, also by the device
``attacked``         one batch: attacked in any precision, judged in float32
``compiling``        networks compiled for an evaluation, where that pays
``clean_answers``    how often a model predicts each class
``feasibility``      checks that an attack returned an image that it may return
``masking_audit``    is a model robust, or does it only hide its gradients?
``audit_attacks``    the attacks of the audit in a ball, by point
``audit_balls``      the points of the audit that are measured in a ball
``audit_outputs``    its point about gradients, outputs and continuity
``audit_basis``      what its points share: model, images, limits, verdict
``gate_usage``       the weight that a gate gives each expert under each perturbation
``strength_curves``  accuracy against the strength of a perturbation
``illustrate``       what the report shows of a model
===================  ================================================================
"""

from morex.evaluation.audit_basis import Limits
from morex.evaluation.batches import Part
from morex.evaluation.evaluate import evaluate, evaluate_part
from morex.evaluation.feasibility import InfeasibleError
from morex.evaluation.gate_usage import gate_usage
from morex.evaluation.masking_audit import audit_model
from morex.evaluation.strength_curves import curve_suite
from morex.evaluation.suite import Row, Suite, table1

__all__ = [
    "InfeasibleError",
    "Limits",
    "Part",
    "Row",
    "Suite",
    "audit_model",
    "curve_suite",
    "evaluate",
    "evaluate_part",
    "gate_usage",
    "table1",
]
