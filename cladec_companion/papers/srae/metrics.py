"""What the SRAE paper measures of an explanation: faithfulness, orthogonality of maps, and what masked images keep."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from cladec_core.errors import UsageError, one_of

INPAINTING = ("mean", "biharmonic")
SIGMA = 2.0  # pixels
SMALLEST_DETERMINANT = 1e-12  # below it is rounding: O2 of copies is this one's, 27.6, and not infinite


def regression_error(predicted: Tensor, logits: Tensor) -> float:
    """F_reg: the mean absolute difference of a logit and of what the x-features make of it, both (examples,)."""
    return (predicted - logits).abs().double().mean().item()


def unchanged_classes(predicted: Tensor, logits: Tensor, target: int) -> float:
    """F_cls: share of examples that keep their class when the target's logit is replaced by the predicted one.

    Parameters
    ----------
    predicted
        (examples,).
    logits
        Of all classes, (examples, classes).
    target
        The class that is explained.
    """
    return _unchanged(predicted, logits, target).double().mean().item()


def unchanged_by_class(predicted: Tensor, logits: Tensor, target: int) -> tuple[float, float]:
    """F_cls of the examples that the classifier takes for the target, and of all others.

    Of ten classes of equal size a low logit for all examples leaves nine in ten as they are, so F_cls over all examples
    is high whatever is predicted. Here such a logit has 0 of the one kind and 1 of the others.

    Parameters
    ----------
    predicted, logits, target
        As of `unchanged_classes`.

    Returns
    -------
    tuple of float
        NaN where there is no such example.
    """
    same, own = _unchanged(predicted, logits, target), logits.argmax(1) == target
    return same[own].double().mean().item(), same[~own].double().mean().item()


def _unchanged(predicted: Tensor, logits: Tensor, target: int) -> Tensor:
    """Which examples keep their class, bool (examples,)."""
    replaced = logits.clone()
    replaced[:, target] = predicted
    return replaced.argmax(1) == logits.argmax(1)


def correlations(maps: Tensor) -> Tensor:
    """P: correlation coefficients of the maps of different x-features, over all pixels of all images.

    Parameters
    ----------
    maps
        (images, n, height, width).

    Returns
    -------
    Tensor
        float64 (n, n).

    Raises
    ------
    UsageError
        If the maps of an x-feature are the same everywhere: it has no correlation.
    """
    vectors = maps.double().movedim(1, 0).flatten(1)
    vectors = vectors - vectors.mean(1, keepdim=True)
    length = vectors.square().sum(1).sqrt()
    if (length == 0).any():
        raise UsageError(f"The maps of {int((length == 0).sum())} x-features are constant; valid: maps that vary.")
    return (vectors / length[:, None]) @ (vectors / length[:, None]).T


def orthogonality(maps: Tensor) -> tuple[float, float]:
    """O1 and O2, both 0 where maps are uncorrelated.

    Returns
    -------
    tuple of float
        O1, the Frobenius norm of P less that of a unit matrix; O2, the negative logarithm of its determinant, for which
        `SMALLEST_DETERMINANT` stands where the map of one x-feature is a sum of others'.
    """
    found = correlations(maps)
    determinant = max(torch.linalg.det(found).item(), SMALLEST_DETERMINANT)
    return found.norm().item() - len(found) ** 0.5, -math.log(determinant)


def smoothed(maps: Tensor, sigma: float = SIGMA) -> Tensor:
    """Maps (images, n, height, width) after a Gaussian: convolutions with strides leave a grid in them."""
    return gaussian_blur(maps, [2 * round(2 * sigma) + 1] * 2, [sigma, sigma])


def kept_pixels(maps: Tensor, gamma: float) -> Tensor:
    """Which pixels are shown: those where a map has at least γ of its strongest response, in any of the maps.

    Parameters
    ----------
    maps
        (images, n, height, width).
    gamma
        From 0 to 1.

    Returns
    -------
    Tensor
        bool (images, height, width).

    Raises
    ------
    UsageError
        For another γ.
    """
    if not 0 <= gamma <= 1:
        raise UsageError(f"gamma is {gamma}; valid: from 0 to 1.")
    strongest = maps.amax((-2, -1), keepdim=True)
    return ((maps >= gamma * strongest) & (maps > 0)).any(1)


def strongest_pixels(maps: Tensor, count: Tensor) -> Tensor:
    """As many of the pixels with the strongest responses of a single map as another mask shows.

    Parameters
    ----------
    maps
        (images, 1, height, width).
    count
        How many, of each image, (images,).

    Returns
    -------
    Tensor
        bool (images, height, width).
    """
    flat = maps.flatten(1)
    places = flat.argsort(1, descending=True).argsort(1)
    return (places < count[:, None]).view(len(maps), *maps.shape[-2:])


def masked(images: Tensor, kept: Tensor, inpainting: str = "mean") -> Tensor:
    """Black out what is not kept, and fill it in again.

    Parameters
    ----------
    images
        Grey values, (images, channels, height, width).
    kept
        bool (images, height, width).
    inpainting
        "mean": the mean of what is kept of the image; "biharmonic": scikit-image's smooth continuation.

    Returns
    -------
    Tensor
        Of the shape of `images`.

    Raises
    ------
    UsageError
        For another name.
    """
    one_of("inpainting", inpainting, INPAINTING)
    fill: Callable[[Tensor, Tensor], Tensor] = _mean if inpainting == "mean" else _biharmonic
    return torch.stack([fill(image, shown) for image, shown in zip(images, kept, strict=True)])


def _mean(image: Tensor, kept: Tensor) -> Tensor:
    inside = image[:, kept]
    mean = inside.mean(1) if inside.shape[1] else image.new_zeros(len(image))
    return torch.where(kept, image, mean[:, None, None])


def _biharmonic(image: Tensor, kept: Tensor) -> Tensor:
    from skimage.restoration import inpaint_biharmonic

    if kept.all() or not kept.any():  # nothing to fill in, or nothing to continue
        return torch.where(kept, image, torch.zeros_like(image))
    filled = inpaint_biharmonic(image.cpu().numpy().astype(np.float64), ~kept.cpu().numpy(), channel_axis=0)
    return torch.from_numpy(filled).to(image.device, image.dtype)
