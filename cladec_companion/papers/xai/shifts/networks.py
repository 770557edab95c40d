"""Two networks of one function: with a shift of the input undone, and with neurons that were split in two."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn

from cladec_companion.papers.xai.shifts.settings import SHIFTS
from cladec_core.errors import one_of

CLIP = 0.3  # the largest value of a shift that is a picture (section 14.3)
SPLIT = 10.0  # θ as a multiple of the standard deviation of a layer's weights (section 13.3.3)
FIGURE = """
................
..#..........#..
..##........##..
..#.#......#.#..
..#..######..#..
..#..........#..
.#....#..#....#.
.#............#.
##.....##.....##
.#....#..#....#.
##....####....##
.#............#.
..#..........#..
...##......##...
.....######.....
................
"""


def perceptron(pixels: int, classes: int, width: int) -> nn.Sequential:
    """Three layers of ReLUs and the logits (section 14.2.1): from images to (n, classes)."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in (pixels, width, width):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def shift_of(kind: str, channels: int, side: int) -> Tensor:
    """What is added to every image, (channels, side, side).

    Parameters
    ----------
    kind
        `constant`: -1 everywhere, so that images in [0, 1] lie in [-1, 0]; `chequered`: a box of squares, `figure`: the
        drawing of a cat, both with values of ±0.3 or 0. The book prints no size of its box and its cat.
    side
        In pixels; a multiple of 16.

    Raises
    ------
    UsageError
        For another kind.
    """
    one_of("shift", kind, SHIFTS)
    if kind == "constant":
        return -torch.ones(channels, side, side)
    cell = side // 16
    if kind == "figure":
        drawn = torch.tensor([[mark == "#" for mark in row] for row in FIGURE.split()]).float()
    else:
        at = torch.arange(16)
        inside = (at >= 4) & (at < 12)
        odd = ((at // 2).view(-1, 1) + at // 2) % 2
        drawn = (2.0 * odd - 1) * (inside.view(-1, 1) & inside)
    return CLIP * drawn.repeat_interleave(cell, 0).repeat_interleave(cell, 1).expand(channels, side, side).clone()


def undone(model: nn.Sequential, shift: Tensor) -> nn.Sequential:
    """The network for shifted images: the first bias takes the shift back, b2 = b1 - w·m2 (section 14.2)."""
    made = copy.deepcopy(model)
    first = made[1]
    assert isinstance(first, nn.Linear)
    first.bias.data -= first.weight.data @ shift.to(first.weight.device, first.weight.dtype).flatten()
    return made


def split(model: nn.Sequential, factor: float = SPLIT) -> nn.Sequential:
    """The network with every hidden neuron twice, with outgoing weights w + θ and -θ (section 13.3.3).

    θ is `factor` standard deviations of the weights of the layer above. The function stays, up to rounding.
    """
    made = copy.deepcopy(model)
    layers = [part for part in made if isinstance(part, nn.Linear)]
    with torch.no_grad():
        for lower, upper in pairwise(layers):
            theta = factor * upper.weight.std()
            lower.weight = nn.Parameter(torch.cat([lower.weight, lower.weight]), requires_grad=False)
            lower.bias = nn.Parameter(torch.cat([lower.bias, lower.bias]), requires_grad=False)
            above = [upper.weight + theta, (-theta).expand_as(upper.weight)]
            upper.weight = nn.Parameter(torch.cat(above, 1), requires_grad=False)
            lower.out_features, upper.in_features = 2 * lower.out_features, 2 * upper.in_features
    return made
