"""The errors of this room."""


class DataError(ValueError):
    """Data cannot be used. The message says in one sentence where, what is wrong and what to do."""


class UnknownFormatError(DataError):
    """A picture is of no format that is read."""


class TooLargeError(DataError):
    """A picture has too many pixels."""
