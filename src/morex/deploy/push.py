"""Writes a publication into a folder, or commits it to the Hugging Face hub."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from morex.artifacts.model_sets import NAME as SET
from morex.core.files import write_atomically
from morex.core.version import VERSION
from morex.deploy.publication import Publication
from morex.models.folder import DESCRIPTION, WEIGHTS
from morex.models.hub import Address, HubError, hub_problem

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

_OF_A_NEW_REPOSITORY = (".gitattributes", "README.md", "LICENSE")


@dataclass(frozen=True)
class Pushed:
    """A commit on the hub.

    Attributes:
        url: its page.
        commit: its identifier.
        private: whether only the members of the owner see the repository.
    """

    url: str
    commit: str
    private: bool


def write_folder(made: Publication, folder: Path) -> None:
    """Write a publication into a new or empty folder.

    Raises:
        ValueError: if the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} holds something already; name a new or an empty folder")
    for name, content in made.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, path)
        else:
            write_atomically(path, content)


def repository_of(address: str) -> str:
    """Return ``owner/name`` of an address to push to.

    Raises:
        HubError: if it is malformed, or names a revision or a model.
    """
    wanted = Address.parse(address)
    if wanted.revision or wanted.model:
        raise HubError(f"{address}: a push goes to hf://owner/name, without a revision or a model")
    return wanted.repository


def check_token() -> None:
    """Raise unless there is a token of the hub.

    Raises:
        HubError: if there is none.
    """
    from huggingface_hub import get_token

    if not get_token():
        raise HubError(
            "pushing needs a token of the hub that may write: log in with `hf auth login`, or set "
            "HF_TOKEN (https://huggingface.co/settings/tokens makes one)"
        )


def push(made: Publication, repository: str) -> Pushed:
    """Commit a publication to a repository of the hub, in one commit.

    A repository that does not exist is made, and is private. Models of an earlier push that are not
    in this one are removed; older commits keep them.

    Args:
        made: what to publish.
        repository: ``owner/name``.

    Raises:
        HubError: if the repository holds something that morex did not push, or the hub refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="morex", library_version=VERSION)
    try:
        return _push(api, made, repository)
    except HubError:
        raise
    except Exception as error:  # its type depends on the version of the hub's client
        raise HubError(f"hf://{repository} was not pushed: {hub_problem(error)}") from error


def _push(api: "HfApi", made: Publication, repository: str) -> Pushed:
    api.create_repo(repository, private=True, exist_ok=True)
    there = api.model_info(repository)
    names = [file.rfilename for file in there.siblings or ()]
    _check_ours(repository, names)
    done = api.create_commit(
        repository,
        [*_deletions(made, names), *_additions(made)],
        commit_message=f"{made.title}: {', '.join(made.models)}"[:200],
        commit_description=made.summary,
        parent_commit=there.sha,
    )
    return Pushed(str(done.commit_url), str(done.oid), bool(there.private))


def _check_ours(repository: str, names: list[str]) -> None:
    """Raise if a repository holds files of something else."""
    others = [name for name in names if name not in _OF_A_NEW_REPOSITORY]
    if others and SET not in names:
        raise HubError(
            f"hf://{repository} holds something that morex did not push ({others[0]}); choose "
            "another name"
        )


def _additions(made: Publication) -> "Iterator[CommitOperationAdd]":
    from huggingface_hub import CommitOperationAdd

    for name, content in made.files.items():
        yield CommitOperationAdd(name, content)


def _deletions(made: Publication, names: list[str]) -> "Iterator[CommitOperationDelete]":
    """Yield the removal of what an earlier push wrote and this one does not."""
    from huggingface_hub import CommitOperationDelete

    for name in names:
        if name not in made.files and _is_of_a_push(name):
            yield CommitOperationDelete(name)


def _is_of_a_push(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    if folder:
        return "/" not in folder and file in (DESCRIPTION, WEIGHTS)
    return file.endswith(".json") and file.startswith(("results-", "audit-"))
