"""The help, and what may be imported to show it."""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files

import pytest
import typer
from calling import FinishedRun, call
from typer.testing import CliRunner

import morex
from morex.artifacts.model_sets import shipped_sets
from morex.cli.main import app
from morex.recipe import shipped_suites

ORDER = [
    *("demo", "run", "watch", "plan", "extend", "shrink", "sparse", "recipes", "models", "table"),
    *("report", "gate", "evaluate", "curve", "compare", "audit", "predict", "export", "serve"),
    "push",
]
COMMANDS = typer.main.get_command(app).commands
HEAVY = ("torch", "numpy", "yaml", "jinja2", "morex.recipe", "morex.run")


def test_help_lists_the_commands_in_their_order() -> None:
    code, out, _ = call("--help")
    assert code == 0
    assert re.findall(r"^│ (\w+) ", out, re.MULTILINE) == ORDER == [*COMMANDS]


@pytest.mark.parametrize("name", ORDER)
def test_help_is_made_of_sentences(name: str) -> None:
    command = COMMANDS[name]
    texts = [*command.help.strip().split("\n\n")[:-1], *(p.help for p in command.params)]
    for text in texts:
        assert re.fullmatch(r"[A-Z`].*\.", text, re.DOTALL), text
        assert not re.search(r"\bAs of\b|\bas of\b", text)


@pytest.mark.parametrize("name", ORDER)
def test_help_ends_with_an_example_that_parses(name: str) -> None:
    *_, last = COMMANDS[name].help.strip().split("\n\n")
    example = re.fullmatch(rf"Example: `morex {name}( .+)?`", last, re.DOTALL)
    assert example, last
    COMMANDS[name].make_context(name, shlex.split(example[1] or ""))  # raises on a wrong option
    code, out, _ = call(name, "--help")
    assert code == 0
    assert f"Example: morex {name}" in out


def test_an_example_with_a_wrong_option_would_be_seen() -> None:
    with pytest.raises(Exception, match="No such option"):
        COMMANDS["table"].make_context("table", ["runs/digits", "--colour", "red"])


def test_the_help_of_evaluate_names_every_suite() -> None:
    [suite] = [p for p in COMMANDS["evaluate"].params if p.name == "suite"]
    assert {*re.findall(r"\w+", suite.help)} >= {*shipped_suites()}


def test_recipes_lists_what_ships() -> None:
    shipped = {f.name.removesuffix(".yaml") for f in (files("morex.recipe") / "shipped").iterdir()}
    code, out, _ = call("recipes")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} == shipped


def test_models_lists_what_ships() -> None:
    code, out, _ = call("models")
    assert code == 0
    listed = re.findall(r"^  (\S+)", out, re.MULTILINE)
    sets = shipped_sets()
    assert listed == [f"{name}/{model}" for name, found in sets.items() for model in found.models]
    for name, found in sets.items():
        assert f"  {name}/{found.default}  (also: {name})\n" in out


def test_models_are_found_by_a_word() -> None:
    code, out, _ = call("models", "L2/Rice")
    assert (code, out) == (0, "robustbench://cifar10/L2/Rice2020Overfitting  preactresnet18\n")
    assert len(call("models", "robustbench")[1].splitlines()) == 128
    assert call("models", "MINF")[1].split() == ["cifar10-small/minf", "tiny-imagenet-small/minf"]
    code, _, error = call("models", "nobody")
    assert code == 2
    assert "no model has 'nobody' in its name" in error


def imported_by(arguments: Sequence[object], modules: Sequence[str]) -> list[str]:
    """Return which of ``modules`` a call of the command line in a new process imports."""
    code = (
        "import sys\nfrom morex.cli import main\ntry: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print(*[name for name in {[*modules]} if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr.split()


def test_the_version_is_that_of_the_package() -> None:
    assert call("--version") == (0, f"morex {morex.__version__}\n", "")
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", morex.__version__)


@pytest.mark.parametrize("name", ["", *ORDER])
def test_h_is_help(name: str) -> None:
    words = [name] if name else []
    assert call(*words, "-h") == call(*words, "--help")
    assert call(*words, "-h")[0] == 0


def test_the_shell_completes_commands_options_and_recipes() -> None:
    for typed, expected in (("ev", "evaluate"), ("run --jo", "--jobs"), ("plan dig", "digits")):
        words = f"morex {typed}"
        completing = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        environment = {"_MOREX_COMPLETE": "complete_bash", **completing}
        result = CliRunner().invoke(app, [], env=environment, prog_name="morex")
        assert result.stdout.split() == [expected]


@pytest.mark.parametrize("arguments", [["--help"], ["evaluate", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert imported_by(arguments, HEAVY) == []


def test_what_reads_results_does_without_torch(finished: FinishedRun) -> None:
    run = finished.folder
    outcomes = [run / "outcomes/clean.npz", run / "outcomes/more.npz"]
    calls = (["table", run], ["gate", run], ["report", run], ["compare", *outcomes], ["models"])
    calls += (["recipes"],)
    for arguments in calls:
        assert imported_by(arguments, ["torch"]) == [], arguments
