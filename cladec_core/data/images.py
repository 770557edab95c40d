"""Data sets as tensors: standardised, whole, and on the device that trains.

The data sets are small enough to live in memory as one tensor, so a batch is an index into it and no loader process is
needed. `digits` (inside scikit-learn) needs no download; the others come through torchvision.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cladec_core.data.files import Split, digits, torchvision_set
from cladec_core.errors import UsageError, one_of

SIZE = 32
FASHION_CLASSES = "T-shirt, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot".split(", ")
DIGIT_CLASSES = [str(digit) for digit in range(10)]
RESIZE_MODES = ("nearest", "bilinear")


@dataclass(frozen=True)
class ImageData:
    """One data set, standardised (unless it was loaded otherwise) and on one device.

    Attributes
    ----------
    name
        Key in `DATASETS`.
    classes
        Class names, in label order.
    train_images, test_images
        float32 of shape (n, channels, 32, 32); per channel zero mean and unit variance over the training
        images.
    train_labels, test_labels
        int64 of shape (n,).
    mean, std
        float32 of shape (channels, 1, 1): the training statistics, in units of [0, 1] grey values; 0 and 1 for
        images that are grey values themselves.
    """

    name: str
    classes: tuple[str, ...]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: Tensor
    std: Tensor

    @property
    def channels(self) -> int:
        """Number of colour channels."""
        return self.train_images.shape[1]

    def to_unit(self, images: Tensor) -> Tensor:
        """Turn standardised images back into grey values in [0, 1] (not clipped)."""
        return images * self.std.to(images) + self.mean.to(images)

    def to(self, device: torch.device) -> "ImageData":
        """Copy all tensors to a device."""
        moved = {key: value.to(device) for key, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def default_data_dir() -> Path:
    """Where torchvision data sets live: `$CLADEC_DATA`, or a cache folder of the user's."""
    return Path(os.environ.get("CLADEC_DATA") or Path.home() / ".cache" / "cladec" / "data")


def load(
    name: str,
    data_dir: Path | str | None = None,
    *,
    resize: str = "nearest",
    standardise: bool = True,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> ImageData:
    """Read a data set, resize it to 32x32 and standardise it per channel (readings C-6, C-7).

    Parameters
    ----------
    name
        One of `DATASETS`.
    data_dir
        Folder in torchvision's layout; the default is `default_data_dir()`. Missing files are downloaded.
    resize
        "nearest" (the authors' code) or "bilinear" (robustness check).
    standardise
        If not, images are grey values in [0, 1] (the authors' code).
    train_limit, test_limit
        Keep only the first so many images.

    Raises
    ------
    UsageError
        For an unknown name or resize mode.
    RunError
        If files are missing and cannot be downloaded, or are damaged.
    """
    one_of("dataset", name, DATASETS)
    one_of("resize mode", resize, RESIZE_MODES)
    reader, classes = DATASETS[name]
    splits = reader(Path(data_dir) if data_dir else default_data_dir())
    (train, train_labels), (test, test_labels) = (
        (_resize(images[:limit], resize), labels[:limit].long())
        for (images, labels), limit in zip(splits, (train_limit, test_limit), strict=True)
    )
    mean = train.mean(dim=(0, 2, 3)).view(-1, 1, 1)
    std = train.std(dim=(0, 2, 3), correction=0).view(-1, 1, 1)
    names = tuple(classes or (str(label) for label in range(int(train_labels.max()) + 1)))
    if not standardise:
        mean, std = torch.zeros_like(mean), torch.ones_like(std)
    for images in (train, test):
        images.sub_(mean).div_(std)
    return ImageData(name, names, train, train_labels, test, test_labels, mean, std)


def _resize(images: Tensor, mode: str) -> Tensor:
    """uint8 (n, channels, height, width) -> float32 (n, channels, 32, 32) in [0, 1]."""
    unit = images.float().div_(255)
    if unit.shape[-1] == SIZE:
        return unit
    return F.interpolate(unit, size=SIZE, mode=mode, **({"align_corners": False} if mode == "bilinear" else {}))


# name -> (reader, class names or None for the numbers)
DATASETS: dict[str, tuple[Callable[[Path], tuple[Split, Split]], list[str] | None]] = {
    "digits": (digits, DIGIT_CLASSES),
    "mnist": (torchvision_set("MNIST"), DIGIT_CLASSES),
    "fashion_mnist": (torchvision_set("FashionMNIST"), FASHION_CLASSES),
    "cifar10": (torchvision_set("CIFAR10"), None),
    "cifar100": (torchvision_set("CIFAR100"), None),
}


def check_limit(name: str, limit: int | None) -> None:
    """Refuse a number of images that is not a positive integer.

    Raises
    ------
    UsageError
        If it is below 1; None, for all images, is fine.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"{name} is {limit}; valid: an integer from 1, or None for all images.")
