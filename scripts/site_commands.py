"""The page of the documentation site about the command line, made from the commands themselves."""

import re
from typing import Any

import typer.main

from morex.cli.main import app


def commands_page() -> str:
    """Return the page: every command with its help, its arguments and its options."""
    group: Any = typer.main.get_command(app)
    return "\n\n".join(("# Commands", group.help, *map(_section, group.commands.values())))


def _section(command: Any) -> str:
    parameters = [found for found in command.params if found.name != "help"]
    table = ["| argument or option | | default |", "| --- | --- | --- |", *map(_row, parameters)]
    about = re.sub(r"\b(RUN|MODEL|RECIPE)\b(?![-/])", r"`\1`", command.help)
    return "\n\n".join((f"## morex {command.name}", about, "\n".join(table) if parameters else ""))


def _row(parameter: Any) -> str:
    name, metavar = parameter.opts[0], parameter.metavar or ""
    shown = f"{name} {metavar}".strip() if name.startswith("-") else metavar or name.upper()
    default = "" if parameter.default in (None, False, "") else f"`{parameter.default}`"
    cells = (f"`{shown}`", parameter.help or "", "required" if parameter.required else default)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
