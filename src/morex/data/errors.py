"""The one error of the data layer."""


class DataError(ValueError):
    """Data cannot be used; the message is one sentence: where, what is wrong and what to do."""
