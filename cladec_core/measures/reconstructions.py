"""What is reported about reconstructions and predictions."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cladec_core.data import ImageData
from cladec_core.measures.correlations import correlation


def reconstruction_losses(images: Tensor, reconstructions: Tensor, std: Tensor) -> dict[str, float]:
    """Reconstruction loss of standardised images in the scales that the papers mix (finding 2, reading C-9).

    Parameters
    ----------
    images, reconstructions
        Standardised, (n, channels, height, width).
    std
        Standard deviation of the training images per channel, (channels, 1, 1).

    Returns
    -------
    dict
        `loss_standardised`: mean squared error per standardised value (Tables 2, 3). `loss_raw_mean`: the same
        with grey values in [0, 1]. `loss_raw_sum`: summed over the image, then averaged over images (Eq. 1,
        Tables 4-6). `loss_norm`: mean Euclidean norm in grey values (the formula of section 5 as printed).
    """
    error = (images - reconstructions).double()
    squared_sum = (error * std.double()).square().flatten(1).sum(1)
    return {
        "loss_standardised": error.square().mean().item(),
        "loss_raw_mean": squared_sum.mean().item() / images[0].numel(),
        "loss_raw_sum": squared_sum.mean().item(),
        "loss_norm": squared_sum.sqrt().mean().item(),
    }


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of rows of logits (n, classes) whose largest one is that of the label, (n,)."""
    return (logits.argmax(1) == labels).double().mean().item()


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Mean classification loss of logits (n, classes) for labels (n,), in nats."""
    return F.cross_entropy(logits.double(), labels).item()


def mean_image(data: ImageData) -> Tensor:
    """The mean training image as the reconstruction of every test image, (n, channels, height, width).

    No other single image has a smaller loss on the training images.
    """
    return data.train_images.mean(0).expand_as(data.test_images)


def class_means(data: ImageData) -> Tensor:
    """The mean training image of each class, (classes, channels, height, width)."""
    classes = range(len(data.classes))
    return torch.stack([data.train_images[data.train_labels == label].mean(0) for label in classes])


def loss_rank_correlation(images: Tensor, first: Tensor, second: Tensor) -> float:
    """Spearman correlation, over images (n, ...), of the losses of two reconstructions of them (claim B52)."""
    from scipy.stats import spearmanr

    losses = [(images - part).square().flatten(1).sum(1).cpu().numpy() for part in (first, second)]
    return float(spearmanr(*losses).statistic)


def pixel_correlation(images: Tensor, reconstructions: Tensor) -> float:
    """Correlation of an image's values with its reconstruction's, averaged over images (claim B20).

    An image or reconstruction without contrast counts as 0.
    """
    return correlation(images, reconstructions, constant=0.0).mean().item()


def distance(first: Tensor, second: Tensor) -> float:
    """Mean squared difference, per value, of two sets of standardised images of one shape."""
    return (first - second).double().square().mean().item()


def within_class_variance(images: Tensor, labels: Tensor) -> float:
    """Mean squared distance to the mean of the own class, per value: small means prototypical (claim B13)."""
    total = 0.0
    for label in labels.unique():
        members = images[labels == label].double()
        total += (members - members.mean(0)).square().sum().item()
    return total / images.numel()


def within_class_share(images: Tensor, labels: Tensor) -> float:
    """Share of the variance of images that lies within classes, not between them (claim B13).

    Blurred images vary less altogether; the share says whether those of one class have become alike.
    """
    spread = images.double() - images.double().mean(0)
    total = spread.square().sum().item() / images.numel()
    return within_class_variance(images, labels) / total if total else 0.0


def _correlation(first: Tensor, second: Tensor) -> float:
    return float(np.corrcoef(first.cpu().numpy(), second.cpu().numpy())[0, 1])


def sharpness(unit_images: Tensor) -> Tensor:
    """Variance of the Laplacian of each image, (n,): the energy of texture and edges (claim B12)."""
    kernel = unit_images.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    grey = unit_images.mean(1, keepdim=True)
    return F.conv2d(grey, kernel).flatten(1).var(1)


def concepts_kept(unit_images: Tensor, unit_reconstructions: Tensor) -> dict[str, float]:
    """How much of grey tone, texture and shape a reconstruction keeps (claim B12).

    Parameters
    ----------
    unit_images, unit_reconstructions
        (n, channels, height, width), grey values in [0, 1], objects brighter than the background.

    Returns
    -------
    dict
        `grey_tone`: correlation over images of the object's mean intensity. `texture`: ratio of the mean
        Laplacian variances. `shape`: mean intersection over union of the silhouettes (grey value above 0.1).
    """
    before, after = unit_images.clamp(0, 1), unit_reconstructions.clamp(0, 1)
    mask, mask_after = before.mean(1) > 0.1, after.mean(1) > 0.1
    inside = mask.flatten(1).sum(1).clamp(min=1)
    tone, tone_after = ((part.mean(1) * mask).flatten(1).sum(1) / inside for part in (before, after))
    union = (mask | mask_after).flatten(1).sum(1).clamp(min=1)
    return {
        "grey_tone": _correlation(tone, tone_after),
        "texture": (sharpness(after).mean() / sharpness(before).mean()).item(),
        "shape": ((mask & mask_after).flatten(1).sum(1) / union).double().mean().item(),
    }
