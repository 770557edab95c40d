"""Axioms and sanity checks: sums, continuity, dependence on the class and on the weights, pointing at known parts."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cladec_core import measures, training
from cladec_core.errors import RunError
from cladec_core.training import Compute

STAGES = 3  # of the cascade: a third, two thirds and all of the layers, from the output
CALIBRATED_ON = 256  # images
CONSTANT = 1e-5  # deviation as a share of the largest value below which a map is constant


def relative_gap(sums: Tensor, claimed: Tensor) -> float:
    """How far sums of attributions are from what they should be, as a share of it, over all images."""
    return float((sums - claimed).abs().sum() / claimed.abs().sum())


def share_kept(sums: Tensor, output: Tensor) -> float:
    """Sum of all attributions as a share of the explained outputs: 1 where relevance is conserved (Eq. 13.3)."""
    return float(sums.sum() / output.sum())


def moved_squares(images: Tensor, grey: Tensor, side: int, step: int) -> Tensor:
    """A grey square that moves over the middle of each image from left to right: (places, n, channels, h, w)."""
    height, width = images.shape[-2:]
    top, found = (height - side) // 2, []
    for left in range(0, width - side + 1, step):
        hidden = torch.zeros(height, width, dtype=torch.bool, device=images.device)
        hidden[top : top + side, left : left + side] = True
        found.append(torch.where(hidden, grey, images))
    return torch.stack(found)


def mean_step(explain: Callable[[Tensor], Tensor], moved: Tensor) -> tuple[Tensor, Tensor]:
    """How far explanations go from one place of a moving square to the next (section 13.3.2), (n,) each.

    Returns
    -------
    steps
        The mean step, as a share of the mean length of the explanations.
    jumps
        The largest step as a multiple of the mean one: 1 for an even path.
    """
    found = torch.stack([explain(images).flatten(1).double() for images in moved])
    steps = (found[1:] - found[:-1]).norm(dim=2)
    length = found.norm(dim=2).mean(0).clamp(min=1e-30)
    return steps.mean(0) / length, steps.amax(0) / steps.mean(0).clamp(min=1e-30)


def roughness(maps: Tensor) -> Tensor:
    """Mean difference between neighbouring pixels as a share of the mean size of a map's deviation: (n,)."""
    size = (maps - maps.mean((1, 2), keepdim=True)).abs().mean((1, 2)).clamp(min=1e-30)
    return (maps.diff(dim=1).abs().mean((1, 2)) + maps.diff(dim=2).abs().mean((1, 2))) / (2 * size)


def rank_resemblance(first: Tensor, second: Tensor) -> Tensor:
    """Size of Spearman's correlation of each pair of maps, (n,); NaN where one is constant.

    The size, as a map and its negative mark the same pixels: rules that start from the logit turn all signs with it.
    """
    return measures.rank_correlation(first, second, constant=torch.nan).abs()


def resemblance(first: Tensor, second: Tensor) -> Tensor:
    """Size of Pearson's correlation of each pair of maps, (n,); 0 where one is constant, NaN where both are.

    A method that finds nothing to mark for another class gives a constant map, which resembles no other. A map with
    all signs turned marks the same pixels (see `rank_resemblance`).
    """
    varies = [part.flatten(1).std(1) > CONSTANT * part.flatten(1).abs().amax(1) for part in (first, second)]
    found = torch.where(varies[0] & varies[1], measures.correlation(first, second, constant=0.0).abs(), 0.0)
    return torch.where(varies[0] | varies[1], found, torch.nan)


def other_classes(target: Tensor, classes: int, seed: int) -> Tensor:
    """Another class for each image, drawn uniformly."""
    step = torch.randint(1, classes, target.shape, generator=torch.Generator().manual_seed(seed))
    return (target + step.to(target.device)) % classes


def cascade(model: nn.Module, images: Tensor, on: Compute, seed: int) -> list[nn.Module]:
    """The network with more and more layers drawn anew, from the output down (cascading randomisation).

    BatchNorm's statistics are estimated anew on some images, as they were of other activations.
    """
    names = [name for name, part in model.named_modules() if hasattr(part, "reset_parameters")]
    found = []
    for stage in range(1, STAGES + 1):
        drawn = copy.deepcopy(model)
        with training.seeded(training.derive_seed(seed, "cascade")):
            for name in names[::-1][: -(-len(names) * stage // STAGES)]:
                layer: Any = drawn.get_submodule(name)
                layer.reset_parameters()
        training.calibrate(drawn, images[:CALIBRATED_ON], on)
        found.append(drawn.eval().requires_grad_(False))
    return found


@dataclass(frozen=True)
class Mosaics:
    """Canvases of 2 x 2 images of different classes.

    Attributes
    ----------
    images
        (n, channels, 2 height, 2 width).
    tile, target
        Which tile is asked for, 0 to 3 by rows, and its class, (n,) each.
    """

    images: Tensor
    tile: Tensor
    target: Tensor

    def inside(self) -> Tensor:
        """True in the tile that is asked for, (n, 2 height, 2 width)."""
        height, width = (side // 2 for side in self.images.shape[-2:])
        mask = torch.zeros(len(self.images), 2, 2, dtype=torch.bool, device=self.images.device)
        mask.view(len(mask), 4).scatter_(1, self.tile.unsqueeze(1), True)
        return mask.repeat_interleave(height, 1).repeat_interleave(width, 2)


def mosaics(images: Tensor, labels: Tensor, usable: Tensor, count: int, seed: int) -> Mosaics:
    """Put together images of four different classes each; one tile's class is asked for.

    Parameters
    ----------
    usable
        Which images may be tiles, such as those that the network recognises with a high probability.

    Raises
    ------
    RunError
        If these are of fewer than four classes.
    """
    rng = np.random.default_rng(seed)
    of_class = {int(label): torch.nonzero((labels == label) & usable)[:, 0].tolist() for label in labels.unique()}
    present = [label for label, places in of_class.items() if places]
    if len(present) < 4:
        raise RunError(f"Mosaics need usable images of four classes; there are {len(present)}.")
    canvases, tiles, targets = [], [], []
    for _ in range(count):
        classes = rng.choice(present, 4, replace=False)
        parts = images[[int(rng.choice(of_class[int(label)])) for label in classes]]
        canvases.append(torch.cat([torch.cat(list(row), 2) for row in (parts[:2], parts[2:])], 1))
        tiles.append(int(rng.integers(4)))
        targets.append(int(classes[tiles[-1]]))
    where = images.device
    return Mosaics(torch.stack(canvases), torch.tensor(tiles, device=where), torch.tensor(targets, device=where))


def pointing(maps: Tensor, inside: Tensor, seed: int) -> Tensor:
    """Whether the most relevant pixel lies in the tile, ties broken at random: (n,), 0 or 1."""
    noise = torch.rand(maps.shape, generator=torch.Generator().manual_seed(seed)).to(maps.device)
    tied = maps == maps.amax((1, 2), keepdim=True)
    best = torch.where(tied, noise, -1.0).flatten(1).argmax(1)
    return inside.flatten(1).gather(1, best.unsqueeze(1)).squeeze(1).double()


def mass_inside(maps: Tensor, inside: Tensor) -> Tensor:
    """Share of the positive attribution that lies in the tile, (n,); NaN where there is none."""
    positive = maps.clamp(min=0).double()
    return (positive * inside).sum((1, 2)) / positive.sum((1, 2))
