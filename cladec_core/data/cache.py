"""Decoded images kept on disk, so that a folder of image files is decoded once."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

Kept = tuple[Tensor, dict[str, Any]]


def default_cache_dir() -> Path:
    """Where decoded images are kept: `$CLADEC_CACHE`, or a cache folder of the user's."""
    return Path(os.environ.get("CLADEC_CACHE") or Path.home() / ".cache" / "cladec" / "decoded")


def read_cache(path: Path, key: str) -> Kept | None:
    """Read a tensor and what was stored with it.

    Parameters
    ----------
    path
        File of `write_cache`.
    key
        What the tensor was made from.

    Returns
    -------
    tuple or None
        The tensor and its facts; None if the file is missing, damaged, or made from something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            stored = file.metadata() or {}
            images = file.get_tensor("images")
        intact = stored["key"] == key and stored["sha256"] == _digest(images, stored["facts"])
        return (images, json.loads(stored["facts"])) if intact else None
    except (OSError, SafetensorError, KeyError):
        return None


def write_cache(path: Path, key: str, images: Tensor, facts: dict[str, Any]) -> None:
    """Store a tensor and facts about it; a reader finds the old file or the whole new one.

    Parameters
    ----------
    path
        File to make, with its folders.
    key
        What the tensor was made from.
    images
        A contiguous tensor.
    facts
        JSON types.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    told = json.dumps(facts)
    try:
        save_file({"images": images}, temporary, {"key": key, "facts": told, "sha256": _digest(images, told)})
        os.replace(temporary, path)
    except SafetensorError as error:  # a full disk, among others
        raise OSError(str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _digest(images: Tensor, facts: str) -> str:
    digest = hashlib.sha256(f"{facts}{tuple(images.shape)}{images.dtype}".encode())
    digest.update(images.numpy().reshape(-1).data)  # a flat view may be empty
    return digest.hexdigest()
