"""A hook of the documentation site: pages and files that live outside ``docs/``.

Results, the change log and the contributing page stay where people look for them in the
repository. Here they become pages of the site, and a link from any page to a file of the
repository leads to a copy of that file. A link to nothing fails the build, since it is strict.
"""

import logging
import os
import re
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from site_commands import commands_page

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "results/*/*.md")
SHOWN = ("results/*/*.svg", "results/*/*.json", "results/*/*/*.json")
LINKED = ("LICENSE", "CITATION.cff", "examples/*.py", "src/morex/*/*.yaml", "src/morex/*/*/*.yaml")
_LOG = logging.getLogger("mkdocs.hooks.site_pages")
_LINK = re.compile(r"(?<=\]\()(?!https?://|mailto:|#)([^)#\s]+)")


def on_pre_build(config: MkDocsConfig) -> None:
    """Warn, and so fail, where a room has no page or exports something without a docstring."""
    package = griffe.load("morex", search_paths=[str(ROOT / "src")])
    for room in (module for module in package.modules.values() if not module.is_alias):
        if not Path(config.docs_dir, "reference", f"{room.name}.md").exists():
            _LOG.warning("docs/reference/%s.md is missing", room.name)
        for name in room.exports or ():
            if not room[str(name)].has_docstring:
                _LOG.warning("%s.%s is exported without a docstring", room.path, name)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lives outside of ``docs/``; every file keeps its place in the repository."""
    for pattern in (*PAGES, *SHOWN, *LINKED):
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, place, abs_src_path=str(path)))
    for folder in sorted(ROOT.glob("results/*/*/")):
        place = folder.relative_to(ROOT).as_posix()
        files.append(File.generated(config, f"{place}/index.md", content=_listing(folder)))
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between places in the repository into links between places on the site."""
    if page.file.abs_src_path is None:  # a listing, whose links are right already
        return markdown
    source = Path(page.file.abs_src_path).resolve()
    here = page.file.src_uri

    def moved(link: re.Match[str]) -> str:
        return os.path.relpath(_place(source.parent / link[1]), os.path.dirname(here) or ".")

    return _LINK.sub(moved, markdown)


def _listing(folder: Path) -> str:
    """Return a page that links to the files of a folder."""
    links = (f"- [{path.name}]({path.name})" for path in sorted(folder.iterdir()))
    return "\n".join((f"# {folder.relative_to(ROOT).as_posix()}", "", *links))


def _place(target: Path) -> str:
    """Return where a file of the repository is on the site; a folder stands for its README."""
    path = Path(os.path.normpath(target))
    if path.is_dir() and (path / "README.md").exists():
        path /= "README.md"
    place = path.relative_to(ROOT).as_posix()
    if place.startswith("results/") and path.is_dir():
        return f"{place}/index.md"
    if place == "README.md":
        return "index.md"
    return place.removeprefix("docs/")
