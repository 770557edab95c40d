"""Reading data sets from files: what is inside scikit-learn, and torchvision's layouts with their checksums."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cladec_core.data.datasets import EMBEDDED
from cladec_core.errors import RunError

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
Split = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Request:
    """What a reader is asked for.

    Attributes
    ----------
    data_dir
        Folder of data sets, in torchvision's layout.
    size
        Side of the images that are wanted, in pixels; a reader may give other sizes, and images are resized later.
    skip_unreadable
        Whether image files that cannot be read are left out.
    """

    data_dir: Path
    size: int
    skip_unreadable: bool


@dataclass(frozen=True)
class Stored:
    """Images as they are stored.

    Attributes
    ----------
    train, test
        uint8 images of shape (n, channels, height, width), and int64 labels of shape (n,).
    notes
        What a reader of results should know of how the images were read.
    """

    train: Split
    test: Split
    notes: tuple[str, ...] = ()


Reader = Callable[[Request], Stored]


def digits(_: Request) -> Stored:
    """Read the 8x8 digits inside scikit-learn, with a fixed split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    # Grey values 0..16 -> 0..255. The split is part of the data set, so it does not depend on the run's seed.
    images = np.round(bunch.images[:, None] * (255 / 16)).astype(np.uint8)
    parts = train_test_split(images, bunch.target, test_size=360, stratify=bunch.target, random_state=0)
    train, test, train_labels, test_labels = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
    return Stored((train, train_labels), (test, test_labels))


def torchvision_set(class_name: str) -> Reader:
    """Make the reader of one of torchvision's data sets."""

    def read(request: Request) -> Stored:
        import torchvision

        dataset, root = getattr(torchvision.datasets, class_name), request.data_dir
        try:
            splits = [dataset(root, train=train, download=False) for train in (True, False)]
        except Exception:  # torchvision tells "absent" and "damaged" apart by prose only
            splits = _download(dataset, root)
        _check_idx_files(class_name, root)
        train, test = ((_as_nchw(split.data), torch.as_tensor(split.targets)) for split in splits)
        return Stored(train, test)

    return read


def _download(dataset: type[Any], root: Path) -> list[Any]:
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
