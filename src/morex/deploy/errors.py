"""The error about models that cannot be exported."""


class ExportError(ValueError):
    """A model cannot be exported, or its file does not answer as the model does."""
