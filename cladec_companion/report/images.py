"""Images from a folder, as a viewer shows them."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cladec_companion.report import SIDES
from cladec_companion.report.labels import number_classes
from cladec_core import data
from cladec_core.errors import UsageError
from cladec_core.explainer import intake
from cladec_core.explainer.cladec import FEWEST

LEAST_IMAGES = FEWEST * 3 // 2
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # means and deviations of red, green and blue


@dataclass(frozen=True)
class Folder:
    """Images of one size from a folder.

    Attributes
    ----------
    images
        float32 in [0, 1], (n, channels, height, width).
    names
        Paths below the folder, in printable characters.
    labels
        int64, (n,), or None.
    classes
        Names of the classes, in label order; empty without labels.
    alphabetical
        Whether the classes are in alphabetical order, as nothing says how the model numbers them.
    skipped
        "path: reason" for each file that is no readable image.
    """

    images: Tensor
    names: list[str]
    labels: Tensor | None
    classes: list[str]
    alphabetical: bool
    skipped: list[str]


def read_folder(
    folder: Path,
    channels: int,
    *,
    size: tuple[int, int] | None = None,
    labelled: bool = False,
    classes: Sequence[str] | None = None,
) -> Folder:
    """Read the images below a folder; what is no image is listed and left out.

    Parameters
    ----------
    folder
        Searched with its subfolders.
    channels
        1 for grey, 3 for colour; the images are converted.
    size
        (height, width) to resize to; None if all images have one size.
    labelled
        The first level of subfolders names the classes.
    classes
        Their names in the order of the model's outputs; None: alphabetical order, as torchvision's `ImageFolder`
        has it. An empty subfolder keeps its number.

    Raises
    ------
    UsageError
        For a missing folder, too few readable images, several sizes without `size`, too large images, too few
        classes, or a subfolder that is none of `classes`.
    """
    if not folder.is_dir():
        raise UsageError(f"--images {folder} is no folder.")
    known = number_classes(folder, classes) if labelled else {}
    images: list[Tensor] = []
    names, labels, skipped = [], [], []
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    for path in paths:
        name, parts = printable(str(path.relative_to(folder))), path.relative_to(folder).parts
        if labelled and (len(parts) < 2 or parts[0] not in known):
            skipped.append(f"{name}: in no class folder")
            continue
        image = _read(path, channels, size)
        if isinstance(image, str):
            skipped.append(f"{name}: {image}")
            continue
        images.append(image)
        names.append(name)
        labels.append(known[parts[0]] if labelled else 0)
        if len(images) == 1:
            _check_memory(folder, len(paths), images[0])
    if len(images) < LEAST_IMAGES:
        left = f"; left out: {', '.join(skipped[:3])}" if skipped else ""
        raise UsageError(f"--images {folder} has {len(images)} readable images; valid: from {LEAST_IMAGES}{left}.")
    _check_sizes(folder, {tuple(image.shape[1:]) for image in images})
    if labelled and len(set(labels)) < 2:
        raise UsageError(f"--labels from-folders: {folder} has {len(set(labels))} classes with images; valid: from 2.")
    pixels = torch.stack(images).float() / 255
    ordered = [printable(name) for name in sorted(known, key=known.__getitem__)]
    truth = torch.tensor(labels) if labelled else None
    return Folder(pixels, names, truth, ordered, classes is None, skipped)


def _read(path: Path, channels: int, size: tuple[int, int] | None) -> Tensor | str:
    """A file as an image, resized if asked; the reason why there is none."""
    try:
        image = data.read_image(path, channels)
    except Exception as error:  # hostile files make Pillow raise errors of a dozen kinds
        return _reason(error)
    return data.resized(image, size) if size else image


def _check_memory(folder: Path, count: int, first: Tensor) -> None:
    """Refuse images that do not fit into the memory as float32, before they are read."""
    needed, free = 5 * count * first.numel(), intake.free_memory(torch.device("cpu"))  # as bytes, too, while read
    if needed > free:
        shape = "x".join(map(str, first.shape))
        raise UsageError(
            f"--images {folder} has {count} files; images of {shape} take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} "
            f"GB are free; valid: fewer images, or smaller ones by --size HxW."
        )


def _check_sizes(folder: Path, sizes: set[tuple[int, ...]]) -> None:
    if len(sizes) > 1:
        some = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:4])
        raise UsageError(f"--images {folder} has images of {len(sizes)} sizes ({some}, ...); name one with --size HxW.")
    height, width = next(iter(sizes))
    low, high = SIDES
    if not low <= min(height, width) <= max(height, width) <= high:
        raise UsageError(
            f"--images {folder} has images of {height}x{width}; valid: from {low}x{low} to {high}x{high}, to which "
            f"--size HxW brings them."
        )


def _reason(error: Exception) -> str:
    """Why a file was left out, in a few words."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no image"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    return printable(f"cannot be read ({type(error).__name__}: {error})"[:160])


def input_channels(model: nn.Module) -> int:
    """Colour channels that a model takes: those of its first convolution if they are 1 or 3, else 3."""
    first = next((part.in_channels for part in model.modules() if isinstance(part, nn.Conv2d)), 3)
    return first if first in (1, 3) else 3


def normalisation(text: str, arch: str, channels: int) -> tuple[Callable[[Tensor], Tensor] | None, str]:
    """Read `--normalise`: auto, none, imagenet, or MEAN,...:STD,... with a value per channel or one for all.

    Returns
    -------
    preprocess
        For images in [0, 1], or None.
    said
        What it does, in words.

    Raises
    ------
    UsageError
        For anything else.
    """
    from torchvision.transforms import Normalize

    if text == "auto":
        text = "imagenet" if arch.startswith("torchvision:") and channels == 3 else "none"
    if text == "none":
        return None, "none: the model takes values in [0, 1]"
    try:
        mean, std = IMAGENET if text == "imagenet" else (
            tuple(float(value) for value in part.split(",")) for part in text.split(":")
        )  # fmt: skip
        usable = all(map(math.isfinite, (*mean, *std))) and min(std) > 0
        if not usable or len(mean) != len(std) or len(mean) not in (1, channels):
            raise ValueError(text)
    except ValueError as error:
        raise UsageError(
            f"--normalise is {text!r}; valid: auto, none, imagenet (three channels), or means:deviations for "
            f"{channels} channel(s), such as 0.5:0.5."
        ) from error
    return Normalize(mean, std), f"(value - {list(mean)}) / {list(std)}"


def printable(name: str) -> str:
    """A name with characters that a page, a terminal and a spreadsheet show and do not obey."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    text = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return f"./{text}" if text.startswith(("=", "+", "-", "@")) else text
