"""Data sets as tensors: standardised, whole, and on the device that trains.

The data sets are small enough to live in memory as one tensor, so a batch is an index into it and no loader process is
needed. `digits` (inside scikit-learn) needs no download; the others come through torchvision.
"""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cladec_core.data.datasets import RESIZE_MODES, SIZE, data_set
from cladec_core.data.files import Request
from cladec_core.data.reading import read
from cladec_core.errors import UsageError, one_of


@dataclass(frozen=True)
class ImageData:
    """One data set, standardised (unless it was loaded otherwise) and on one device.

    Attributes
    ----------
    name
        As `load` was asked for it: a key of `DATASETS`, or `folder:PATH`.
    title
        As pages write it.
    classes
        Class names, in label order.
    train_images, test_images
        float32 of shape (n, channels, size, size); per channel zero mean and unit variance over the training
        images.
    train_labels, test_labels
        int64 of shape (n,).
    mean, std
        float32 of shape (channels, 1, 1): the training statistics, in units of [0, 1] grey values; 0 and 1 for
        images that are grey values themselves. The deviation of a channel that is constant counts as 1.
    notes
        What a reader of results should know of how the images were made: the order, resizing, files left out.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: Tensor
    std: Tensor
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Number of colour channels."""
        return self.train_images.shape[1]

    @property
    def size(self) -> int:
        """Height and width of the images in pixels."""
        return self.train_images.shape[-1]

    def to_unit(self, images: Tensor) -> Tensor:
        """Turn standardised images back into grey values in [0, 1] (not clipped)."""
        return images * self.std.to(images) + self.mean.to(images)

    def to(self, device: torch.device) -> "ImageData":
        """Copy all tensors to a device."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        moved: dict[str, Any] = {name: part.to(device) for name, part in values.items() if isinstance(part, Tensor)}
        return replace(self, **moved)


def default_data_dir() -> Path:
    """Where torchvision data sets live: `$CLADEC_DATA`, or a cache folder of the user's."""
    return Path(os.environ.get("CLADEC_DATA") or Path.home() / ".cache" / "cladec" / "data")


def load(
    name: str,
    data_dir: Path | str | None = None,
    *,
    size: int = SIZE,
    resize: str = "nearest",
    standardise: bool = True,
    train_limit: int | None = None,
    test_limit: int | None = None,
    skip_unreadable: bool = False,
) -> ImageData:
    """Read a data set, resize it and standardise it per channel.

    Parameters
    ----------
    name
        One of `DATASETS`, or `folder:PATH` for a folder of images (see `list_folder`).
    data_dir
        Folder in torchvision's layout; the default is `default_data_dir()`. Missing files are downloaded. CIFAR-100
        may also be the image folders `cifar100/train/CLASS/` and `cifar100/test/CLASS/` in it.
    size
        Height and width in pixels.
    resize
        How images are enlarged: "nearest" (the authors' code) or "bilinear" (robustness check). Images that are larger
        are always shrunk by bilinear interpolation with antialiasing, and so is a folder with images of several sizes.
    standardise
        If not, images are grey values in [0, 1] (the authors' code).
    train_limit, test_limit
        Keep only the first so many images.
    skip_unreadable
        Whether files of an image folder that cannot be read are left out; else they are an error.

    Raises
    ------
    UsageError
        For an unknown name or resize mode, a size below 1, or a folder that cannot be a data set.
    RunError
        If files are missing and cannot be downloaded, or are damaged.
    """
    one_of("resize mode", resize, RESIZE_MODES)
    if size < 1:
        raise UsageError(f"size is {size}; valid: an integer from 1.")
    chosen = data_set(name)
    stored = read(chosen, Request(Path(data_dir) if data_dir else default_data_dir(), size, skip_unreadable))
    (train, train_labels), (test, test_labels) = (
        (_resized(images[:limit], size, resize), labels[:limit].long())
        for (images, labels), limit in zip((stored.train, stored.test), (train_limit, test_limit), strict=True)
    )
    mean = train.mean(dim=(0, 2, 3)).view(-1, 1, 1)
    std = train.std(dim=(0, 2, 3), correction=0).view(-1, 1, 1)
    std[std == 0] = 1
    if not standardise:
        mean, std = torch.zeros_like(mean), torch.ones_like(std)
    for images in (train, test):
        images.sub_(mean).div_(std)
    height, width = stored.train[0].shape[2:]
    notes = stored.notes
    if (height, width) != (size, size):
        notes += (f"resized to {size}x{size} from {height}x{width}",)
    return ImageData(name, chosen.title, chosen.classes, train, train_labels, test, test_labels, mean, std, notes)


def _resized(images: Tensor, size: int, mode: str) -> Tensor:
    """uint8 (n, channels, height, width) -> float32 (n, channels, size, size) in [0, 1]."""
    unit = images.float().div_(255)
    if unit.shape[2:] == (size, size):
        return unit
    if max(unit.shape[2:]) > size:  # nearest would drop whole rows
        return F.interpolate(unit, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    if mode == "bilinear":
        return F.interpolate(unit, size=(size, size), mode=mode, align_corners=False)
    return F.interpolate(unit, size=(size, size), mode=mode)
