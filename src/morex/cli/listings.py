"""``morex recipes`` and ``morex models``: what ships with morex, and what it can read."""

from typing import Annotated

import typer

from morex.cli.output import say


def recipes() -> None:
    """List the recipes that ship with morex.

    Example: `morex recipes`
    """
    from morex.recipe import shipped_recipes

    shipped = shipped_recipes()
    longest = max(map(len, shipped))
    for name, description in shipped.items():
        say(f"{name:{longest}}  {description}")


def models(
    word: Annotated[
        str | None,
        typer.Argument(metavar="WORD", help="List every model with this word in its name."),
    ] = None,
) -> None:
    """List the trained models that ship with morex, or those with a word in their names.

    `morex evaluate`, `morex predict --model` and `morex.load` take these names. With a word the
    models of RobustBench are searched as well.

    Example: `morex models robustbench`
    """
    from morex.artifacts.model_sets import shipped_sets

    if word is not None:
        _say_matching(word)
        return
    for name, found in shipped_sets().items():
        say(f"{name}: {found.description}")
        for model in found.models:
            stands_for = f"  (also: {name})" if model == found.default else ""
            say(f"  {name}/{model}{stands_for}")
    say("robustbench://cifar10/Linf/NAME and others: morex models robustbench")


def _say_matching(word: str) -> None:
    """Print the names with a word in them, whatever its case."""
    from morex.artifacts.model_sets import shipped_sets
    from morex.models.robustbench import SCHEME, entries

    shipped = {f"{name}/{model}": "" for name, s in shipped_sets().items() for model in s.models}
    others = {f"{SCHEME}{name}": entry.architecture for name, entry in entries().items()}
    found = {n: what for n, what in (shipped | others).items() if word.lower() in n.lower()}
    if not found:
        raise typer.BadParameter(
            f"no model has {word!r} in its name; without a word, the shipped ones are listed",
            param_hint="WORD",
        )
    longest = max(map(len, found))
    for name, what in found.items():
        say(f"{name:{longest}}  {what}".rstrip())
