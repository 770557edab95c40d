"""Mosaics: images whose evidence is known, two tiles of four.

Each canvas has 2x2 tiles with a digit each, in any order. The classes are pairs of neighbours, (0, 1), (1, 2) to
(9, 0); an image is of the class of which both digits are there. The other two tiles are distractors, neighbours of
nobody. Each digit is half of the evidence for two classes, so a classifier has to know digits and not only pairs, and
a faithful explanation has to name two tiles.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cladec_companion.papers.srae.domain import DIGITS
from cladec_core import training
from cladec_core.data import ImageData
from cladec_core.errors import UsageError

CANVAS, TILE, CELL = 64, 28, 32  # pixels; a tile lies anywhere in its cell, and what is left are gaps
CANVASES = 2  # for each digit of the data set, which has a tile on eight of them on average
NOISE = 0.2  # of full ink: over the whole canvas, so that a map can fall into the gaps
CLASSES = tuple(f"{digit} and {(digit + 1) % DIGITS}" for digit in range(DIGITS))
# Steps from the first digit of a pair to two distractors: neighbours neither of the pair nor of each other.
STEPS = tuple((one, other) for one in range(3, 9) for other in range(3, 9) if abs(one - other) > 1)
PARTS = ("first digit", "second digit", "distractor", "other distractor", "gaps")


@dataclass(frozen=True)
class Mosaics:
    """Some canvases with what is known of them.

    Attributes
    ----------
    images
        Grey values from 0 to 1, (n, 1, 64, 64).
    labels
        The first digit of the pair that is there, int64 (n,).
    digits
        Of the tiles, in the order of `PARTS`, int64 (n, 4).
    corners
        First row and column of each tile, int64 (n, 4, 2).
    """

    images: Tensor
    labels: Tensor
    digits: Tensor
    corners: Tensor

    def masks(self, which: Tensor) -> Tensor:
        """Where the `PARTS` of some canvases are, bool (chosen, 5, 64, 64); each pixel is of one part."""
        line = torch.arange(CANVAS)
        first = self.corners[which.cpu()][..., None]
        rows, columns = ((line >= first[:, :, axis]) & (line < first[:, :, axis] + TILE) for axis in (0, 1))
        tiles = rows[..., :, None] & columns[..., None, :]
        return torch.cat([tiles, ~tiles.any(1, keepdim=True)], 1)


def mosaics(images: Tensor, labels: Tensor, count: int, seed: int) -> Mosaics:
    """Make canvases of digits.

    Parameters
    ----------
    images
        Grey values from 0 to 1 of digits, (n, 1, side, side).
    labels
        Their classes, 0 to 9, (n,).
    count
        How many canvases.
    seed
        Decides classes, distractors, places and noise.

    Raises
    ------
    UsageError
        If a digit is missing, or no canvas is asked for.
    """
    if count < 1:
        raise UsageError(f"count is {count}; valid: an integer from 1.")
    missing = sorted(set(range(DIGITS)) - set(labels.unique().tolist()))
    if missing:
        raise UsageError(f"The data set has no image of the digits {missing}; a mosaic needs 0 to 9.")
    random = torch.Generator().manual_seed(seed)
    pairs = torch.randperm(count, generator=random) % DIGITS  # as many of each, up to one
    steps = torch.tensor([(0, 1, *pair) for pair in STEPS])
    digits = (pairs[:, None] + steps[torch.randint(len(steps), (count,), generator=random)]) % DIGITS
    tiles = _drawn(images, labels, digits, random)
    cells = torch.rand(count, 4, generator=random).argsort(1)  # of each tile, in the order of the parts
    shifts = torch.randint(CELL - TILE + 1, (count, 4, 2), generator=random)
    corners = torch.stack([cells // 2, cells % 2], -1) * CELL + shifts
    canvas = NOISE * torch.rand(count, CANVAS, CANVAS, generator=random)
    image, side = torch.arange(count)[:, None, None], torch.arange(TILE)
    for part in range(4):
        rows = (corners[:, part, 0, None] + side)[:, :, None]
        columns = (corners[:, part, 1, None] + side)[:, None, :]
        canvas[image, rows, columns] = torch.maximum(canvas[image, rows, columns], tiles[:, part])
    return Mosaics(canvas[:, None], pairs, digits, corners)


def _drawn(images: Tensor, labels: Tensor, digits: Tensor, random: torch.Generator) -> Tensor:
    """A random image of each digit, (n, 4, 28, 28)."""
    chosen = torch.empty_like(digits)
    for digit in range(DIGITS):
        places = torch.nonzero(labels.cpu() == digit)[:, 0]
        wanted = digits == digit
        chosen[wanted] = places[torch.randint(len(places), (int(wanted.sum()),), generator=random)]
    found = images.cpu()[chosen.flatten()]
    if found.shape[-1] != TILE:
        found = F.interpolate(found, size=(TILE, TILE), mode="bilinear", align_corners=False, antialias=True)
    return found[:, 0].clamp(0, 1).unflatten(0, digits.shape)


def mosaic_data(data: ImageData, seed: int) -> tuple[ImageData, Mosaics]:
    """A data set of mosaics from one of digits, with `CANVASES` times as many canvases as there are digits.

    Parameters
    ----------
    data
        With the classes 0 to 9. Test canvases are made of test digits only.
    seed
        Of all canvases.

    Returns
    -------
    data
        Grey values that are not standardised: excitation backprop supposes inputs from 0.
    test
        The test canvases with what is known of them, on the CPU.

    Raises
    ------
    UsageError
        See `mosaics`.
    """
    sets = {"train": (data.train_images, data.train_labels), "test": (data.test_images, data.test_labels)}
    train, test = (
        mosaics(data.to_unit(images), labels, CANVASES * len(images), training.derive_seed(seed, "mosaic", name))
        for name, (images, labels) in sets.items()
    )
    zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    made = ImageData(
        data.name, f"mosaics of {data.title}", CLASSES, train.images, train.labels, test.images, test.labels,
        zero, one, (*data.notes, f"four tiles on a canvas of {CANVAS}x{CANVAS}"),
    )  # fmt: skip
    return made.to(data.train_images.device), test
