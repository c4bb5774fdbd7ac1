"""Where a model is that somebody names: a folder, a shipped model, or one on the hub."""

import os
from pathlib import Path

from morex.artifacts.model_sets import shipped_sets
from morex.models.hub import hub_model, on_hub


def find_model(name: Path | str) -> Path:
    """Return the folder of a model: one on disk, a shipped one, or one on the hub.

    Args:
        name: a folder; or a shipped set such as ``cifar10-small``, which stands for its best
            mixture; or one of its models, such as ``cifar10-small/minf``; or ``hf://owner/name``.

    Raises:
        HubError: if it is on the hub and cannot be had.
        SetError: if it is a set, and what describes it is damaged.
    """
    if on_hub(os.fspath(name)):
        return hub_model(os.fspath(name))
    folder = Path(name)
    if folder.exists():
        return folder
    first, _, model = os.fspath(name).partition("/")
    known = shipped_sets()
    if first in known and (not model or model in known[first].models):
        return known[first].folder / (model or known[first].default)
    return folder
