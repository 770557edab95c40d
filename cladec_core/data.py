"""Data sets as tensors: 32x32, standardised, whole, and on the device that trains.

The five data sets are small enough to live in memory as one tensor, so a batch is an index into it and no
loader process is needed. `digits` (inside scikit-learn) needs no download; the others come through
torchvision.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cladec_core.errors import RunError, UsageError, one_of

SIZE = 32
EMBEDDED = "digits"
FASHION_CLASSES = "T-shirt, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot".split(", ")
DIGIT_CLASSES = [str(digit) for digit in range(10)]
RESIZE_MODES = ("nearest", "bilinear")

# SHA-256 of the unpacked files. torchvision checks only that they exist, so a truncated file, or MNIST put
# in Fashion-MNIST's place, would pass unseen.
_IDX_SHA256 = {
    "MNIST": {
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    },
    "FashionMNIST": {
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    },
}


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


Split = tuple[Tensor, Tensor]


def _digits(_: Path) -> tuple[Split, Split]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    # Grey values 0..16 -> 0..255. The split is part of the data set, so it does not depend on the run's seed.
    images = np.round(bunch.images[:, None] * (255 / 16)).astype(np.uint8)
    parts = train_test_split(images, bunch.target, test_size=360, stratify=bunch.target, random_state=0)
    train, test, train_labels, test_labels = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
    return (train, train_labels), (test, test_labels)


def _torchvision(class_name: str) -> Callable[[Path], tuple[Split, Split]]:
    def read(root: Path) -> tuple[Split, Split]:
        import torchvision

        dataset = getattr(torchvision.datasets, class_name)
        try:
            splits = [dataset(root, train=train, download=False) for train in (True, False)]
        except Exception:  # torchvision tells "absent" and "damaged" apart by prose only
            splits = _download(dataset, root)
        _check_idx_files(class_name, root)
        return tuple((_as_nchw(split.data), torch.as_tensor(split.targets)) for split in splits)

    return read


def _download(dataset: type, root: Path) -> list:
    try:
        root.mkdir(parents=True, exist_ok=True)
        return [dataset(root, train=train, download=True) for train in (True, False)]
    except Exception as error:
        damaged = _check_idx_files(dataset.__name__, root, complain=False)
        what = f"damaged ({', '.join(damaged)})" if damaged else "missing"
        raise RunError(
            f"{dataset.__name__} is {what} in {root} and cannot be downloaded ({type(error).__name__}). "
            f"Put its files there, or point CLADEC_DATA or --data-dir to them; "
            f"the dataset {EMBEDDED!r} needs no download."
        ) from error


def _check_idx_files(class_name: str, root: Path, complain: bool = True) -> list[str]:
    """Name the MNIST-style files that exist and are not what they should be."""
    damaged = []
    for name, digest in _IDX_SHA256.get(class_name, {}).items():
        path = root / class_name / "raw" / name
        if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            damaged.append(name)
    if damaged and complain:
        raise RunError(
            f"{root / class_name / 'raw'}: {', '.join(damaged)} differs from the published file (truncated or "
            f"swapped). Delete it and it is downloaded again."
        )
    return damaged


def _as_nchw(images: Tensor | np.ndarray) -> Tensor:
    images = torch.as_tensor(images)
    return images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()


# name -> (reader, class names or None for the numbers)
DATASETS: dict[str, tuple[Callable[[Path], tuple[Split, Split]], list[str] | None]] = {
    "digits": (_digits, DIGIT_CLASSES),
    "mnist": (_torchvision("MNIST"), DIGIT_CLASSES),
    "fashion_mnist": (_torchvision("FashionMNIST"), FASHION_CLASSES),
    "cifar10": (_torchvision("CIFAR10"), None),
    "cifar100": (_torchvision("CIFAR100"), None),
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
