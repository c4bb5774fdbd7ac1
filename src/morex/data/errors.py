"""The one error of this room."""


class DataError(ValueError):
    """Data cannot be used. The message says in one sentence where, what is wrong and what to do."""
