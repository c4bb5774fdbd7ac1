"""The data of a run in words: how many images each class has in each split."""

from collections.abc import Iterator

from morex.core.units import listed, percent
from morex.data.counts import absent_classes, in_classes
from morex.run.builder import Builder


def data_lines(builder: Builder) -> Iterator[str]:
    """Yield a line about the data, and one for each split."""
    data, training = builder.data, builder.training_data
    _, height, width = data.train.shape
    yield f"{data.name}: {height}x{width} pixels, {len(data.train.classes)} classes"
    for split, images in (
        ("training", training.train),
        ("validation", training.validation),
        ("test", data.test),
    ):
        yield f"  {split:<10} {in_classes(images)}"
    if training.extra:
        share = percent(training.extra.share)
        yield f"  {'extra':<10} {in_classes(training.extra.images)}, {share} of each batch"


def not_tested(builder: Builder) -> str:
    """Return a sentence on the classes without test images; empty if there are none."""
    absent = absent_classes(builder.data.test)
    if not absent:
        return ""
    names = listed([repr(name) for name in absent[:5]] + ["others"][: len(absent) > 5])
    return f"there are no test images of {names}: the results say nothing about these classes"
