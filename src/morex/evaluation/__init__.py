"""Evaluation: what is measured of a model, whatever made it.

=================  ==========================================================================
``suite``          which attacks, on how many images; the paper's Table 1
``evaluate``       one boolean per attack and image
``feasibility``    is what an attack returned allowed?
``masking_audit``  is a model robust, or does it only hide its gradients?
``gate_usage``     the weight that a gate gives each expert under each perturbation
``strength_curves``  accuracy against the strength of a perturbation
``illustrate``     what the report shows of a model
=================  ==========================================================================
"""

from morex.evaluation.evaluate import evaluate
from morex.evaluation.feasibility import InfeasibleError
from morex.evaluation.suite import Row, Suite, table1

__all__ = ["InfeasibleError", "Row", "Suite", "evaluate", "table1"]
