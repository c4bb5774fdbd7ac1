"""Networks compiled for an evaluation, where that pays."""

from contextlib import AbstractContextManager, nullcontext

from torch import nn

from morex.attacks import Model
from morex.data import ImageSet
from morex.evaluation.settings import Settings
from morex.evaluation.suite import Suite
from morex.evaluation.workload import most_work
from morex.models.compiled import compiled_if_it_pays

_LIKE_TRAINING = 0.01
"""The share of its work with which an evaluation competes with a training.

A training compiles few shapes and captures its step. An evaluation captures nothing, so compiling
makes it only 1.3 times as fast (H200, batches of 512). It needs about 16 variants of a network:
four sizes of batches, two number formats, with and without gradients. That pays from about 2e17
operations in one call, such as RayS with 20,000 queries on 10,000 images at the paper's width.
"""

_USUAL = 0.45
"""The share of its bound that the work of an evaluation usually is."""


def compiled_where_it_pays(
    model: Model, suite: Suite, data: ImageSet, settings: Settings
) -> AbstractContextManager[None]:
    """Return a context in which the networks of a model are compiled if that saves time.

    It never does on a CPU. Where nothing can be compiled, the networks run as they are.

    Args:
        model: the model, on its device.
        suite: the attacks.
        data: the images.
        settings: batch size and precision.
    """
    if not isinstance(model, nn.Module):
        return nullcontext()
    classes, images = len(data.classes), len(data)
    work = sum(most_work(row.attack, model, row.count(images), classes) for row in suite)
    passes = _LIKE_TRAINING * _USUAL * work / settings.batch_size
    return compiled_if_it_pays(model, (settings.batch_size, *data.shape), passes, _ignore)


def _ignore(notice: str) -> None:
    """Drop a notice: a training on the same machine gives it as well."""
