"""morex: Mixtures of Robust Experts (MoRE).

Image classifiers that stand up to a union of perturbations and still do well on clean images. A
model is a callable from images (N, C, H, W) in [0, 1] to logits (N, K); normalisation is inside it.

=======================  =================================================
``load``, ``save``       saved models
``Mixture``              experts weighted by a gate
``data``                 where images come from
``perturbations``        what may happen to an image
``attacks``              searches inside a perturbation
``objectives``           which images a training step trains on
``train``, ``evaluate``  the one training loop and the one evaluation
``report``               the tables of a run
``__version__``          the version of the package
=======================  =================================================

The names below are imported when they are first used, so that what needs no PyTorch (tables,
``morex --help``) starts without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from morex.core.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from morex import attacks, data, perturbations, report
    from morex.evaluation.evaluate import evaluate
    from morex.evaluation.suite import table1
    from morex.models.mixture import LargestLogit, MeanOfExperts, Mixture
    from morex.models.named import load_model as load
    from morex.models.network import NetworkConfig
    from morex.models.networks import make_network
    from morex.models.resnet import ResNet
    from morex.models.save import save_model as save
    from morex.training import objectives
    from morex.training.batches import TrainingData
    from morex.training.config import TrainingConfig
    from morex.training.loop import train

_HOME = {
    "LargestLogit": ("morex.models.mixture", "LargestLogit"),
    "MeanOfExperts": ("morex.models.mixture", "MeanOfExperts"),
    "Mixture": ("morex.models.mixture", "Mixture"),
    "NetworkConfig": ("morex.models.network", "NetworkConfig"),
    "ResNet": ("morex.models.resnet", "ResNet"),
    "TrainingConfig": ("morex.training.config", "TrainingConfig"),
    "TrainingData": ("morex.training.batches", "TrainingData"),
    "attacks": ("morex.attacks", None),
    "data": ("morex.data", None),
    "evaluate": ("morex.evaluation.evaluate", "evaluate"),
    "load": ("morex.models.named", "load_model"),
    "make_network": ("morex.models.networks", "make_network"),
    "objectives": ("morex.training.objectives", None),
    "perturbations": ("morex.perturbations", None),
    "report": ("morex.report", None),
    "save": ("morex.models.save", "save_model"),
    "table1": ("morex.evaluation.suite", "table1"),
    "train": ("morex.training.loop", "train"),
}

__all__ = [
    "LargestLogit",
    "MeanOfExperts",
    "Mixture",
    "NetworkConfig",
    "ResNet",
    "TrainingConfig",
    "TrainingData",
    "attacks",
    "data",
    "evaluate",
    "load",
    "make_network",
    "objectives",
    "perturbations",
    "report",
    "save",
    "table1",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'morex' has no attribute {name!r}")
    module, attribute = _HOME[name]
    loaded = import_module(module)
    return getattr(loaded, attribute) if attribute else loaded


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
