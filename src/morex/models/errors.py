"""The error about models that cannot be saved or loaded."""


class ModelError(ValueError):
    """A saved model is missing, damaged or of a kind that cannot be saved or loaded."""
