"""Pages of documentation as scripts: their blocks of code, run from top to bottom in a folder.

A block with "`name`:" above it is written to that file. Other blocks are done: shell line by line,
Python in one namespace per page, YAML as a part of a recipe. Blocks that begin with ``# not run:``,
and commands of make, pip and ray, are only checked. Numbers of epochs, images and queries are
reduced. A block of text is what the last block that ran has printed, with other numbers.
"""

import ast
import io
import re
import runpy
import shlex
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer.main
import yaml
from calling import call
from page_blocks import Block, blocks, commands, fewer

from morex.cli.main import app
from morex.recipe import load_recipe, parse_recipe

ROOT = Path(__file__).parents[2]
PLACES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/**/*.md",
    "results/*/*.md",
)
PAGES = {str(page.relative_to(ROOT)): page for place in PLACES for page in ROOT.glob(place)}
_SURROUNDINGS: dict[str, Any] = {
    "name": "part",
    "data": {"name": "digits"},
    "perturbations": {
        "clean": {"kind": "clean"},
        "l2": {"kind": "l2", "eps": 1},
        "linf": {"kind": "linf", "eps": 0.1},
        "fog": {"kind": "fog", "t": 0.15, "light": 0.6},
        "snow": {"kind": "snow", "darkness": 4},
    },
    "network": {"architecture": "resnet10", "width": 8},
    "models": {"clean": {"against": "clean"}},
    "evaluation": {"rows": {"clean": {"attack": "draws", "perturbation": "clean"}}},
}
"""What is put around a part of a recipe to make it a whole one."""


def typed(page: Path) -> set[str]:
    """Return the commands of morex on a page, those that are not run left out."""
    found = blocks(page.read_text(encoding="utf-8"))
    shell = [block for block in found if block.language == "sh" and block.runs]
    lines = (words for block in shell for words in commands(block))
    return {shlex.join(words) for words in lines if words[0] == "morex"}


def runs(page: Path) -> bool:
    """Return whether a page has a block that is run; the README is another matter."""
    found = blocks(page.read_text(encoding="utf-8"))
    return page.name != "README.md" and any(block.runs for block in found)


def play(page: str, folder: Path, stands_for: dict[str, Path]) -> None:
    """Do the blocks of a page in ``folder``, the current one.

    A block of text after commands is what they print; before any command it is a drawing.
    ``stands_for`` has recipes to run instead of shipped ones, which would take too long.
    """
    names: dict[str, Any] = {"__name__": "page"}
    printed: list[str] | None = None
    for block in blocks(page):
        check(block)
        if block.file:
            (folder / block.file).write_text(fewer(block.content))
        elif block.language == "sh" and block.runs:
            printed = [do(words, stands_for) for words in commands(block)]
        elif block.language == "python" and block.runs:
            exec(compile(fewer(block.content), "page", "exec"), names)
        elif block.language == "text" and printed is not None and not is_script(block):
            check_printed(block.content, "\n".join(printed))


def is_script(block: Block) -> bool:
    """Return whether a block is the content of a script, which no command printed."""
    return block.content.startswith("#!")


def check_printed(shown: str, printed: str) -> None:
    """Check that lines are among those that were printed, in their order, numbers apart."""
    rest = iter(_shape(printed))
    missing = [line for line in _shape(shown) if line not in rest]
    assert not missing, f"not printed, or not in this order: {missing} in {printed}"


def _shape(text: str) -> list[str]:
    """Return lines with every number and every gap replaced by the same one."""
    lines = (re.sub(r"\d+(?:\.\d+)?", "0", line) for line in text.splitlines())
    return [" ".join(line.split()) for line in lines if line.strip()]


def do(words: list[str], stands_for: dict[str, Path]) -> str:
    """Run a command of morex, or a program in Python, and return what it prints."""
    program, *arguments = shlex.split(fewer(shlex.join(words)))
    if program == "python":
        with redirect_stdout(io.StringIO()) as out:
            runpy.run_path(arguments[0], run_name="__main__")
        return out.getvalue()
    if program != "morex":
        return ""
    command, *rest = arguments
    if command in ("run", "plan") and rest[0] in stands_for:
        rest[0] = str(stands_for[rest[0]])
    if command in ("run", "extend", "shrink"):
        rest += ["--jobs", "1"]  # processes of their own take seconds to start
    code, out, err = call(command, *rest)
    assert code == 0 or (command == "audit" and code == 1), f"{shlex.join(words)}: {err}"
    return out


def check(block: Block) -> None:
    """Check as much of a block as can be checked without running it."""
    if block.language == "sh":
        for words in commands(block):
            check_command(words)
    elif block.language == "python":
        check_imports(block.content)
    elif block.language == "yaml" and not block.file:
        part = {**_SURROUNDINGS}
        for key, value in yaml.safe_load(block.content).items():
            both = isinstance(value, dict) and key in ("perturbations", "data")
            part[key] = {**part[key], **value} if both else value
        parse_recipe({**part, "columns": [*part["models"]]})


def check_command(words: list[str]) -> None:
    """Check that a command exists, with its options, its recipe, and what it changes of that."""
    program, *arguments = words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in arguments if "=" not in word} <= {*targets}, words
    elif program == "pip":
        assert arguments[0] == "install", words
    elif program == "ray":
        assert arguments[0] == "start", words
    elif program == "morex":
        check_call(arguments)
    elif program == "torchrun":
        assert "--no-python" in arguments, words
        check_command(arguments[arguments.index("--no-python") + 1 :])
    else:
        assert program in ("python", "bash"), words


def check_call(arguments: list[str]) -> None:
    """Check the options of a morex command, and whether its changes fit a shipped recipe."""
    name, *rest = arguments
    group: Any = typer.main.get_command(app)
    given = group.commands[name].make_context(name, [*rest]).params
    recipe = given.get("recipe")
    if recipe and not str(recipe).endswith(".yaml"):
        load_recipe(recipe, given.get("overrides") or [])


def check_imports(source: str) -> None:
    """Check that Python compiles and that everything it imports from morex is there."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            assert all(find_spec(name.name.partition(".")[0]) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("morex"):
            module = import_module(str(node.module))
            assert all(hasattr(module, name.name) for name in node.names), node.module
