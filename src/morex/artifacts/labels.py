"""The content of ``test-labels.json``: the test images of a run."""

from morex.artifacts.schema import Schema

FILE = "test-labels.json"
"""Its name in a run directory."""


class TestImages(Schema):
    """The test images, in the order in which they are attacked.

    Attributes:
        classes: names of the classes.
        labels: the true class of each image.
        index: the index of each image in the data set.
    """

    classes: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    index: tuple[int, ...] = ()
