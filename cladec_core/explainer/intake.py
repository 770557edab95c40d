"""A user's images and labels as checked tensors, and how much memory is left for what is made of them."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cladec_core.errors import UsageError

Images = Tensor | Dataset[Any] | DataLoader[Any]
Labels = Tensor | Sequence[int] | None
BATCH = 64
FAR = 5.0  # times the range of the values in `fit`: what is as far outside has other units


def checked_channels(channels: Any) -> list[int] | None:
    """Read a channel, or several (of a list, an array or a tensor); None stands for all.

    Raises
    ------
    UsageError
        For anything but whole numbers from 0, each once.
    """
    if channels is None:
        return None
    try:
        found = np.asarray(channels.tolist() if isinstance(channels, Tensor) else channels)
    except (TypeError, ValueError):
        found = np.array(str(channels))
    listed = found.ravel().tolist()
    if found.dtype.kind not in "iu" or found.ndim > 1 or min(listed, default=-1) < 0 or len(set(listed)) < len(listed):
        raise UsageError(f"channels is {channels!r}; valid: whole numbers from 0, each once, or None for all.")
    return listed


def checked_integer(name: str, value: Any, low: int) -> int:
    """Read a whole number, also of NumPy's.

    Raises
    ------
    UsageError
        For anything else, or a smaller one than `low`.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < low:
        raise UsageError(f"{name} is {value!r}; valid: a whole number from {low}.")
    return int(value)


def checked_number(name: str, value: Any, low: float, high: float, valid: str) -> float:
    """Read a number, also of NumPy's.

    Raises
    ------
    UsageError
        For anything else, a number outside its limits, or 0 where there is no upper one.
    """
    number = float(value) if isinstance(value, int | float | np.number) and not isinstance(value, bool) else math.nan
    if not low <= number <= high or (high == math.inf and number == low):
        raise UsageError(f"{name} is {value!r}; valid: {valid}.")
    return number


def gather(images: Images, labels: Labels, *, unit: bool, fewest: int = 1) -> tuple[Tensor, Tensor | None]:
    """Read images, and labels where there are any, into memory.

    Parameters
    ----------
    images
        A Tensor, or a Dataset or DataLoader of images or (image, label, ...).
    labels
        Integers, one for each image; None to take those that come with the images, if they are integers.
    unit
        Whether values must be in [0, 1], as a preprocessing expects.
    fewest
        Images that are needed.

    Returns
    -------
    images
        float32, (n, channels, height, width), on the CPU; uint8 has become [0, 1].
    labels
        int64, (n,), or None.

    Raises
    ------
    UsageError
        For anything that is not a batch of finite images of one size, too few of them, or labels that do not fit.
    """
    if isinstance(images, DataLoader | Dataset | Sequence):
        images, found = _read(images if isinstance(images, DataLoader) else DataLoader(images, BATCH))
        labels = found if labels is None else labels
    images = as_images(images, unit=unit)
    if len(images) < fewest:
        raise UsageError(f"{len(images)} images; valid: at least {fewest} (a batch).")
    return images, None if labels is None else _as_labels(labels, len(images))


def _as_labels(labels: Any, images: int) -> Tensor:
    try:
        found = np.asarray(labels.tolist() if isinstance(labels, Tensor) else labels)
    except (TypeError, ValueError):  # such as rows of several lengths
        found = np.array(str(labels))
    if found.shape != (images,) or found.dtype.kind not in "biu":
        raise UsageError(
            f"labels of shape {found.shape} start with {found.ravel()[:3].tolist()}; valid: shape ({images},), with "
            f"integers 0 to K - 1 for the model's K classes."
        )
    return torch.from_numpy(found.astype(np.int64))


def checked_labels(labels: Tensor | None, classes: int) -> Tensor:
    """Check labels against the number of a classifier's classes, and return them.

    Raises
    ------
    UsageError
        If there are none, or other integers than 0 to classes - 1 among them.
    """
    if labels is None:
        pairs = f"a Dataset or DataLoader of (image, label), integers 0 to {classes - 1}"
        raise UsageError(f"Labels are missing; pass labels=..., or {pairs}.")
    if not 0 <= labels.min() <= labels.max() < classes:
        raise UsageError(f"labels are {labels.min()} to {labels.max()}; valid for this model: 0 to {classes - 1}.")
    return labels


