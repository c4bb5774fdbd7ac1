"""Models on the Hugging Face hub, in the format of ``morex.save``.

A repository holds one model (``model.json`` and ``model.safetensors``), or a set of models: a
folder for each, and ``set.json``, which names the default. ``morex push`` writes such sets.
"""

import re
from dataclasses import dataclass
from functools import cache
from glob import escape
from pathlib import Path

from morex.artifacts.model_sets import NAME, read_set
from morex.models.folder import DESCRIPTION, WEIGHTS, ModelFolder

SCHEME = "hf://"
_ADDRESS = re.compile(rf"{SCHEME}([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/((?!\.)[^/@]+))?/?")


class HubError(ValueError):
    """A model on the hub has a wrong address or cannot be downloaded."""


@dataclass(frozen=True)
class Address:
    """An address on the hub.

    Attributes:
        repository: ``owner/name``.
        revision: a branch, a tag or a commit; empty for the newest commit.
        model: the folder of a model; empty for the default of the repository.
    """

    repository: str
    revision: str = ""
    model: str = ""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return the address in a text.

        Raises:
            HubError: if the text is malformed.
        """
        match = _ADDRESS.fullmatch(text)
        if not match:
            raise HubError(
                f"{text!r}: expected hf://owner/name or hf://owner/name/model; @ and a branch, tag "
                "or commit may follow the name, such as hf://owner/name@main/model"
            )
        return cls(*(part or "" for part in match.groups()))

    def __str__(self) -> str:
        """Return its text."""
        revision = self.revision and f"@{self.revision}"
        return f"{SCHEME}{self.repository}{revision}{self.model and '/'}{self.model}"


def on_hub(name: str) -> bool:
    """Return whether the name of a model is an address on the hub."""
    return name.startswith(SCHEME)


def hub_model(address: str) -> Path:
    """Return the folder of a model on the hub, downloading it if needed.

    Of a set, only the model and those whose weights it shares are downloaded. The hub's client
    keeps them in its cache, and uses that version when there is no network.

    Args:
        address: ``hf://owner/name``, or ``hf://owner/name/model`` for a model of a set. ``@`` and a
            branch, tag or commit may follow the name.

    Raises:
        HubError: if the address is malformed, there is no such model, or nothing can be downloaded.
        ModelError: if its description is damaged.
        SetError: if there is a set whose ``set.json`` is damaged.
    """
    wanted = Address.parse(address)
    descriptions = (NAME, DESCRIPTION, f"*/{DESCRIPTION}")
    home = _snapshot(wanted.repository, wanted.revision, descriptions)
    folder = home / _chosen(wanted, home)
    shared = ModelFolder.open(folder).description.shared.values()
    places = [folder, *(home / source.folder for source in shared)]
    weights = tuple(escape(str((place / WEIGHTS).relative_to(home))) for place in places)
    _snapshot(wanted.repository, _commit(folder), weights)
    return folder


def pinned_address(address: str) -> str:
    """Return the address of a model at the commit that is read now, which never changes.

    Raises:
        HubError, ModelError, SetError: as for ``hub_model``.
    """
    wanted = Address.parse(address)
    return str(Address(wanted.repository, _commit(hub_model(address)), wanted.model))


def _commit(folder: Path) -> str:
    """Return the commit whose files a folder in the cache of the hub's client holds."""
    return next(p.name for p in (folder, *folder.parents) if p.parent.name == "snapshots")


def _chosen(wanted: Address, home: Path) -> str:
    """Return the folder in a repository that an address stands for; raise if it has no model."""
    found = read_set(home)
    model = wanted.model or (found.default if found else "")
    if (home / model / DESCRIPTION).is_file():
        return model
    names = sorted(path.parent.name for path in home.glob(f"*/{DESCRIPTION}"))
    what = f"no model {model!r}" if model else "no model of morex at its top"
    raise HubError(
        f"{wanted}: this repository has {what}; it has "
        + (f"the models {', '.join(names)}" if names else f"no {DESCRIPTION} anywhere")
    )


@cache
def _snapshot(repository: str, revision: str, patterns: tuple[str, ...]) -> Path:
    """Return a folder with those files of a repository that match a pattern."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=[*patterns])
        )
    except Exception as error:  # its type depends on the version of the hub's client
        address = Address(repository, revision)
        raise HubError(f"{address} cannot be downloaded: {hub_problem(error)}") from error


def hub_problem(error: Exception) -> str:
    """Return what went wrong with the hub, and what to do, in one sentence."""
    from huggingface_hub import constants, errors

    match error:
        case errors.GatedRepoError():
            return "its owner must give you access; ask for it on its page, then log in"
        case errors.RepositoryNotFoundError():
            return (
                f"{constants.ENDPOINT} has no such repository, or does not show it to you; check "
                "the name, or log in with `hf auth login` or HF_TOKEN"
            )
        case errors.RevisionNotFoundError():
            return "it has no such branch, tag or commit; check what follows the @"
        case errors.LocalEntryNotFoundError():
            return (
                f"{constants.ENDPOINT} does not answer as the hub does, and the model is not in "
                "the cache; check the network, HF_ENDPOINT and HF_HUB_OFFLINE"
            )
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
        return (
            f"{constants.ENDPOINT} does not let you; log in with `hf auth login`, or set HF_TOKEN "
            "to a token that has the right to do it"
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = ": ".join([type(error).__name__, *lines[:2]])
    return f"the client of {constants.ENDPOINT} reports {said}"
