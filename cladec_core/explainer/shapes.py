"""Decoders and encoders for images of any size, built from shapes alone.

At 32x32 and full width the decoder is that of the paper (`models.decoder`); here the sides need not be equal, nor
powers of two.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from cladec_core.networks.convolutions import Conv2d, ConvTranspose2d

WIDTH = 64  # channels of the decoder's last map in the authors' program
WIDEST = 8  # times the width: 512 channels
DOUBLINGS = 5  # from a vector to 32x32
ENTRY_WEIGHTS = 2**23  # of the layer that makes a map of a vector
WASTE = 1.35  # a vector's map may have so many times the pixels of the image before it is resized


def resize(size: Sequence[int]) -> nn.Upsample:
    """Build what brings maps (n, channels, ...) to a size, bilinearly."""
    return nn.Upsample(tuple(size), mode="bilinear", align_corners=False)


def decoder(shape: Sequence[int], channels: int, size: Sequence[int], width: int = WIDTH) -> nn.Sequential:
    """Build a decoder: an entry layer, doublings by transposed convolutions, and what is missing to the image's size.

    Parameters
    ----------
    shape
        The activation's, without the batch: (units,) or (channels, height, width).
    channels, size
        Of the image: channels, and (height, width).
    width
        Channels of the last map before the image; each map before has twice as many, up to 8 times the width.
    """
    units, *grid = shape if math.prod(shape[1:]) > 1 else shape[:1]
    if grid:
        doublings = max(0, round(math.log2(math.prod(size) / math.prod(grid)) / 2))
        entry = min(units, WIDEST * WIDTH)
        chain: list[nn.Module] = [Conv2d(units, entry, 3, padding=1), nn.ReLU()]
    else:
        doublings, grid = vector_grid(size)
        entry = min(max(units, 64), WIDEST * WIDTH, max(64, ENTRY_WEIGHTS // (units * math.prod(grid))))
        chain = [nn.Flatten(), nn.Linear(units, entry * math.prod(grid)), nn.ReLU(), nn.Unflatten(1, (entry, *grid))]
    fits = doublings > 0 and tuple(side * 2**doublings for side in grid) == tuple(size)
    maps = [min(WIDEST, 2**step) * width for step in reversed(range(doublings - fits))] + [channels] * fits
    for before, after in pairwise([entry, *maps]):
        chain += [ConvTranspose2d(before, after, 4, 2, 1), nn.ReLU()]
    if fits:
        return nn.Sequential(*chain[:-1])  # no ReLU at the end: standardised images have negative values
    return nn.Sequential(*chain, resize(size), nn.Conv2d([entry, *maps][-1], channels, 3, padding=1))


def vector_grid(size: Sequence[int]) -> tuple[int, list[int]]:
    """How often a vector's first map is doubled, and its size: as small as fills the image without much waste."""
    for doublings in reversed(range(DOUBLINGS + 1)):
        grid = [math.ceil(side / 2**doublings) for side in size]
        if math.prod(grid) * 4**doublings <= WASTE * math.prod(size):
            break
    return doublings, grid


def encoder(shape: Sequence[int], channels: int, size: Sequence[int], width: int = WIDTH) -> nn.Sequential:
    """Build an encoder from an image to a code of a given shape, for a RefAE whose own encoder cannot be copied.

    Convolutions that halve the sides, as in the project's classifiers, until the code's size (4x4 before a
    vector) is near; parameters as of `decoder`.
    """
    units, *grid = shape if math.prod(shape[1:]) > 1 else shape[:1]
    target = grid or [min(4, side) for side in size]
    halvings = max(0, round(math.log2(math.prod(size) / math.prod(target)) / 2))
    maps = [channels, *(min(WIDEST, 2**step) * width for step in range(halvings + 1))]
    chain: list[nn.Module] = []
    for step, (before, after) in enumerate(pairwise(maps)):
        chain += [Conv2d(before, after, 3, 2 if step < halvings else 1, padding=1, bias=False)]
        chain += [nn.BatchNorm2d(after), nn.ReLU()]
    chain.append(resize(target))
    if grid:
        return nn.Sequential(*chain, nn.Conv2d(maps[-1], units, 3, padding=1))
    return nn.Sequential(*chain, nn.Flatten(), nn.Linear(maps[-1] * math.prod(target), units))
