"""Delete what a map says matters, and ask the network again: pixel flipping, boxes, subsets of n pixels."""

import torch
from torch import Tensor, nn

from cladec_companion.papers.xai.attribution import Around
from cladec_companion.papers.xai.attribution.around import blurred
from cladec_core import measures

SHARES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)  # of the pixels that are flipped
THRESHOLDS = tuple(step / 10 for step in range(11))  # of a map in [0, 1] (section 8.5.3)
SUPPRESSIONS = (0.8, 0.9, 0.95, 0.99)  # the same section
LEAST_FALL = 0.05  # of the probability when all is blurred; of less no share can be taken
SUBSETS = 16  # of pixels, of each size
SIZES = (0.01, 0.1, 0.5)  # of those subsets, as shares of the pixels
AT_ONCE = 512


@torch.no_grad()
def probability(model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """Probability of a class for each image, (n,)."""
    parts = zip(images.split(AT_ONCE), target.split(AT_ONCE), strict=True)
    return torch.cat([model(part).softmax(1).gather(1, own.unsqueeze(1)).squeeze(1) for part, own in parts])


@torch.no_grad()
def logit(model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """Logit of a class for each image, (n,)."""
    parts = zip(images.split(AT_ONCE), target.split(AT_ONCE), strict=True)
    return torch.cat([model(part).gather(1, own.unsqueeze(1)).squeeze(1) for part, own in parts])


def places_by_relevance(maps: Tensor, seed: int) -> Tensor:
    """Rank of each pixel, 0 for the most relevant, ties in random order: (n, height, width), int64."""
    flat = maps.flatten(1)
    shuffled = torch.rand(flat.shape, generator=torch.Generator().manual_seed(seed)).argsort(1).to(flat.device)
    order = shuffled.gather(1, flat.gather(1, shuffled).argsort(dim=1, descending=True, stable=True))
    return order.argsort(1).view(maps.shape)


def flipping_curves(
    model: nn.Module, images: Tensor, target: Tensor, ranks: Tensor, around: Around, fill: str
) -> Tensor:
    """Probability of the target when the most relevant pixels are replaced (pixel flipping, sections 1.5 and 13.1).

    Parameters
    ----------
    ranks
        See `places_by_relevance`.
    fill
        What replaces them (see `Around.filling`); the fill decides as much as the order.

    Returns
    -------
    Tensor
        (n, shares): at each of `SHARES`.
    """
    pixels = ranks[0].numel()
    found = []
    for share in SHARES:
        hidden = (ranks < round(share * pixels)).unsqueeze(1)
        found.append(probability(model, around.filled(images, hidden, fill), target))
    return torch.stack(found, 1)


def area_over(curves: Tensor) -> Tensor:
    """Mean fall below the start over the shares, by trapezoids: (n, shares) -> (n,). More is better."""
    return torch.trapezoid(
        curves[:, :1] - curves, torch.tensor(SHARES, dtype=curves.dtype, device=curves.device), dim=1
    )


def smallest_boxes(model: nn.Module, images: Tensor, target: Tensor, maps: Tensor) -> dict[float, Tensor]:
    """The smallest box whose blurring takes the class away, as a share of the image (section 8.5.3).

    A map is brought to [0, 1] and cut at each of `THRESHOLDS`; the tightest box around what is left is blurred.

    Returns
    -------
    dict
        Suppression -> (n,). Undefined (NaN) where blurring all of the image hardly lowers the probability.
    """
    whole, gone = probability(model, images, target), probability(model, blurred(images), target)
    low, high = (getattr(maps, end)((1, 2), keepdim=True) for end in ("amin", "amax"))
    unit = (maps - low) / (high - low).clamp(min=1e-30)
    smallest = {level: torch.ones_like(whole) for level in SUPPRESSIONS}
    for threshold in THRESHOLDS:
        box = _box(unit >= threshold)
        shown = torch.where(box.unsqueeze(1), blurred(images), images)
        left = (probability(model, shown, target) - gone) / (whole - gone)
        size = box.float().mean((1, 2))
        for level, found in smallest.items():
            smallest[level] = torch.where(left <= 1 - level + 1e-6, torch.minimum(found, size), found)
    defined = whole - gone >= LEAST_FALL
    return {level: torch.where(defined, found, torch.nan) for level, found in smallest.items()}


def _box(inside: Tensor) -> Tensor:
    """The tightest box around the true pixels of each image, (n, height, width)."""
    rows, columns = inside.any(2), inside.any(1)
    spans = [part.cummax(1).values & part.flip(1).cummax(1).values.flip(1) for part in (rows.byte(), columns.byte())]
    return (spans[0].unsqueeze(2) & spans[1].unsqueeze(1)).bool()


def subset_masks(height: int, width: int, seed: int) -> Tensor:
    """Random subsets of pixels, `SUBSETS` of each of `SIZES`: (sizes * subsets, height, width), true inside."""
    draw = torch.Generator().manual_seed(seed)
    ranks = torch.rand(len(SIZES) * SUBSETS, height * width, generator=draw).argsort(1).argsort(1)
    counts = torch.tensor([max(1, round(size * height * width)) for size in SIZES]).repeat_interleave(SUBSETS)
    return (ranks < counts.unsqueeze(1)).view(-1, height, width)


def removal_effects(model: nn.Module, images: Tensor, target: Tensor, masks: Tensor, around: Around) -> Tensor:
    """How much the logit falls when a subset of pixels becomes grey: (n, subsets), the right side of Eq. 9.8."""
    before = logit(model, images, target)
    grey = around.baseline("mean", images)
    return torch.stack([before - logit(model, torch.where(mask, grey, images), target) for mask in masks], 1)


def sensitivity_n(maps: Tensor, masks: Tensor, effects: Tensor) -> dict[float, Tensor]:
    """Correlation, over subsets of n pixels, of the sum of attributions with what removing the pixels does (Eq. 9.8).

    1 for a method that satisfies sensitivity-n up to a factor.

    Returns
    -------
    dict
        Share of the pixels -> (n,); undefined (NaN) where either does not vary.
    """
    sums = maps.flatten(1).double() @ masks.flatten(1).double().T
    parts = zip(SIZES, sums.split(SUBSETS, 1), effects.double().split(SUBSETS, 1), strict=True)
    return {size: measures.correlation(found, effect, constant=torch.nan) for size, found, effect in parts}
