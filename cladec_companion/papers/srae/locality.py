"""On how many parts of an object does a map fall? Locality as an entropy over parts, and where the parts lie.

Where masks are known, a part's probability is the mass of the map inside its mask. Where a part is a single key point,
the bounding box is divided into Voronoi cells, and a pixel counts the less the farther it is from its key point
(Algorithm 1). What lies outside of the box is a part of its own, the context.
"""

import numpy as np
import torch
from torch import Tensor

from cladec_core.errors import UsageError


def normalised(maps: Tensor) -> Tensor:
    """Pixel probabilities P(pixel | x-feature): maps (..., height, width) divided by their sums.

    Raises
    ------
    UsageError
        If a map has a negative value, or no mass at all.
    """
    if (maps < 0).any():
        raise UsageError(f"A map has the value {maps.min().item():.3g}; valid: values from 0.")
    total = maps.sum((-2, -1), keepdim=True)
    if (total == 0).any():
        empty = int((total == 0).sum())
        raise UsageError(f"{empty} of {total.numel()} maps have no mass (their sum is 0); valid: a sum above 0.")
    return maps / total


def part_shares(maps: Tensor, weights: Tensor) -> Tensor:
    """P(part | x-feature) of each image.

    Parameters
    ----------
    maps
        (images, n, height, width).
    weights
        P(part | pixel): masks, or what `voronoi` gives, (images, parts, height, width).

    Returns
    -------
    Tensor
        (images, n, parts).
    """
    return torch.einsum("mnhw,mphw->mnp", normalised(maps.double()), weights.double())


def locality(shares: Tensor) -> Tensor:
    """Entropy, in nats, of the parts that each x-feature falls on over all images: 0 for one part.

    Parameters
    ----------
    shares
        Of `part_shares`, (images, n, parts).

    Returns
    -------
    Tensor
        (n,); at most the logarithm of the number of parts.

    Raises
    ------
    UsageError
        If an x-feature never falls on any part.
    """
    mean = shares.mean(0)
    total = mean.sum(1, keepdim=True)
    if (total == 0).any():
        raise UsageError(f"{int((total == 0).sum())} x-features fall on no part; valid: some mass on a part.")
    return torch.special.entr(mean / total).sum(1)


def voronoi(points: np.ndarray, box: tuple[int, int, int, int], shape: tuple[int, int]) -> np.ndarray:
    """P(part | pixel) of key points by Algorithm 1, with the context as the last part.

    A pixel inside of the box belongs to the nearest key point, the first of several equally near ones. Its distance is
    divided by the largest in the cell; the paper says "normalise into [0, 1]" and no more.

    Parameters
    ----------
    points
        Rows and columns of the key points, (parts, 2).
    box
        First row, first column, and the row and the column after the last.
    shape
        Height and width of the image.

    Returns
    -------
    ndarray
        (parts + 1, height, width).

    Raises
    ------
    UsageError
        If the box is empty or leaves the image.
    """
    top, left, bottom, right = box
    if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
        raise UsageError(f"The bounding box is {box}; valid: a box with pixels in it, inside of {shape[0]}x{shape[1]}.")
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distances = np.hypot(rows - points[:, 0, None, None], columns - points[:, 1, None, None])
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    nearest = distances.argmin(0)
    found = np.zeros((len(points) + 1, *shape))
    for part, own in enumerate(distances):
        cell = inside & (nearest == part)
        if cell.any():
            largest = own[cell].max()
            found[part][cell] = 1 - own[cell] / (largest if largest > 0 else 1)
    found[-1] = ~inside
    return found


def chance(weights: Tensor) -> float:
    """Locality of a map that is the same everywhere: what no place at all gives.

    Parameters
    ----------
    weights
        P(part | pixel), (images, parts, height, width).
    """
    flat = torch.ones(len(weights), 1, *weights.shape[-2:], device=weights.device)
    return locality(part_shares(flat, weights)).item()


def split(shares: Tensor) -> float:
    """How clearly two parts are told apart: one x-feature on the first of them, another on the second.

    This number is ours. Both parts are needed for the class; an explanation that puts both on all of its x-features,
    as a single heat map does, has 0, and one with an x-feature for each has 1.

    Parameters
    ----------
    shares
        Means over images of `part_shares`, (n, parts); the first two parts are the evidence.

    Returns
    -------
    float
        The mean of the strongest preference for the first and of that for the second part, from 0 to 1. A preference is
        the difference of the two shares, so mass that lies on neither part counts against it.
    """
    preference = shares[:, 0] - shares[:, 1]
    return 0.5 * (preference.max() - preference.min()).item()
