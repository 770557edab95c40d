"""Decoders and encoders for images of any size, built from shapes alone.

At 32x32 the decoders are those of the paper and of its authors' program; elsewhere the sides need not be equal, nor
powers of two. A shape is that of one image or of one image's activation, without the batch.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from cladec_core.errors import UsageError, one_of
from cladec_core.networks.convolutions import Conv2d, ConvTranspose2d
from cladec_core.networks.layouts import DECODER_STYLES

WIDTHS = {"code": 64, "table1": 32}  # style -> channels of the last map before the image
# style -> kernel, stride, padding and output padding of a transposed convolution that doubles the sides
GEOMETRIES = {"code": (4, 2, 1, 0), "table1": (5, 2, 2, 1)}
WIDEST = 8  # times the width: 512 channels in the authors' program, 256 in Table 1
WIDEST_ENTRY = 512  # channels
ENTRY_WEIGHTS = 2**23  # at most so many in the layer that makes a map of a vector
DOUBLINGS = 5  # from a vector to 32x32
WASTE = 1.35  # a vector's map may have so many times the pixels of the image before it is resized


def decoder(
    shape: Sequence[int],
    image: Sequence[int],
    *,
    style: str = "code",
    width: int | None = None,
    sigmoid: bool = False,
) -> nn.Sequential:
    """Build a decoder: an entry layer, doublings by transposed convolutions, a resize if sides are missing (C-3b).

    Parameters
    ----------
    shape
        The activation's: (units,) or (channels, height, width).
    image
        The image's: (channels, height, width).
    style
        "code": an entry layer, then 4x4 transposed convolutions with 512, 256, 128, 64 channels, the widest left out as
        the activation's size grows (the authors' program). "table1": an entry layer of 256 units for vectors, then 5x5
        transposed convolutions with 256, 128, 64, 32 channels (Table 1).
    width
        Channels of the last map before the image; each map before has twice as many, up to 8 times the width. None: 64
        or 32, as the style says.
    sigmoid
        End in a sigmoid (for images in [0, 1]) instead of a linear output.

    Returns
    -------
    Sequential
        Maps `(n, *shape)` to `(n, *image)`.

    Raises
    ------
    UsageError
        For an unknown style, or a shape that is neither a vector's nor a map's.
    """
    one_of("decoder style", style, DECODER_STYLES)
    units, *grid = _vector_or_map(shape)
    channels, *size = image
    width = width or WIDTHS[style]
    chain: list[nn.Module] = []
    if not grid:
        doublings, grid = vector_grid(size)
        entry = vector_entry(units, grid) if style == "code" else WIDEST * width
        chain += [nn.Flatten(), nn.Linear(units, entry * math.prod(grid)), nn.ReLU(), nn.Unflatten(1, (entry, *grid))]
    else:
        doublings = max(0, round(math.log2(math.prod(size) / math.prod(grid)) / 2))
        entry = min(units, WIDEST_ENTRY) if style == "code" else units
        chain += [Conv2d(units, entry, 3, padding=1), nn.ReLU()] if style == "code" else []
    reached = [side * 2**doublings for side in grid]
    last = doublings > 0 and reached == size  # whether the last doubling puts out the image itself
    maps = [entry, *(min(WIDEST, 2**step) * width for step in reversed(range(doublings - last)))]
    for before, after in pairwise([*maps, *[channels] * last]):
        chain += [ConvTranspose2d(before, after, *GEOMETRIES[style]), nn.ReLU()]
    if last:
        chain.pop()  # no ReLU after the last one: standardised images have negative values (reading C-6)
    else:
        chain += [] if reached == size else [resize(size)]
        chain.append(nn.Conv2d(maps[-1], channels, 3, padding=1))
    return nn.Sequential(*chain, *([nn.Sigmoid()] if sigmoid else []))


def encoder(shape: Sequence[int], image: Sequence[int], *, width: int = WIDTHS["code"]) -> nn.Sequential:
    """Build an encoder from an image to a code of a given shape, for a RefAE whose own encoder cannot be copied.

    Convolutions halve the sides, as in the project's classifiers, until the code's size (4x4 before a vector) is near.

    Parameters
    ----------
    shape, image
        As of `decoder`.
    width
        Channels of the first map; each map after has twice as many, up to 8 times the width.

    Returns
    -------
    Sequential
        Maps `(n, *image)` to `(n, *shape)`; a map of a single pixel becomes a vector.

    Raises
    ------
    UsageError
        For a shape that is neither a vector's nor a map's.
    """
    units, *grid = _vector_or_map(shape)
    channels, *size = image
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


def vector_grid(size: Sequence[int]) -> tuple[int, list[int]]:
    """Choose the first map of a vector: as small as fills the image without much waste.

    Parameters
    ----------
    size
        Of the image: (height, width).

    Returns
    -------
    doublings
        How often the sides of the map are doubled, at most 5 times.
    grid
        Its height and width; 1x1 for an image of 32x32.
    """
    for doublings in reversed(range(DOUBLINGS + 1)):
        grid = [math.ceil(side / 2**doublings) for side in size]
        if math.prod(grid) * 4**doublings <= WASTE * math.prod(size):
            break
    return doublings, grid


def vector_entry(units: int, grid: Sequence[int]) -> int:
    """Choose the channels of a vector's first map: its units, from 64 to 512, less where the map is large."""
    return min(max(units, 64), WIDEST_ENTRY, max(64, ENTRY_WEIGHTS // (units * math.prod(grid))))


def resize(size: Sequence[int]) -> nn.Upsample:
    """Build what brings maps (n, channels, ...) to a size (height, width), bilinearly."""
    return nn.Upsample(tuple(size), mode="bilinear", align_corners=False)


def _vector_or_map(shape: Sequence[int]) -> Sequence[int]:
    """Check an activation's shape; that of a single pixel becomes that of a vector."""
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise UsageError(
            f"No decoder for an activation of shape {tuple(shape)}; valid: (units,) or (channels, height, width), each "
            f"from 1."
        )
    return shape if math.prod(shape[1:]) > 1 else shape[:1]
