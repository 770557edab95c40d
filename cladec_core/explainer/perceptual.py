"""A loss that asks for the same structure rather than for the same pixels."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from cladec_core import training

WINDOW = 7  # pixels: the side of the squares whose mean, variance and covariance are compared
SCALES = 4  # at most: the images themselves, and halved again and again while a window fits
STRUCTURE = 0.84  # share of the structural term, as Zhao et al. chose it for restored images
STEADY = 0.01**2, 0.03**2  # added to means and to variances, for values from 0 to 1 (Wang et al.)


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity of images, averaged over windows and channels (Wang et al. 2004, uniform windows).

    Parameters
    ----------
    first, second
        (n, channels, height, width), values from 0 to 1.

    Returns
    -------
    Tensor
        (n,), at most 1, where the images are the same.
    """
    side = min(WINDOW, *first.shape[-2:])

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, side, stride=1)

    means = mean(first), mean(second)
    variances = (mean(image.square()) - centre.square() for image, centre in zip((first, second), means, strict=True))
    product = means[0] * means[1]
    covariance = mean(first * second) - product
    light = (2 * product + STEADY[0]) / (means[0].square() + means[1].square() + STEADY[0])
    return (light * (2 * covariance + STEADY[1]) / (sum(variances) + STEADY[1])).flatten(1).mean(1)


def at_scales(first: Tensor, second: Tensor) -> Tensor:
    """`similarity` of images and of the same images halved in size, averaged over the sizes; (n,)."""
    found = [similarity(first, second)]
    while len(found) < SCALES and min(first.shape[-2:]) >= 2 * WINDOW:
        first, second = (F.avg_pool2d(images, 2) for images in (first, second))
        found.append(similarity(first, second))
    return sum(found[1:], found[0]) / len(found)


@dataclass(frozen=True, eq=False)
class PerceptualLoss:
    """Unlike structure at several scales and absolute differences, with the classification loss of Eq. 1 beside them.

    Attributes
    ----------
    restore
        From standardised images to the user's units.
    low, high
        Lowest and highest value of the images in these units.
    classifier, alpha
        As of `training.ClaDecLoss`.
    """

    restore: nn.Module
    low: float
    high: float
    classifier: nn.Module | None = None
    alpha: float = 0.0

    def __call__(self, output: Tensor, images: Tensor, *labels: Tensor) -> Tensor:
        """Loss of reconstructions (n, channels, height, width), as a scalar: a mean over the batch."""
        made, given = ((self.restore(batch) - self.low) / (self.high - self.low) for batch in (output, images))
        structure: Tensor = (1 - at_scales(made, given)).mean()
        loss: Tensor = STRUCTURE * structure + (1 - STRUCTURE) * (made - given).abs().mean()
        if self.classifier is None:
            return loss
        classified: Tensor = training.classification_loss(self.classifier(output).float(), *labels)
        return (1 - self.alpha) * loss + self.alpha * classified
