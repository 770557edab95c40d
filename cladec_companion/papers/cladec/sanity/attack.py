"""Perturbations too small to see that change an explanation as far as they can while the predicted class stays.

Dombrowski et al. (2019) and Ghorbani et al. (2019) do this to heat maps. Here the same search, by projected steps along
the sign of a gradient (Madry et al. 2018), is aimed at a layer's code, at ClaDec's reconstruction and at GradCAM's map.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cladec_core.data import ImageData
from cladec_core.networks import Classifier
from cladec_core.training import exact_float32

BATCH = 100  # images that are perturbed at the same time
STEP = 0.2  # of the bound: a few steps reach it
Aim = Callable[[Tensor], Tensor]  # images (n, channels, height, width) -> what is to change, (n, ...)


@dataclass(frozen=True)
class Search:
    """How far and how long perturbations are searched.

    Attributes
    ----------
    bound
        Largest change of any pixel, in grey values of [0, 1].
    steps
        Of the search.
    """

    bound: float
    steps: int


def heat_map(classifier: Classifier, layer: str) -> Aim:
    """GradCAM's map as it is measured, brought to the images' size and to [0, 1], as a function of them.

    `measures.gradcam` gives the same values, and cuts the graph at the layer. A distance of maps that are not scaled
    could be climbed by making all of a map larger, which does not change what is measured. In a ReLU network a gradient
    is piecewise constant, so that it is the activations that carry the search.
    """
    parts = dict(classifier.named_children())
    place = list(parts).index(layer) + 1
    below, above = (nn.Sequential(*part) for part in (list(parts.values())[:place], list(parts.values())[place:]))

    def maps(images: Tensor) -> Tensor:
        activation = below(images)
        logits = above(activation)
        (gradient,) = torch.autograd.grad(logits.max(1).values.sum(), activation, create_graph=True)
        found = (gradient.mean((2, 3), keepdim=True) * activation).sum(1, keepdim=True).relu()
        found = F.interpolate(found, images.shape[-2:], mode="bilinear", align_corners=False).squeeze(1)
        low, high = found.amin((1, 2), keepdim=True), found.amax((1, 2), keepdim=True)
        alive = high - low > 1e-4 * high
        return torch.where(alive, (found - low) / torch.where(alive, high - low, 1.0), 0.0)

    return maps


@exact_float32()
def perturbed(classifier: nn.Module, aim: Aim, images: Tensor, data: ImageData, search: Search) -> Tensor:
    """Images near the given ones, of the same predicted class, of which an aim is as different as was found.

    Each step goes up the distance from the original's aim; for an image that has just lost its class it goes up the
    margin of that class instead. Of all steps that kept the class the one with the largest distance counts, and if
    none did, the image itself.

    Parameters
    ----------
    classifier
        In eval mode.
    images
        Standardised as `data` says, (n, channels, height, width).

    Returns
    -------
    Tensor
        Of the same shape; no grey value leaves [0, 1], or is further from the original's than the bound.
    """
    return torch.cat([_climbed(classifier, aim, part, data, search) for part in images.split(BATCH)])


def _climbed(classifier: nn.Module, aim: Aim, images: Tensor, data: ImageData, search: Search) -> Tensor:
    std = data.std.to(images)
    darkest, brightest = ((bound - data.mean.to(images)) / std for bound in (0.0, 1.0))
    reach = search.bound / std
    floor, ceiling = torch.maximum(images - reach, darkest), torch.minimum(images + reach, brightest)
    with torch.enable_grad():
        start, label = aim(images.clone().requires_grad_()).detach(), classifier(images).argmax(1).detach()
        best, furthest = images.clone(), torch.zeros(len(images), device=images.device)
        # From the original itself every distance has the gradient 0: the search begins beside it.
        draws = torch.Generator().manual_seed(0)
        sign = torch.rand(images.shape, generator=draws).sub(0.5).sign().to(images)
        now = (images + STEP * reach * sign).clamp(floor, ceiling)
        for _ in range(search.steps):
            now = now.detach().requires_grad_()
            logits, distance = classifier(now), (aim(now) - start).flatten(1).square().sum(1)
            kept = logits.argmax(1) == label
            better = kept & (distance > furthest)
            best[better], furthest[better] = now.detach()[better], distance.detach()[better]
            goal = torch.where(kept, distance, _margin(logits, label))
            (gradient,) = torch.autograd.grad(goal.sum(), now)
            now = (now + STEP * reach * gradient.sign()).clamp(floor, ceiling)
    return best.detach()


def _margin(logits: Tensor, label: Tensor) -> Tensor:
    """By how much the logit of a class exceeds the largest other one, (n,)."""
    own = logits.gather(1, label[:, None]).squeeze(1)
    others = logits.scatter(1, label[:, None], -torch.inf).amax(1)
    return own - others


def relative_changes(before: Tensor, after: Tensor) -> Tensor | None:
    """How far explanations moved, as a share of how far those of two different images are apart.

    Parameters
    ----------
    before, after
        Explanations of the same images, (n, ...), n at least 2.

    Returns
    -------
    Tensor or None
        float64 (n,): Euclidean distance of both over the root mean square distance of two explanations before; None
        if all of those are the same.
    """
    first, second = before.double().flatten(1), after.double().flatten(1)
    apart = (2 * first.var(0).sum()).sqrt()
    return (second - first).norm(dim=1) / apart if apart > 0 else None


def largest(changes: Iterator[Tensor | None]) -> Tensor | None:
    """The largest change of each image under any perturbation; None where none is defined."""
    found = [change for change in changes if change is not None]
    return torch.stack(found).amax(0) if found else None
