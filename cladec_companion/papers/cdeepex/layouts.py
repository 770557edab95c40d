"""What the generators that are trained here share: the sizes of their maps, and the scale of their images."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

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


class ValueRange(nn.Module):
    """Images from 0 to 1 as the classifier takes them, and back."""

    low: Tensor
    high: Tensor

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(low))
        self.register_buffer("high", torch.tensor(high))

    def forward(self, unit: Tensor) -> Tensor:
        """From values between 0 and 1 to those of the classifier."""
        return self.low + unit * (self.high - self.low)

    def unit(self, images: Tensor) -> Tensor:
        """The way back."""
        return (images - self.low) / (self.high - self.low)

    @property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest value."""
        return self.low.item(), self.high.item()
