"""The colour-channel bug: a network that was fed BRG in the place of RGB, and who sees it (section 4.5)."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cladec_core.data import ImageData

ORDER = (2, 0, 1)  # what the network takes for red, green and blue is blue, red and green
CELLS = 4  # a side, of the grid of mean colours by which images are compared


def swapped(images: Tensor) -> Tensor:
    """RGB images as BRG, (n, 3, ...)."""
    return images[:, list(ORDER)]


class Unswap(nn.Module):
    """BRG images as RGB."""

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, height, width) -> the same shape."""
        return images[:, [ORDER.index(channel) for channel in range(len(ORDER))]]


def swapped_data(data: ImageData) -> ImageData:
    """The data set as a program with the bug feeds it to its network."""
    order = list(ORDER)
    return replace(
        data, train_images=swapped(data.train_images), test_images=swapped(data.test_images),
        mean=data.mean[order], std=data.std[order],
    )  # fmt: skip


def coarse_colours(images: Tensor) -> Tensor:
    """Mean colour of each cell of a coarse grid, without brightness, which a swap leaves alone: (n, 3, cells, cells).

    Brightness is the mean over the channels; all three numbers of a grey cell are zero.
    """
    cells = F.adaptive_avg_pool2d(images, CELLS)
    return cells - cells.mean(1, keepdim=True)


def leaning(images: Tensor, colours: Tensor) -> Tensor:
    """How much nearer images are to some colours than to the same with swapped channels, in [-1, 1]: (n,).

    Above 0: nearer to the colours as they are. 0 where an image has no colour.

    Parameters
    ----------
    images
        (n, 3, height, width).
    colours
        Of the class of each image in RGB, from `coarse_colours`: (n, 3, cells, cells). Those in BRG have the same
        length, so that the nearer one is that with the larger product.
    """
    found = coarse_colours(images).flatten(1)
    products = [(found * own.flatten(1)).sum(1) for own in (colours, swapped(colours))]
    length = found.norm(dim=1) * colours.flatten(1).norm(dim=1)
    return (products[0] - products[1]) / (2 * length).clamp(min=1e-12)


def class_colours(images: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Mean coarse colours of some classes, (classes, 3, cells, cells)."""
    found = coarse_colours(images)
    return torch.stack([found[labels == label].mean(0) for label in classes])