def as_images(
    images: Any,
    *,
    unit: bool,
    shape: Sequence[int] | None = None,
    value_range: tuple[float, float] = (-math.inf, math.inf),
) -> Tensor:
    """Check images, or a single one, and return them as float32 (n, channels, height, width) on the CPU.

    Parameters
    ----------
    images
        Of any kind.
    unit
        Whether values must be in [0, 1].
    shape, value_range
        Of an image, and the lowest and highest value, in `fit`.

    Raises
    ------
    UsageError
        For another type or shape, values that are not finite, outside [0, 1] for `unit`, or so far outside the range
        that they must be in other units than in `fit`.
    """
    if not isinstance(images, Tensor) or not (images.is_floating_point() or images.dtype == torch.uint8):
        what = getattr(images, "dtype", type(images).__name__)
        raise UsageError(f"Images are {what}; valid: a floating-point or uint8 Tensor, a Dataset or a DataLoader.")
    batch: Tensor = images.detach().cpu()
    batch = batch[None] if batch.ndim == 3 else batch
    if batch.ndim != 4 or not batch.numel() or (shape is not None and batch.shape[1:] != torch.Size(shape)):
        wanted = "(n, channels, height, width)" if shape is None else f"(n, {', '.join(map(str, shape))}), as in fit"
        raise UsageError(f"Images have the shape {tuple(batch.shape)}; valid: {wanted}.")
    batch = batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()
    damaged = (~batch.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    if damaged:
        raise UsageError(f"{len(damaged)} of {len(batch)} images have NaN or infinite values, first {damaged[0]}.")
    low, high = batch.min().item(), batch.max().item()
    if unit and (low < -1e-3 or high > 1 + 1e-3):
        raise UsageError(
            f"Images have values from {low:.3g} to {high:.3g}, but preprocess expects [0, 1] (or uint8); leave it out "
            f"if they are preprocessed already."
        )
    least, most = value_range
    if max(least - low, high - most) > FAR * (most - least):
        raise UsageError(
            f"Images have values from {low:.3g} to {high:.3g}, those of fit from {least:.3g} to {most:.3g}; valid: the "
            f"same units as in fit."
        )
    return batch


def _read(loader: DataLoader[Any]) -> tuple[Tensor, Tensor | None]:
    images, labels = [], []
    try:
        for batch in loader:
            image, *others = batch if isinstance(batch, tuple | list) else (batch,)
            images.append(image)
            labels += others[:1]
        everything = torch.cat(images)
    except (TypeError, RuntimeError) as error:  # torch's words for items that cannot be stacked
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"The images cannot be stacked; valid: tensors of one size ({reason}).") from error
    labelled = len(labels) == len(images) and all(isinstance(label, Tensor) and label.ndim == 1 for label in labels)
    return everything, torch.cat(labels) if labelled and not labels[0].is_floating_point() else None


def digest(images: Tensor, labels: Tensor | None, asked: object) -> str:
    """SHA-256 of images, labels and whatever else decides what is made of them."""
    found = hashlib.sha256(repr((tuple(images.shape), asked)).encode())
    for part in (images, labels):
        if part is not None:
            found.update(part.contiguous().numpy().data)
    return found.hexdigest()


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on a device; of the CPU within the limits of a container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = [_number("/proc/meminfo", "MemAvailable:", 4 * 2**20) * 1024]  # elsewhere than on Linux: a guess
    limit = _number("/sys/fs/cgroup/memory.max", "", 0)
    return min([*free, limit - _number("/sys/fs/cgroup/memory.current", "", 0)] if limit else free)


def peak_memory(device: torch.device) -> int:
    """Bytes that this process, or on CUDA its tensors, have taken at most so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _number("/proc/self/status", "VmHWM:", 0) * 1024


def _number(path: str, name: str, otherwise: int) -> int:
    """The number that follows a name in a file of the system's."""
    try:
        words = Path(path).read_text(encoding="utf-8").split()
        return int(words[words.index(name) + 1 if name else 0])
    except (OSError, ValueError):
        return otherwise
