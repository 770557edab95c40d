"""E7: explanations of some channels of the last convolution: nested, disjoint and random subsets of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cladec_companion.engine.study import Study
from cladec_companion.papers.cladec.layers.experiment import Rows, Samples, as_uint8, sample_indices
from cladec_companion.records.settings import SubsetsSettings, last_convolution
from cladec_core import measures, networks, training

FLOORS = "floors"  # the part of what does not depend on a subset


@dataclass(frozen=True)
class Part:
    """A subset of a layer's channels.

    Attributes
    ----------
    layer, subset
        The layer, and the kind: "nested" (the first so many), "disjoint" (consecutive) or "random".
    size, number
        How many channels, and which of the subsets of that kind and size: 0, 1, ...
    """

    layer: str
    subset: str
    size: int
    number: int

    def __str__(self) -> str:
        return f"{self.layer} {self.subset} {self.size} {self.number}"

    def channels(self, total: int, seed: int) -> list[int]:
        """The channels, ascending; random ones depend on the seed of the run."""
        if self.subset != "random":
            first = self.number * self.size
            return list(range(first, first + self.size))
        draw = torch.Generator().manual_seed(training.derive_seed(seed, "channels", self.size, self.number))
        return sorted(torch.randperm(total, generator=draw)[: self.size].tolist())


def cells(settings: SubsetsSettings, architecture: str) -> Iterator[Part]:
    """One part for what the subsets are compared with, then one for each subset."""
    layer, _ = last_convolution(architecture, settings.width)
    yield Part(layer, FLOORS, 0, 0)
    yield from (Part(layer, "nested", size, 0) for size in settings.sizes)
    yield from (Part(layer, "disjoint", settings.disjoint_size, number) for number in range(settings.disjoint_count))
    yield from (Part(layer, "random", settings.disjoint_size, number) for number in range(settings.random_repeats))


def run_cell(study: Study, part: Part, keep_samples: bool) -> tuple[Rows, Samples]:
    """Train a decoder on one subset, and measure its reconstructions, over all test images and per class.

    Returns
    -------
    rows
        {"layer", "subset", "size", "number", "method", "class", "metric", "value"}; an empty class means all.
        `dead_channels` counts those never above zero on the first `measures.PROBE_IMAGES` training images.
    samples
        uint8 images at fixed test images, if asked for.
    """
    data = study.data
    clean = study.test(study.classifier).argmax(1)
    if part.subset == FLOORS:
        values = _measure(study, measures.mean_image(data), None)
        rows = [_row(part, "mean image", *found) for found in values]
        rows.append(_row(part, "classifier", "", "accuracy", _share(clean == data.test_labels)))
        rows.append(_row(part, "classifier", "", "test_images", len(clean)))
    else:
        layer = study.classifier.up_to(part.layer)
        total = networks.activation_shape(layer, data.test_images.shape[1:])[0]
        channels = part.channels(total, study.seed)
        decoder = study.decoder(part.layer, channels=None if part.size == total else channels)
        reconstructions = study.test(decoder)
        predicted = study.test(study.classifier, reconstructions).argmax(1)
        rows = [_row(part, "cladec", *found) for found in _measure(study, reconstructions, predicted)]
        rows += [
            _row(part, *found) for found in _read(study, nn.Sequential(layer, networks.Select(channels)), part.size)
        ]
    if not keep_samples:
        return rows, {}
    at = sample_indices(data.test_labels, clean, wrong=0, bags=0).to(data.test_labels.device)
    if part.subset == FLOORS:
        labels = data.test_labels[at].cpu().numpy().astype(np.uint8)
        return rows, {"label": labels, "original": as_uint8(data.to_unit(data.test_images[at]))}
    return rows, {f"{part.subset}/{part.size}/{part.number}": as_uint8(data.to_unit(reconstructions[at]))}


Found = tuple[str, str, float]  # class, metric, value


def _measure(study: Study, reconstructions: Tensor, predicted: Tensor | None) -> Iterator[Found]:
    """Loss and accuracy of the classifier on reconstructions, for all test images and for each class."""
    data, labels = study.data, study.data.test_labels
    for name, chosen in [("", labels >= 0), *((str(label), labels == label) for label in range(len(data.classes)))]:
        if not chosen.any():  # a small test_limit may leave a class out
            continue
        losses = measures.reconstruction_losses(data.test_images[chosen], reconstructions[chosen], data.std)
        yield from (
            (name, metric, value) for metric, value in losses.items() if not name or metric == "loss_standardised"
        )
        if predicted is not None:
            yield name, "accuracy", _share(predicted[chosen] == labels[chosen])


def _read(study: Study, encoder: nn.Module, size: int) -> Iterator[tuple[str, str, str, float]]:
    """What the subset's activations tell themselves: dead channels, and a linear probe for each class."""
    data, labels, count = study.data, study.data.test_labels, measures.PROBE_IMAGES
    pooled = nn.Sequential(encoder, measures.Pool())
    train, test = training.apply(pooled, data.train_images[:count], study.on), study.test(pooled)
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
