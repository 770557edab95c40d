"""Contrasts from methods that explain one class: what the paper compares CDeepEx with (section 4.1).

LIME, GradCAM, LRP and prediction difference analysis say why the classifier sees a class. To ask them why it does not
see another one, the paper takes the map of each class, gives that of the probe a weight, subtracts, and keeps what
lowers the likelihood of the true class and raises that of the probe when it is imposed on the image; the explanation is
the mean of what is kept. The maps come from the call that the chapter on heat maps uses (`xai.attribution`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cladec_companion.papers.xai.attribution import Around, attribute
from cladec_core.errors import one_of
from cladec_core.networks import in_eval_mode
from cladec_core.training import exact_float32

WEIGHTS = tuple(round(0.005 * step, 3) for step in range(1, 401))  # 0.005 to 2, as printed
# Name -> the paper's name, method of `attribute`, and its options.
METHODS: dict[str, tuple[str, str, Mapping[str, Any]]] = {
    "lime": ("LIME", "lime", {"samples": 200}),
    "gradcam": ("GradCAM", "gradcam", {}),
    "lrp": ("LRP", "lrp_composite", {}),
    "pda": ("PDA", "pda", {"samples": 4}),
}


@dataclass(frozen=True, eq=False)
class Combined:
    """A contrast from two maps.

    Attributes
    ----------
    change
        What is added to each image, (n, height, width), in the images' unit; 0 where no weight would do.
    kept
        For how many weights the contrast did what it should, (n,).
    """

    change: Tensor
    kept: Tensor


def contrast(
    model: nn.Module, images: Tensor, true: Tensor, probe: Tensor, *, method: str, around: Around,
    value_range: tuple[float, float], weights: tuple[float, ...] = WEIGHTS,
) -> Combined:  # fmt: skip
    """Ask a method that explains one class why images are not of another one.

    Parameters
    ----------
    model, images
        The classifier, and (n, channels, height, width).
    true, probe
        Classes, int64 (n,).
    method
        One of `METHODS`.
    around
        What the method needs beside (see `attribution.Around`); GradCAM needs a layer.
    value_range
        Of the images: what is imposed on an image stays inside.
    weights
        Of the probe's map.

    Raises
    ------
    UsageError
        For another method, or what `attribute` refuses.
    """
    one_of("method", method, METHODS)
    _, name, options = METHODS[method]
    maps = [attribute(model, images, label, method=name, around=around, **options) for label in (true, probe)]
    return combine(model, images, true, probe, maps[0], maps[1], value_range=value_range, weights=weights)


@exact_float32()
@torch.no_grad()
def combine(
    model: nn.Module, images: Tensor, true: Tensor, probe: Tensor, of_true: Tensor, of_probe: Tensor, *,
    value_range: tuple[float, float], weights: tuple[float, ...] = WEIGHTS,
) -> Combined:  # fmt: skip
    """Search the weights of two maps (n, height, width) for contrasts that do what they should, and average these.

    Each map is scaled to a largest size of 1, and 1 counts as the range of the images: the paper prints no scale.
    """
    low, high = value_range
    first, second = (_scaled(part).to(images) * (high - low) for part in (of_true, of_probe))
    places = torch.arange(len(images), device=images.device)
    total, kept = torch.zeros_like(first), torch.zeros(len(images), device=images.device)
    with in_eval_mode(model):
        before = model(images).softmax(1)
        for weight in weights:
            change = weight * second - first
            after = model((images + change.unsqueeze(1)).clamp(low, high)).softmax(1)
            fits = after[places, true] < before[places, true]
            fits &= after[places, probe] > before[places, probe]
            total += change * fits.view(-1, 1, 1)
            kept += fits
    return Combined(total / kept.clamp(min=1).view(-1, 1, 1), kept.long())


def _scaled(maps: Tensor) -> Tensor:
    return maps / maps.abs().amax((1, 2), keepdim=True).clamp(min=1e-12)
