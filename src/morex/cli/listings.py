"""``morex recipes`` and ``morex models``: what ships with morex."""

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


def models() -> None:
    """List the trained models that ship with morex.

    `morex evaluate`, `morex predict --model` and `morex.load` take these names.

    Example: `morex models`
    """
    from morex.artifacts.model_sets import shipped_sets

    for name, found in shipped_sets().items():
        say(f"{name}: {found.description}")
        for model in found.models:
            stands_for = f"  (also: {name})" if model == found.default else ""
            say(f"  {name}/{model}{stands_for}")
