"""Which files of a folder of images are a data set: their classes, the side of the split, and the order.

Sorted by path, images come class by class, and the first N of them would be of a few classes only. So each side is
shuffled, once and for all, by a hash of the files' names, and the classes take turns: the first N images hold the
classes in the proportions of all images, whatever N is.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cladec_core.errors import UsageError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SIDES = ("train", "test")
TEST_SHARE = 5  # where the folder has no sides, one image in so many of each class is for testing
NAMED = 3  # how many files or classes a message names


@dataclass(frozen=True)
class ImageFile:
    """One file of a folder.

    Attributes
    ----------
    name
        Path below the data set's folder, with slashes.
    label
        Place of its class in the sorted list of classes.
    size, modified
        Bytes, and time of the last change in nanoseconds.
    """

    name: str
    label: int
    size: int
    modified: int


ByClass = dict[str, list[ImageFile]]


@dataclass(frozen=True)
class Listing:
    """The image files of a folder, in the order of the data set; nothing is decoded yet.

    Attributes
    ----------
    root
        The folder, resolved.
    classes
        Names of the class folders, sorted: the label of a class is its place here.
    train, test
        The files of each side.
    split
        Where the sides come from, in words.
    """

    root: Path
    classes: tuple[str, ...]
    train: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]
    split: str

    @property
    def files(self) -> tuple[ImageFile, ...]:
        """The files of the training side, then those of the test side."""
        return self.train + self.test

    @property
    def digest(self) -> str:
        """SHA-256 of the names and sizes of all files, wherever the folder lies."""
        text = json.dumps([(file.name, file.size) for file in self.files])
        return hashlib.sha256(text.encode()).hexdigest()


def list_folder(root: Path) -> Listing:
    """Find the images of a folder, with their classes and sides.

    Parameters
    ----------
    root
        Holds `train/` and `test/` with a folder for each class, or the class folders themselves; then a fifth of each
        class, the files whose names have the smallest hashes, is for testing. Images in folders inside a class belong
        to the class. Hidden files, and those whose names do not end in one of `SUFFIXES`, are passed over.

    Raises
    ------
    UsageError
        If there is no such folder, or it has one side without the other, no images in class folders, only one class,
        other classes in `train/` than in `test/`, or a class with too few images to be split.
    """
    root = root.resolve()
    if not root.is_dir():
        raise UsageError(f"{root} is no folder; valid: a folder of images with train/ and test/, or of class folders.")
    try:
        sides = _sides(root)
        found = [_by_class(root, side) for side in sides or [""]]
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be listed ({error.strerror}).") from error
    for side, classes in zip(sides or [""], found, strict=True):
        _check_classes(root / side, classes)
    train, test = found if sides else _split(root, found[0])
    _check_same(root, train, test)
    split = "split by folders" if sides else f"1 in {TEST_SHARE} of each class for testing, by a hash of the names"
    return Listing(root, tuple(train), _in_turn(train), _in_turn(test), split)


def some(names: Sequence[str]) -> str:
    """List the first names for a message, and count the others."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _sides(root: Path) -> Sequence[str]:
    """Names of the two sides, or none if the folder holds classes; a class may have the name of a side."""
    there = [side for side in SIDES if (root / side).is_dir()]
    if len(there) == 1 and _folders(root / there[0]):
        (lacking,) = set(SIDES) - set(there)
        raise UsageError(f"{root} has {there[0]}/, but no {lacking}/; valid: both, or class folders alone.")
    return SIDES if len(there) == len(SIDES) else ()


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _by_class(root: Path, side: str) -> ByClass:
    """The files of each class folder that has any."""
    found: ByClass = {}
    for name in _folders(root / side):
        files = _below(root / side / name, f"{side}/{name}" if side else name)
        listed = [ImageFile(path, len(found), stat.st_size, stat.st_mtime_ns) for path, stat in files]
        if listed:
            found[name] = listed
    return found


def _below(folder: str | Path, name: str) -> Iterator[tuple[str, os.stat_result]]:
    """Paths and sizes of image files; `os.scandir`, as `pathlib` takes seconds for 60,000 files."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _below(entry.path, f"{name}/{entry.name}")
            elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
                yield f"{name}/{entry.name}", entry.stat()


def _check_classes(folder: Path, found: ByClass) -> None:
    if not found:
        raise UsageError(
            f"{folder} holds no images in class folders; valid: a folder for each class, with files that end in "
            f"{', '.join(SUFFIXES)}."
        )
    if len(found) == 1:
        raise UsageError(f"{folder} has images of one class only ({next(iter(found))}); valid: from 2 class folders.")


def _check_same(root: Path, train: ByClass, test: ByClass) -> None:
    only = {"train": sorted(train.keys() - test.keys()), "test": sorted(test.keys() - train.keys())}
    told = "; ".join(f"only in {side}/: {some(names)}" for side, names in only.items() if names)
    if told:
        raise UsageError(f"{root}: train/ and test/ have different classes ({told}); valid: the same in both.")


def _split(root: Path, found: ByClass) -> tuple[ByClass, ByClass]:
    train: ByClass = {}
    test: ByClass = {}
    for name, files in found.items():
        if len(files) < 2:
            raise UsageError(f"{root}: class {name} has 1 image; valid: from 2, one to train and one to test.")
        ordered, count = sorted(files, key=_hash), max(1, len(files) // TEST_SHARE)
        train[name], test[name] = ordered[count:], ordered[:count]
    return train, test


def _hash(file: ImageFile) -> bytes:
    return hashlib.sha256(os.fsencode(file.name)).digest()


def _in_turn(found: ByClass) -> tuple[ImageFile, ...]:
    """Shuffle, stratified: of the n files of a class, the i-th stands at (i + 1/2) / n of the whole.

    Files of equally large classes meet at the same places, so each round has one file of each class. The hash that
    orders a class would let a class that leads a round lead the next one, too; so the order within a round is that of
    the hash read backwards.
    """
    placed = []
    for files in found.values():
        for place, (digest, file) in enumerate(sorted((_hash(file), file) for file in files)):
            placed.append(((place + 0.5) / len(files), digest[::-1], file))
    return tuple(file for *_, file in sorted(placed, key=lambda each: each[:2]))
