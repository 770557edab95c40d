"""E7: explanations of some channels of the last convolution: nested, disjoint and random subsets of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.cladec.shared import last_convolution, sample_indices
from cladec_companion.records.samples import as_uint8, places
from cladec_companion.records.settings import Settings, data_sets, epochs_of, parameter
from cladec_core import measures, networks, training
from cladec_core.errors import UsageError


@dataclass(frozen=True)
class SubsetsSettings(Settings):
    """Parameters of the experiment `subsets` (E7): which channels of the last convolution are explained."""

    experiment: ClassVar[str] = "subsets"
    datasets: tuple[str, ...] = data_sets(("fashion_mnist",), ("fashion_mnist",))
    decoder_epochs: int = epochs_of(1, 4, 4, 64, of="the decoders")
    sizes: tuple[int, ...] = parameter(
        (64, 10, 1), (512, 64, 10, 1), (512, 256, 128, 51, 10, 4, 1), (512, 256, 128, 64, 51, 32, 16, 10, 8, 4, 2, 1),
        "nested subsets: the first so many channels", axis=True,
    )  # fmt: skip
    disjoint_size: int = parameter(*(10,) * 4, "channels of each disjoint and of each random subset")
    disjoint_count: int = parameter(
        2, 2, 5, 10, "disjoint subsets of consecutive channels", limits=(1, 10_000), axis=True
    )
    random_repeats: int = parameter(
        1, 2, 5, 10, "random subsets of the same size; 0: none", limits=(0, 10_000), axis=True
    )

    def __post_init__(self) -> None:
        """Check every subset against every architecture."""
        super().__post_init__()
        for architecture in self.architectures:
            layer, channels = last_convolution(architecture, self.width)
            for name, sizes in (("sizes", self.sizes), ("disjoint_size", (self.disjoint_size,))):
                for size in sizes:
                    if not 1 <= size <= channels:
                        problem = "an empty subset" if size < 1 else f"more than {layer} of {architecture} has"
                        raise UsageError(f"{name} has {size} ({problem}); valid: from 1 to {channels}.")
            if self.disjoint_size * self.disjoint_count > channels:
                raise UsageError(
                    f"disjoint_count is {self.disjoint_count}: so many disjoint subsets of {self.disjoint_size} need "
                    f"more than the {channels} channels of {layer}; valid: from 1 to {channels // self.disjoint_size}."
                )


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
    # Random ones, and as many single channels: one alone says nothing of the others (B35).
    for size in dict.fromkeys((settings.disjoint_size, 1)):
        yield from (Part(layer, "random", size, number) for number in range(settings.random_repeats))


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
        clean = setup.test(classifier).argmax(1)
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
        predicted = setup.test(classifier, reconstructions).argmax(1)
        rows = [_row(part, "cladec", *found) for found in _measure(setup, reconstructions, predicted)]
        rows += [
            _row(part, *found) for found in _read(setup, nn.Sequential(layer, networks.Select(channels)), part.size)
        ]
    if not keep_samples:
        return rows, {}
    at = sample_indices(data.test_labels, clean, wrong=0, bags=0).to(data.test_labels.device)
    if part.subset == FLOORS:
        labels = data.test_labels[at].cpu().numpy().astype(np.uint8)
        samples = {"label": labels, "original": as_uint8(data.to_unit(data.test_images[at]))}
    else:
        samples = {f"{part.subset}/{part.size}/{part.number}": as_uint8(data.to_unit(reconstructions[at]))}
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
