"""Every command of morex that help or a page shows works: it is run, or there is a reason why not.

The blocks of a page are run in ``test_site.py``, the examples of the help here. What else a text
mentions must be one of them, or be listed here with a reason.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer.main
from pages import PAGES, ROOT, check_command, do, runs, typed
from PIL import Image

from morex.cli.main import app
from morex.report import FORMATS

COMMANDS = typer.main.get_command(app).commands
NOT_RUN = {
    "morex run mine.yaml": "stands for a recipe of the reader",
    "morex plan mine.yaml --data pictures": "test_site.py runs `morex run` with the same words",
    "morex table RUN --format json": "stands for any run",
    "morex plan cifar10-small": "needs CIFAR-10",
    "morex predict --model cifar10-small PICTURE": "stands for any picture",
    "morex run digits --suite autoattack --suite adaptive --suite-examples 100": "takes minutes",
    "morex evaluate cifar10-small/minf --data FOLDER": "needs CIFAR-10",
}
"""Commands that pages mention in their text, and why no test runs them."""

SERVING = {"demo", "serve"}
"""Commands whose examples answer requests until they are stopped; they have tests of their own."""

pytestmark = pytest.mark.usefixtures("one_thread")


def example(name: str) -> list[str]:
    """Return the words of the example in the help of a command."""
    (found,) = re.findall(r"Example: `(morex [^`]+)`", COMMANDS[name].help)
    return shlex.split(found)


def mentioned(page: Path) -> set[str]:
    """Return the commands with at least one argument in the running text of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    found = {" ".join(span.split()) for span in re.findall(r"`(morex [^`]+)`", text)}
    return {command for command in found if len(command.split()) > 2}


@pytest.mark.parametrize("name", sorted(SERVING))
def test_the_example_of_a_command_that_serves_is_right_as_far_as_can_be_checked(name: str) -> None:
    check_command(example(name))


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in SERVING])
def test_the_example_of_a_command_works(
    name: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("webbrowser.open", lambda page: True)
    shutil.copytree(digits / "runs", "runs")
    Image.new("RGB", (40, 30), "teal").save("picture.png")
    do(example(name), {"digits": digits / "digits.yaml"})


@pytest.mark.parametrize("page", [name for name in PAGES if name != "CHANGELOG.md"])
def test_what_a_page_mentions_is_run_somewhere(page: str) -> None:
    run = set().union(*(typed(page) for page in PAGES.values() if runs(page)))
    run |= {shlex.join(example(name)) for name in COMMANDS}
    for command in mentioned(PAGES[page]) - NOT_RUN.keys():
        words = shlex.split(command)
        if all(word.startswith("-") or word in FORMATS for word in words[2:]):
            continue  # it names an option of a command
        check_command(words)
        begins = [other for other in run if other == command or other.startswith(f"{command} ")]
        assert begins, f"no test runs {command!r}"
    unrun = typed(PAGES[page]) - run
    assert not unrun, f"no test runs {unrun}"


def test_every_reason_is_needed() -> None:
    anywhere = set().union(*map(mentioned, PAGES.values()))
    assert NOT_RUN.keys() <= anywhere


def test_the_readme_shows_commands() -> None:
    assert len(typed(ROOT / "README.md")) >= 5
