"""E9: which squares of an image matter. Occlude each, and see what the explanation and the classifier lose."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.engine.rows import mean_and_error, rows_of, summary
from cladec_companion.engine.runner import CellRun, Rows, Samples
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.cladec.occlusion.settings import OcclusionSettings
from cladec_companion.papers.cladec.shared import sample_indices, still_falling
from cladec_companion.papers.xai.attribution import Around, attribute
from cladec_companion.records.samples import as_uint8, places
from cladec_core import measures, training
from cladec_core.data import SIZE

CURVE_IMAGES = 1_000
MAP_BATCH = 256  # maps keep every layer's activations
SHOWN = 6
MOVED = 4  # shown images for which the square is kept at every position, at 4 x 4 positions if the run has fewer


def run_cell(setup: Setup, part: str, keep_samples: bool) -> CellRun:
    """Measure random relevance and heat maps that need no layer, or ClaDec and GradCAM at one layer.

    Returns
    -------
    rows
        {"method", "squares", "metric", "value"}; `squares` is how many squares are occluded at once.
    samples
        uint8 images at fixed test images, if asked for.
    """
    images, settings = setup.data.test_images, _settings(setup)
    masks = squares(settings.square, settings.corners).to(images.device)
    if part == CLASSIFIER:
        (classifier,) = yield [setup.classifier]
    else:
        classifier, decoder = yield [setup.classifier, setup.decoder(part)]
    right = torch.stack([_right(setup, classifier, images.masked_fill(mask, 0)) for mask in masks], 1)
    rows: Rows = []
    if part == CLASSIFIER:
        relevance = {name: map_relevance(setup, classifier, name, masks) for name in settings.maps}
        relevance["random"] = torch.zeros(right.shape, device=images.device)  # all alike: drawn uniformly
        clean = {"accuracy": _right(setup, classifier, images).double().mean().item(), "test_images": len(images)}
        rows += rows_of({CLASSIFIER: clean}, squares=0)
        samples = _originals(setup, classifier) if keep_samples else {}
    else:
        relevance = explanation_relevance(setup, decoder, masks)
        maps = [measures.gradcam(classifier, part, batch) for batch in images.split(MAP_BATCH)]
        relevance["gradcam"] = square_sums(torch.cat(maps), masks)
        samples = _pictures(setup, part, classifier, decoder, relevance["cladec"], masks) if keep_samples else {}
        rows += rows_of(dict.fromkeys(("cladec", "cladec whole"), still_falling(decoder)), squares=1)
    contrast = square_sums(images.square().sum(1), masks)
    for method, scores in relevance.items():
        seeds = [training.derive_seed(setup.seed, "occlusion", part, method, end) for end in ("most", "least")]
        found = accuracies(right, scores, *seeds) | rank_agreement(scores, contrast)
        rows += rows_of({method: found}, squares=1)
        if method == "cladec whole":  # a variant of the primary measure (reading C-13): no curve of its own
            continue
        for metric, order in {
            "curve_most": ranking(scores, seeds[0]),
            "curve_least": ranking(-scores, seeds[1]),
        }.items():
            curve = deletion_curve(setup, classifier, order[:CURVE_IMAGES], masks)
            for count, value in enumerate(curve):
                rows += rows_of({method: {metric: value}}, squares=count)
    return rows, samples


def squares(side: int, corners: Sequence[int]) -> Tensor:
    """Masks of all squares, (squares, 32, 32), true inside; rows of corners first, then columns."""
    masks = torch.zeros(len(corners) ** 2, SIZE, SIZE, dtype=torch.bool)
    for mask, (top, left) in zip(masks, product(corners, corners), strict=True):
        mask[top : top + side, left : left + side] = True
    return masks


def square_sums(maps: Tensor, masks: Tensor) -> Tensor:
    """Sum of each map over each square: (n, 32, 32) and (squares, 32, 32) -> (n, squares)."""
    return torch.stack([(maps * mask).sum((1, 2)) for mask in masks], 1)


def map_relevance(setup: Setup, classifier: nn.Module, method: str, masks: Tensor) -> Tensor:
    """What a heat map of the predicted class says of each square of the test images, (n, squares)."""
    images, around = setup.data.test_images, Around(setup.data.train_images)
    batches = zip(images.split(MAP_BATCH), setup.test(classifier).argmax(1).split(MAP_BATCH), strict=True)
    maps = [attribute(classifier, batch, own, method=method, around=around) for batch, own in batches]
    return square_sums(torch.cat(maps), masks)


def explanation_relevance(setup: Setup, decoder: nn.Module, masks: Tensor) -> dict[str, Tensor]:
    """Squared change of the reconstruction when a square is filled with the training mean (section 6.6).

    Returns
    -------
    dict
        `cladec`: summed over the square, as printed. `cladec whole`: over the whole image (reading C-13).
        Each (n, squares).
    """
    images, before = setup.data.test_images, setup.test(decoder)
    inside, whole = [], []
    for mask in masks:
        change = (setup.test(decoder, images.masked_fill(mask, 0)) - before).square().sum(1)
        inside.append((change * mask).sum((1, 2)))
        whole.append(change.sum((1, 2)))
    return {"cladec": torch.stack(inside, 1), "cladec whole": torch.stack(whole, 1)}


def ranking(relevance: Tensor, seed: int) -> Tensor:
    """Squares of each image from the most to the least relevant, ties in random order (reading C-15).

    (n, squares) -> (n, squares), int64. The first column is therefore a uniform draw among the most relevant.
    """
    noise = torch.rand(relevance.shape, generator=torch.Generator().manual_seed(seed))
    shuffled = noise.argsort(1).to(relevance.device)
    return shuffled.gather(1, relevance.gather(1, shuffled).argsort(dim=1, descending=True, stable=True))


def accuracies(right: Tensor, relevance: Tensor, seed_most: int, seed_least: int) -> dict[str, float]:
    """Accuracy when the most or the least relevant square is occluded.

    Parameters
    ----------
    right
        Whether the classifier is right with each square occluded, (n, squares).
    relevance
        (n, squares).
    seed_most, seed_least
        Decide between ties, independently.

    Returns
    -------
    dict
        `acc_max`, `acc_min`; `delta_error`: standard error of acc_min - acc_max over the images;
        `acc_min_shared`: ties decided by the draw of the maximum (claim B44); `ties`: share of images whose
        squares are all equally relevant.
    """
    orders = [ranking(relevance, seed_most), ranking(-relevance, seed_least), ranking(-relevance, seed_most)]
    most, least, shared = (right.gather(1, order[:, :1]).double() for order in orders)
    _, error = mean_and_error(least - most) or (math.nan, math.nan)
    return {
        "acc_max": most.mean().item(),
        "acc_min": least.mean().item(),
        "acc_min_shared": shared.mean().item(),
        "delta_error": error,
        "ties": (relevance.amax(1) == relevance.amin(1)).double().mean().item(),
    }


def deletion_curve(setup: Setup, classifier: nn.Module, order: Tensor, masks: Tensor) -> list[float]:
    """Accuracy of the classifier with the first k squares of each test image's order occluded, k = 0, 1, ..."""
    images = setup.data.test_images[: len(order)]
    hidden = torch.zeros_like(images[:, :1], dtype=torch.bool)
    curve = [_right(setup, classifier, images).double().mean().item()]
    for column in order.T:
        hidden |= masks[column].unsqueeze(1)
        curve.append(_right(setup, classifier, images.masked_fill(hidden, 0)).double().mean().item())
    return curve


