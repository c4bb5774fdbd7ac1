"""Models on the Hugging Face hub, in the format of ``morex.save``.

A repository holds one model (``model.json`` and ``model.safetensors``), or a set of models: a
folder for each, and ``set.json``, which names the default.
"""

import re
from functools import cache
from pathlib import Path

from morex.artifacts.model_sets import NAME, read_set

SCHEME = "hf://"
_ADDRESS = re.compile(rf"{SCHEME}([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/([^/@]+))?/?")
_FILES = ("model.json", "model.safetensors")


class HubError(ValueError):
    """A model on the hub has a wrong address or cannot be downloaded."""


def on_hub(name: str) -> bool:
    """Return whether the name of a model is an address on the hub."""
    return name.startswith(SCHEME)


def hub_model(address: str) -> Path:
    """Return the folder of a model on the hub, downloading it if needed.

    The hub's client keeps it in its cache, and uses that version when there is no network.

    Args:
        address: ``hf://owner/name``, or ``hf://owner/name/model`` for a model of a set. ``@`` and a
            branch, tag or commit may follow the name.

    Raises:
        HubError: if the address is malformed, or nothing can be downloaded from it.
        SetError: if there is a set whose ``set.json`` is damaged.
    """
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise HubError(f"{address!r}: expected hf://owner/name or hf://owner/name/model")
    repository, revision, model = match.groups()
    home = _snapshot(repository, revision)
    if not model and (found := read_set(home)):
        model = found.default
    return home / (model or "")


@cache
def _snapshot(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [NAME, *_FILES, *(f"*/{name}" for name in _FILES)]
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except Exception as error:  # its type depends on the version of the hub's client
        raise HubError(
            f"{repository} cannot be downloaded from huggingface.co ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''})"
        ) from error
