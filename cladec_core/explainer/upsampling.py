"""A decoder that enlarges its maps by copying pixels and then convolves: a remedy for checkerboards."""

from torch import nn

from cladec_core.networks.convolutions import Conv2d


def upsampled(decoder: nn.Sequential) -> nn.Sequential:
    """Put an enlargement and a convolution in the place of each transposed convolution, with fresh weights.

    Where the kernel of a transposed convolution ends at neighbouring pixels differently often, its output has the
    pattern of a checkerboard. A nearest-neighbour enlargement and a 3x3 convolution treat all pixels alike, at 2.25
    times the operations of the 4x4 kernels.

    Parameters
    ----------
    decoder
        As of `networks.decoder`; its transposed convolutions double the sides.

    Returns
    -------
    Sequential
        The same chain for the same shapes, of which torch's global generator draws the new weights.
    """
    chain: list[nn.Module] = []
    for step in decoder:
        if isinstance(step, nn.ConvTranspose2d):
            chain += [nn.Upsample(scale_factor=2), Conv2d(step.in_channels, step.out_channels, 3, padding=1)]
        else:
            chain.append(step)
    return nn.Sequential(*chain)
