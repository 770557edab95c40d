"""What each data set is: its title, classes and sizes. Importing this module imports no torch."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cladec_core.data.listing import Listing, list_folder
from cladec_core.errors import UsageError, one_of

SIZE = 32  # of the papers' images (readings C-6, C-7)
RESIZE_MODES = ("nearest", "bilinear")
EMBEDDED = "digits"
FOLDER = "folder:"
DIGIT_CLASSES = tuple("0123456789")
FASHION_CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_CLASSES = (
    "apple", "aquarium fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple tree", "motorcycle", "mountain", "mouse", "mushroom", "oak tree", "orange", "orchid",
    "otter", "palm tree", "pear", "pickup truck", "pine tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow tree", "wolf",
    "woman", "worm",
)  # fmt: skip


@dataclass(frozen=True)
class DataSet:
    """A data set, before it is read.

    Attributes
    ----------
    name
        What `load` takes: a key of `DATASETS`, or `folder:PATH`.
    key
        What stands for it in the names of a record's cells and of files: the name, or for a folder the last part of
        its path with eight characters of a digest of the names and sizes of its images.
    title
        As pages write it.
    classes
        Class names, in label order.
    channels
        Colour channels; None for a folder, whose images decide between 1 and 3 when they are decoded.
    stored_size
        Height and width of the stored images in pixels; None for a folder.
    train_count, test_count
        How many images there are to train and to test.
    listing
        The files of a folder; None for the others.
    """

    name: str
    key: str
    title: str
    classes: tuple[str, ...]
    channels: int | None
    stored_size: tuple[int, int] | None
    train_count: int
    test_count: int
    listing: Listing | None = None


_MNIST_COUNTS, _CIFAR_COUNTS = (60_000, 10_000), (50_000, 10_000)
DATASETS = {
    name: DataSet(name, name, title, classes, channels, (side, side), *counts)
    for name, title, classes, channels, side, counts in (
        (EMBEDDED, "Digits", DIGIT_CLASSES, 1, 8, (1_437, 360)),
        ("mnist", "MNIST", DIGIT_CLASSES, 1, 28, _MNIST_COUNTS),
        ("fashion_mnist", "Fashion-MNIST", FASHION_CLASSES, 1, 28, _MNIST_COUNTS),
        ("cifar10", "CIFAR-10", CIFAR10_CLASSES, 3, 32, _CIFAR_COUNTS),
        ("cifar100", "CIFAR-100", CIFAR100_CLASSES, 3, 32, _CIFAR_COUNTS),
    )
}


def data_set(name: str) -> DataSet:
    """Say what a data set is, without reading its images.

    Parameters
    ----------
    name
        One of `DATASETS`, or `folder:PATH`; then the files of the folder are listed.

    Raises
    ------
    UsageError
        For an unknown name, or a folder that cannot be a data set (see `list_folder`).
    """
    folder = _folder(name)
    if folder is None:
        one_of("dataset", name, [*DATASETS, f"{FOLDER}PATH"])
        return DATASETS[name]
    listing = list_folder(folder)
    counts = len(listing.train), len(listing.test)
    title = listing.root.name or str(listing.root)
    return DataSet(name, _key(listing), title, listing.classes, None, None, *counts, listing)


def record_key(name: str) -> str:
    """Give the key of a data set (see `DataSet`, and `data_set` for what is refused); a folder is listed once."""
    folder = _folder(name)
    return data_set(name).key if folder is None else _folder_key(folder)


def _folder(name: str) -> Path | None:
    path = name.removeprefix(FOLDER)
    return Path(path).expanduser().resolve() if path and path != name else None


@cache
def _folder_key(folder: Path) -> str:
    return _key(list_folder(folder))


def _key(listing: Listing) -> str:
    stem = re.sub(r"[^A-Za-z0-9]+", "_", listing.root.name).strip("_")[:40]
    return f"{stem or 'folder'}-{listing.digest[:8]}"


def check_limit(name: str, limit: int | None) -> None:
    """Refuse a number of images that is not a positive integer.

    Raises
    ------
    UsageError
        If it is below 1; None, for all images, is fine.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"{name} is {limit}; valid: an integer from 1, or None for all images.")
