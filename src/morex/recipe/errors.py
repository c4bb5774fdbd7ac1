"""What is wrong with a recipe or a suite."""


class RecipeError(ValueError):
    """A recipe or suite that cannot be read; the message lists everything that is wrong with it."""
