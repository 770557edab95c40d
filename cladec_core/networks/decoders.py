"""Decoders, built from the shape of an activation."""

from torch import nn

from cladec_core.data import SIZE
from cladec_core.errors import UsageError, one_of
from cladec_core.networks.convolutions import Conv2d, ConvTranspose2d

DECODER_STYLES = ("code", "table1")


def decoder(shape: tuple[int, ...], channels: int, style: str = "code", sigmoid: bool = False) -> nn.Sequential:
    """Build a decoder from an activation to a 32x32 image (reading C-3b).

    Parameters
    ----------
    shape
        The activation's shape without the batch: (units,) or (channels, size, size) with a size of
        1, 2, 4, 8, 16 or 32.
    channels
        Colour channels of the image.
    style
        "code": an entry layer, then 4x4 transposed convolutions with 512, 256, 128, 64 channels, the widest
        left out as the activation's size grows (the authors' program). "table1": an entry layer of 256 units
        for vectors, then 5x5 transposed convolutions with 256, 128, 64, 32 channels (Table 1).
    sigmoid
        End in a sigmoid (for images in [0, 1]) instead of a linear output.

    Raises
    ------
    UsageError
        For an unknown style or a shape that no doubling brings to 32x32.
    """
    one_of("decoder style", style, DECODER_STYLES)
    inputs, *sides = shape
    size = sides[0] if sides else 1
    if len(shape) not in (1, 3) or sides != [size] * len(sides) or size not in (1, 2, 4, 8, 16, 32):
        raise UsageError(
            f"No decoder for an activation of shape {shape}; valid: (units,) or (channels, size, size) with size "
            f"1, 2, 4, 8, 16 or 32."
        )
    doublings = (SIZE // size).bit_length() - 1
    if style == "code":
        widths, kernel, padding, extra = (512, 256, 128, 64), 4, 1, 0
        entry = max(inputs, 64) if size == 1 else inputs
    else:
        widths, kernel, padding, extra = (256, 128, 64, 32), 5, 2, 1
        entry = 256 if size == 1 else inputs
    chain: list[nn.Module] = []
    if size == 1:
        chain += [nn.Flatten(), nn.Linear(inputs, entry), nn.ReLU(), nn.Unflatten(1, (entry, 1, 1))]
    elif style == "code":
        chain += [Conv2d(inputs, entry, 3, padding=1), nn.ReLU()]
    outputs = [*widths[len(widths) + 1 - doublings :], channels] if doublings else []
    for before, after in zip([entry, *outputs], outputs, strict=False):
        chain.append(ConvTranspose2d(before, after, kernel, 2, padding, output_padding=extra))
        chain.append(nn.ReLU())
    if doublings:
        chain.pop()  # no ReLU after the last one: standardised images have negative values (reading C-6)
    else:
        chain.append(nn.Conv2d(entry, channels, 3, padding=1))
    return nn.Sequential(*chain, *([nn.Sigmoid()] if sigmoid else []))
