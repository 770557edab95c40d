"""The pixels of a folder of image files, decoded once."""

import hashlib
import json
from pathlib import Path
from typing import Any

import PIL
import torch
from PIL import UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from cladec_core.data import pictures
from cladec_core.data.cache import Kept, default_cache_dir, read_cache, write_cache
from cladec_core.data.files import Request, Stored
from cladec_core.data.listing import SIDES, Listing, some
from cladec_core.errors import RunError


def read_folder(listing: Listing, request: Request) -> Stored:
    """Decode the images of a folder, or read them from the cache.

    Images of one size that is not larger than `request.size` stay as they are. All others are resized one by one to
    squares of that size (see `resized`). If every pixel of every image is grey, there is one channel, else three.

    Parameters
    ----------
    listing
        From `list_folder`.
    request
        The size, and whether unreadable files are left out.

    Raises
    ------
    RunError
        If files cannot be read: the message counts them and names the first. If they are to be left out, only if
        nothing of a class remains.
    """
    images, facts = _decoded(listing, request)
    unreadable: dict[str, str] = facts["unreadable"]
    sides = [[file.label for file in side if file.name not in unreadable] for side in (listing.train, listing.test)]
    for side, labels in zip(SIDES, sides, strict=True):
        lost = [listing.classes[label] for label in sorted(set(range(len(listing.classes))) - set(labels))]
        if lost:
            raise RunError(f"{listing.root}: no file to {side} of {some(lost)} can be read ({_told(unreadable)}).")
    train, test = images[: len(sides[0])], images[len(sides[0]) :]
    notes = [f"image folders, in an order shuffled by the files' names, {listing.split}", *facts["notes"]]
    if unreadable:
        notes.append(f"{len(unreadable)} unreadable files left out ({_told(unreadable)})")
    return Stored((train, torch.tensor(sides[0])), (test, torch.tensor(sides[1])), tuple(notes))


def _told(unreadable: dict[str, str]) -> str:
    return some([f"{name}: {reason}" for name, reason in unreadable.items()])


def _decoded(listing: Listing, request: Request) -> Kept:
    """All images that can be read, with facts about them: from the cache if it has them, else into the cache."""
    place = _digest([str(listing.root), request.size])
    path = default_cache_dir() / f"{listing.root.name}-{place[:16]}.safetensors"
    key = _digest([_decoder(), [(file.name, file.label, file.size, file.modified) for file in listing.files]])
    kept = read_cache(path, key)
    # Files that could not be read are tried again: what was wrong, such as permissions, leaves no trace in their time.
    if kept is None or (kept[1]["unreadable"] and not request.skip_unreadable):
        kept = images, facts = _decode(listing, request.size)
        unreadable = facts["unreadable"]
        if unreadable and not request.skip_unreadable:
            raise RunError(
                f"{len(unreadable)} of {len(listing.files)} files in {listing.root} cannot be read "
                f"({_told(unreadable)}). Replace or delete them; skip_unreadable leaves them out."
            )
        try:
            write_cache(path, key, images, facts)
        except OSError as error:
            facts["notes"].append(f"decoded images could not be kept in {path.parent} ({error.strerror})")
    return kept


def _decoder() -> str:
    """What decides the pixels beside the files: this code, and the libraries that read and resize."""
    code = b"".join(Path(module).read_bytes() for module in (__file__, pictures.__file__))
    return f"{PIL.__version__} {torch.__version__} {hashlib.sha256(code).hexdigest()}"


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _decode(listing: Listing, size: int) -> Kept:
    """Decode all files into one tensor (n, channels, height, width), and say what had to be done."""
    images: list[Tensor] = []
    shapes: dict[tuple[int, int], int] = {}
    unreadable = {}
    for file in tqdm(listing.files, f"Decoding {listing.root.name}", unit="image", leave=False, disable=None, delay=2):
        try:
            image = pictures.read_image(f"{listing.root}/{file.name}")
        except Exception as error:  # Pillow's readers of damaged files raise many kinds
            unreadable[file.name] = _reason(error)
            continue
        height, width = image.shape[1:]
        shapes[height, width] = shapes.get((height, width), 0) + 1
        # Shrunk at once: photographs as their cameras made them would not fit into memory.
        images.append(pictures.resized(image, (size, size)) if max(height, width) > size else image)
    notes = []
    if len(shapes) > 1 or max(map(max, shapes), default=0) > size:
        images = [pictures.resized(image, (size, size)) for image in images]
        most = sorted(shapes, key=lambda shape: (-shapes[shape], shape))
        notes.append(f"resized to {size}x{size} from {some([f'{height}x{width}' for height, width in most])}")
    together = torch.stack(images) if images else torch.empty(0, 3, size, size, dtype=torch.uint8)
    if all(torch.equal(together[:, 0], together[:, other]) for other in (1, 2)):
        together = together[:, :1]
    return together.contiguous(), {"unreadable": unreadable, "notes": notes}


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image"
    told = error.strerror if isinstance(error, OSError) else None
    return (told or str(error) or type(error).__name__).splitlines()[0]
