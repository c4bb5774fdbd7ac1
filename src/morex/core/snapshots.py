"""Imports of the user's modules from what was read before, not from files that may change.

A module that is imported late, inside a function, is thus of the version that decided the key of a
stage, and compiled files that are out of date are not used.
"""

import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import CodeType, ModuleType

from morex.core.source_files import Source, Sources


class OtherModuleError(ValueError):
    """A module of the same name is loaded from another file."""


class _Snapshot(InspectLoader):
    """Executes the content of a file as it was read."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def get_source(self, fullname: str) -> str:
        """Return the text of the module."""
        return self.source.content.decode("utf-8", "replace")

    def get_code(self, fullname: str) -> CodeType:
        """Return the module, compiled."""
        return compile(self.source.content, str(self.source.path), "exec", dont_inherit=True)

    def is_package(self, fullname: str) -> bool:
        """Return whether it is a package."""
        return self.source.is_package


class _Snapshots(MetaPathFinder):
    """Finds the modules of which there is a snapshot, by name."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load a module from its snapshot; None if there is none."""
        source = self.sources.get(fullname)
        if source is None:
            return None
        spec = spec_from_loader(fullname, _Snapshot(source), origin=str(source.path))
        assert spec is not None
        spec.has_location = True
        if source.is_package:
            spec.submodule_search_locations = [str(source.path.parent)]
        return spec


_snapshots = _Snapshots()


def serve(sources: Sources) -> None:
    """From now on, import these modules as they were read; forget other versions of them.

    Raises:
        OtherModuleError: if another file is loaded under the name of one of them.
    """
    for source in sources.files:
        if source.module:
            _forget_unless_same(source)
            _snapshots.sources[source.module] = source
    if _snapshots not in sys.meta_path:
        sys.meta_path.insert(0, _snapshots)


def _forget_unless_same(source: Source) -> None:
    module = sys.modules.get(source.module)
    if module is None:
        return
    loader = module.__spec__.loader if module.__spec__ else None
    if isinstance(loader, _Snapshot):
        if loader.source != source:
            del sys.modules[source.module]
    elif getattr(module, "__file__", None) != str(source.path):
        raise OtherModuleError(
            f"its module {source.module!r} is {source.path}, but "
            f"{getattr(module, '__file__', 'another one')} is loaded under that name; rename it"
        )
