"""The error for a recipe or a suite that is wrong."""


class RecipeError(ValueError):
    """A recipe or suite that cannot be read; the message lists everything that is wrong with it."""