def rank_agreement(relevance: Tensor, contrast: Tensor) -> dict[str, float]:
    """Spearman's correlation of relevance and contrast: mean over images, and its error; nothing if undefined (B49)."""
    values = measures.rank_correlation(relevance, contrast, constant=torch.nan)
    known = values[~values.isnan()]
    if len(known) == 1:  # it has a correlation, but no error
        return {"contrast_correlation": known.item()}
    return summary({"contrast_correlation": known})


def _right(setup: Setup, classifier: nn.Module, images: Tensor) -> Tensor:
    return setup.test(classifier, images).argmax(1) == setup.data.test_labels[: len(images)]


def _shown(setup: Setup, classifier: nn.Module) -> Tensor:
    labels, predicted = setup.data.test_labels, setup.test(classifier).argmax(1)
    return sample_indices(labels, predicted, wrong=0, bags=0)[-SHOWN:].to(labels.device)


def _originals(setup: Setup, classifier: nn.Module) -> Samples:
    data, at = setup.data, _shown(setup, classifier)
    samples = places(at) | {
        "label": data.test_labels[at].cpu().numpy().astype(np.uint8),
        "original": as_uint8(data.to_unit(data.test_images[at])),
        "filling": as_uint8(data.to_unit(torch.zeros_like(data.test_images[:1, :, :1, :1]))),
    }
    if _first(setup):
        settings = _settings(setup)
        corners = _all_corners(settings)
        covered = _covered(data.test_images[at[-MOVED:]], squares(settings.square, corners))
        seen = setup.test(classifier, covered.flatten(0, 1)).softmax(1).unflatten(0, covered.shape[:2])
        score, predicted = (found.cpu().numpy() for found in seen.max(2))
        samples["moved corners"] = np.array(corners, np.uint8)
        samples["moved predicted"] = predicted.astype(np.uint8)
        samples["moved score"] = np.rint(100 * score).astype(np.uint8)
    return samples


