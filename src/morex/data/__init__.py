"""Labelled images: where they come from, and how they are split and augmented."""

from morex.data.augment import Augment
from morex.data.cifar10c import PublishedCorruptions
from morex.data.decode import read_pictures
from morex.data.errors import DataError
from morex.data.images import ImageSet
from morex.data.load import Data, load_data

__all__ = [
    "Augment",
    "Data",
    "DataError",
    "ImageSet",
    "PublishedCorruptions",
    "load_data",
    "read_pictures",
]
