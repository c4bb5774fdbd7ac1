"""What the package says about itself is the same everywhere."""

import re
import tomllib

import pytest
import typer.main
import yaml
from pages import ROOT, check_command

import morex
from morex.cli.main import app

_CLASS = re.compile(r"^([A-Z][a-z]+[A-Z]\w*|Builder|Event|Mixture)(?=$|\.)")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_citation_is_that_of_the_package() -> None:
    assert CITATION["version"] == morex.__version__
    # the package also holds photographs, under a license of their own
    assert PROJECT["license"].split(" AND ")[0] == CITATION["license"]
    assert CITATION["title"].startswith(f"{PROJECT['name']}:")
    assert CITATION["references"][0]["url"] == PROJECT["urls"]["Paper"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == morex.__version__


def test_classifiers_name_the_supported_pythons() -> None:
    prefix = "Programming Language :: Python :: 3."
    named = [int(c.removeprefix(prefix)) for c in PROJECT["classifiers"] if c.startswith(prefix)]
    assert f">=3.{min(named)}" == PROJECT["requires-python"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Python 3.{min(named)} to 3.{max(named)}" in readme


@pytest.mark.parametrize("name", typer.main.get_command(app).commands)
def test_the_example_of_a_command_is_right(name: str) -> None:
    command = typer.main.get_command(app).commands[name]
    examples = re.findall(r"`(morex [^`]+)`", command.help.partition("Example: ")[2])
    assert examples, f"morex {name} has no example"
    for example in examples:
        check_command(example.split())


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/design-notes.md"])
def test_files_and_classes_that_are_named_exist(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    homes = (ROOT, ROOT / "src" / "morex", ROOT / "src" / "morex" / "report")
    files = re.findall(r"`([\w./-]+/[\w.-]+\.\w+)`", text)
    assert [file for file in files if not any((home / file).exists() for home in homes)] == []
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    known = {*re.findall(r"^(?:class )?([A-Z][a-z]\w*)\b", "\n".join(sources), re.MULTILINE)}
    named = {name for span in re.findall(r"`([^`]+)`", text) for name in _CLASS.findall(span)}
    assert named <= known
