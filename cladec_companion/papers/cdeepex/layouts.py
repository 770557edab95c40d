"""What the generators that are trained here share: the sizes of their maps, and the scale of their images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cladec_core.errors import UsageError

GRID = 4  # pixels a side of the smallest map, whatever the size of the image
WIDEST = 8  # times the width: 512 channels in DCGAN


def map_widths(image: Sequence[int], width: int) -> list[int]:
    """Choose the channels of the maps between an image and a map of 4x4 pixels, each of which halves the sides.

    Parameters
    ----------
    image
        Shape of an image: (channels, height, width).
    width
        Channels of the largest map; each after it has twice as many, up to 8 times the width.

    Returns
    -------
    list of int
        One for each halving: [64, 128, 256, 512] for 64x64 pixels and a width of 64, as DCGAN has them.

    Raises
    ------
    UsageError
        If the image is not square, or its side is no power of two from 8; or for a width below 1.
    """
    if len(image) != 3 or image[1] != image[2] or image[1] < 8 or image[1] & (image[1] - 1):
        raise UsageError(
            f"No VAE or WGAN for images of shape {tuple(image)}; valid: (channels, side, side), with 8, 16, 32, 64 or "
            f"a larger power of two pixels a side."
        )
    if width < 1:
        raise UsageError(f"width is {width}; valid: an integer from 1.")
    return [width * min(WIDEST, 2**step) for step in range(int(math.log2(image[1] // GRID)))]


@dataclass(frozen=True)
class ValueRange:
    """Lowest and highest value of images as the classifier takes them."""

    low: float
    high: float

    def unit(self, images: Tensor) -> Tensor:
        """Images with values between 0 and 1."""
        return (images - self.low) / (self.high - self.low)

    def images(self, unit: Tensor) -> Tensor:
        """The way back."""
        return self.low + unit * (self.high - self.low)

    @property
    def ends(self) -> tuple[float, float]:
        """Both as a pair."""
        return self.low, self.high
