"""One image file -> one tensor, as a viewer shows the file."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

# Those that store pixels: Pillow hands others, such as PostScript, to programs that run what is in the file.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def read_image(path: Path | str, channels: int = 3) -> Tensor:
    """Read an image upright, with eight bits per channel and white behind transparent parts.

    The orientation that a camera stored (EXIF) is applied, of sixteen bits the upper eight are kept, and of an
    animation the first picture. Colour profiles are ignored.

    Parameters
    ----------
    path
        A file in one of `FORMATS`.
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
    Image.DecompressionBombError, Image.DecompressionBombWarning
        If it has more than `Image.MAX_IMAGE_PIXELS` pixels, which would take the memory.
    ValueError
        If its pixels are of a kind that has no agreed display: floating-point, or of more than 16 bits.
    """
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    with _large_images_are_errors(), Image.open(path, formats=formats) as opened:
        ImageOps.exif_transpose(opened, in_place=True)
        image: Image.Image = opened
        if image.mode == "F":
            raise ValueError("floating-point pixels")
        if image.mode.startswith("I"):
            image = Image.fromarray(_upper_byte(np.asarray(image), image.info.get("transparency")))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        pixels = torch.from_numpy(np.array(image.convert("L" if channels == 1 else "RGB")))
    return pixels.unsqueeze(0) if channels == 1 else pixels.permute(2, 0, 1)


@contextmanager
def _large_images_are_errors() -> Iterator[None]:
    """Let Pillow refuse what it would only warn about; that EXIF data are damaged is no reason to say anything."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _upper_byte(values: np.ndarray, transparent: object) -> np.ndarray:
    """Reduce grey values of sixteen bits, which Pillow itself would clip at 255; a transparent value becomes white."""
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("pixels of more than 16 bits")
    shown = (values >> 8).astype(np.uint8)
    if isinstance(transparent, int):
        shown[values == transparent] = 255
    return shown


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