def _first(setup: Setup) -> bool:
    """Whether this is the run of which the moved square is kept: one is enough, and records stay small."""
    settings = setup.settings
    return (setup.data.name, setup.architecture) == (settings.datasets[0], settings.architectures[0])


def _settings(setup: Setup) -> OcclusionSettings:
    assert isinstance(setup.settings, OcclusionSettings)
    return setup.settings


def _all_corners(settings: OcclusionSettings) -> list[int]:
    wide = len(settings.corners) >= 4
    return list(settings.corners) if wide else np.linspace(0, SIZE - settings.square, 4).round().astype(int).tolist()


def _covered(images: Tensor, masks: Tensor) -> Tensor:
    """Each image with each square filled: (n, c, 32, 32) and (squares, 32, 32) -> (n, squares, c, 32, 32)."""
    return torch.stack([images.masked_fill(mask.to(images.device), 0) for mask in masks], 1)


def _pictures(
    setup: Setup, layer: str, classifier: nn.Module, decoder: nn.Module, relevance: Tensor, masks: Tensor
) -> Samples:
    """What Fig. 16 shows: the least and the most relevant square occluded, and what the decoder makes of it."""
    at = _shown(setup, classifier)
    images = setup.data.test_images[at]
    variants = {"clean": images}
    for name, chosen in (("min", relevance.argmin(1)), ("max", relevance.argmax(1))):
        variants[name] = images.masked_fill(masks[chosen[at]].unsqueeze(1), 0)
    samples = {
        f"{layer}/{name}": as_uint8(setup.data.to_unit(part)) for name, part in variants.items() if name != "clean"
    }
    for name, part in variants.items():
        samples[f"{layer}/{name} reconstruction"] = as_uint8(setup.data.to_unit(setup.test(decoder, part)))
    if _first(setup):
        settings = _settings(setup)
        moved = _covered(images[-MOVED:], squares(settings.square, _all_corners(settings)))
        made = setup.test(decoder, moved.flatten(0, 1)).unflatten(0, moved.shape[:2])
        samples[f"{layer}/moved reconstruction"] = as_uint8(setup.data.to_unit(made))
    return samples | places(at)
