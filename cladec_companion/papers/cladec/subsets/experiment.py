"""E7: explanations of some channels of the last convolution: nested, disjoint and random subsets of them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.cladec.layer_parameters import last_convolution
from cladec_companion.papers.cladec.shared import sample_indices
from cladec_companion.papers.cladec.subsets.settings import FLOORS, Part
from cladec_companion.records.samples import as_uint8, places, scored
from cladec_core import measures, networks, training


def run_cell(setup: Setup, part: Part, keep_samples: bool) -> CellRun:
    """Train a decoder on one subset, and measure its reconstructions, over all test images and per class.

    Returns
    -------
    rows
        {"layer", "subset", "size", "number", "method", "class", "metric", "value"}; an empty class means all.
        `dead_channels` counts those never above zero on the first `measures.PROBE_IMAGES` training images.
    samples
        uint8 images at fixed test images, if asked for.
    """
    data = setup.data
    if part.subset == FLOORS:
        (classifier,) = yield [setup.classifier]
        logits = setup.test(classifier)
        clean = logits.argmax(1)
        values = _measure(setup, measures.mean_image(data), None)
        rows = [_row(part, "mean training image", *found) for found in values]
        rows.append(_row(part, "classifier", "", "accuracy", _share(clean == data.test_labels)))
        rows.append(_row(part, "classifier", "", "test_images", len(clean)))
    else:
        _, total = last_convolution(setup.architecture, setup.settings.width)
        channels = part.channels(total, setup.seed)
        wanted = setup.decoder(part.layer, channels=None if part.size == total else channels)
        classifier, decoder = yield [setup.classifier, wanted]
        clean, layer = setup.test(classifier).argmax(1), classifier.up_to(part.layer)
        reconstructions = setup.test(decoder)
        seen = setup.test(classifier, reconstructions)
        rows = [_row(part, "cladec", *found) for found in _measure(setup, reconstructions, seen.argmax(1))]
        rows += [
            _row(part, *found) for found in _read(setup, nn.Sequential(layer, networks.Select(channels)), part.size)
        ]
    if not keep_samples:
        return rows, {}
    at = sample_indices(data.test_labels, clean, wrong=0, bags=0).to(data.test_labels.device)
    if part.subset == FLOORS:
        labels = data.test_labels[at].cpu().numpy().astype(np.uint8)
        samples = {"label": labels, "original": as_uint8(data.to_unit(data.test_images[at]))}
        samples |= scored("original", logits[at])
    else:
        name = f"{part.subset}/{part.size}/{part.number}"
        samples = {name: as_uint8(data.to_unit(reconstructions[at]))} | scored(name, seen[at])
    return rows, samples | places(at)


Found = tuple[str, str, float]  # class, metric, value


def _measure(setup: Setup, reconstructions: Tensor, predicted: Tensor | None) -> Iterator[Found]:
    """Loss and accuracy of the classifier on reconstructions, for all test images and for each class."""
    data, labels = setup.data, setup.data.test_labels
    for name, chosen in [("", labels >= 0), *((str(label), labels == label) for label in range(len(data.classes)))]:
        if not chosen.any():  # a small test_limit may leave a class out
            continue
        losses = measures.reconstruction_losses(data.test_images[chosen], reconstructions[chosen], data.std)
        yield from (
            (name, metric, value) for metric, value in losses.items() if not name or metric == "loss_standardised"
        )
        if predicted is not None:
            yield name, "accuracy", _share(predicted[chosen] == labels[chosen])


def _read(setup: Setup, encoder: nn.Module, size: int) -> Iterator[tuple[str, str, str, float]]:
    """What the subset's activations tell themselves: dead channels, and a linear probe for each class."""
    data, labels, count = setup.data, setup.data.test_labels, measures.PROBE_IMAGES
    pooled = nn.Sequential(encoder, measures.Pool())
    train, test = training.apply(pooled, data.train_images[:count], setup.on), setup.test(pooled)
    dead = train.unflatten(1, (size, -1)).amax((0, 2)) <= 0
    yield "activation", "", "dead_channels", int(dead.sum())
    for name in ["", *map(str, labels.unique().tolist())]:
        chosen = labels == int(name) if name else labels >= 0
        score = measures.linear_probe(train, data.train_labels[:count], test[chosen], labels[chosen])
        yield "probe", name, "accuracy", score


def _share(hits: Tensor) -> float:
    return hits.double().mean().item()


def _row(part: Part, method: str, name: str, metric: str, value: float) -> dict[str, Any]:
    return {**vars(part), "method": method, "class": name, "metric": metric, "value": value}
