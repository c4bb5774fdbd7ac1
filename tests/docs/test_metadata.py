"""What the package says about itself is the same everywhere."""

import re
import tomllib

import pytest
import typer.main
import yaml
from pages import ROOT, check_command

from morex.cli.main import app

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_citation_is_that_of_the_package() -> None:
    assert CITATION["version"] == PROJECT["version"]
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["title"].startswith(f"{PROJECT['name']}:")
    assert CITATION["references"][0]["url"] == PROJECT["urls"]["Paper"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == PROJECT["version"]


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
