"""Labelled images: where they come from, and how they are split and augmented.

============  ======================================================================
``load``      a data set by its name
``images``    labelled images as tensors; splitting and sampling them
``extra``     additional images for training, such as generated ones
``given``     images that a caller already has: tensors, a Dataset, a DataLoader
``augment``   random crops and flips
``digits``    the handwritten digits of scikit-learn
``download``  well-known data sets from the Hugging Face hub
``shards``    which parquet files belong to which split
``parquet``   data sets in parquet files
``columns``   which columns of a parquet file hold images and labels
``folders``   data sets in class folders
``splits``    which part of a data set is for training and which for testing
``decode``    encoded pictures to tensors
``opened``    which picture files are opened, and how large they may be
``rgb``       opened pictures as upright RGB
``hidden``    which files and folders are no data
``cifar10c``  published corruptions of a test set
``counts``    how many images each class has
``errors``    the one error of this room
============  ======================================================================
"""

from morex.data.augment import Augment
from morex.data.cifar10c import PublishedCorruptions
from morex.data.decode import read_pictures
from morex.data.errors import DataError
from morex.data.extra import load_extra
from morex.data.given import as_image_set
from morex.data.images import ImageSet
from morex.data.load import Data, load_data

__all__ = [
    "Augment",
    "Data",
    "DataError",
    "ImageSet",
    "PublishedCorruptions",
    "as_image_set",
    "load_data",
    "load_extra",
    "read_pictures",
]
