"""One image file -> one tensor, as a viewer shows the file."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor


def read_image(path: Path | str, channels: int = 3) -> Tensor:
    """Read an image upright, with eight bits per channel and white behind transparent parts.

    The orientation that a camera stored (EXIF) is applied, of sixteen bits the upper eight are kept, and of an
    animation the first picture. Colour profiles are ignored.

    Parameters
    ----------
    path
        A file of any format that Pillow reads.
    channels
        3 for colour; 1 for grey, which is the luminance of a coloured image.

    Returns
    -------
    Tensor
        uint8 of shape (channels, height, width).

    Raises
    ------
    OSError
        If the file is missing, truncated or no image.
    ValueError
        If its pixels are of a kind that has no agreed display: floating-point, or of more than 16 bits.
    """
    with Image.open(path) as opened:
        ImageOps.exif_transpose(opened, in_place=True)
        image: Image.Image = opened
        if image.mode == "F":
            raise ValueError("floating-point pixels")
        if image.mode.startswith("I"):
            image = Image.fromarray(_upper_byte(np.asarray(image)))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        pixels = torch.from_numpy(np.array(image.convert("L" if channels == 1 else "RGB")))
    return pixels.unsqueeze(0) if channels == 1 else pixels.permute(2, 0, 1)


def _upper_byte(values: np.ndarray) -> np.ndarray:
    """Reduce grey values of sixteen bits, which Pillow's own conversion would clip at 255."""
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("pixels of more than 16 bits")
    return (values >> 8).astype(np.uint8)


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize one image to (height, width): bilinear, with antialiasing where the image shrinks.

    Parameters
    ----------
    image
        uint8 of shape (channels, height, width). The ratio of its sides is not kept.
    size
        Height and width of the result.
    """
    if image.shape[1:] == size:
        return image
    return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]
