"""What a referee would ask: one change to the protocol at a time, and what becomes of ΔRec and ΔAcc."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.engine.trainings import Training
from cladec_companion.papers.cladec.shared import LayeredSettings, sample_indices, still_falling
from cladec_companion.records.samples import as_uint8, places
from cladec_companion.records.settings import (
    WIDTHS,
    classifiers,
    data_sets,
    epochs_of,
    images_used,
    names_of,
    parameter,
)
from cladec_core import measures, networks, training
from cladec_core.data import ImageData

BASELINE = "baseline"
CONTROLS = {  # what is different from the baseline
    "same_half": "half of the training images, for everything",
    "other_half": "half of the training images for the classifier, the other half for everything else",
    "originals": "one evaluation classifier for both, trained on original images",
    "mean_loss": "reconstruction losses averaged over pixels, not summed",
    "small_alpha": "the default of the authors' program: averaged losses, and 0.001 for α in ClaDec's",
    "unit": "images in [0, 1], not standardised",
    "sigmoid": "images in [0, 1], and decoders that end in a sigmoid",
    "table1": "the decoder of Table 1",
    "bilinear": "images enlarged by bilinear interpolation",
    "max_pooling": "a VGG with max-pooling in the place of strides",
}


@dataclass(frozen=True)
class ControlsSettings(LayeredSettings):
    """Parameters of the experiment `controls`: which choices are varied, one at a time."""

    experiment: ClassVar[str] = "controls"
    datasets: tuple[str, ...] = data_sets(("fashion_mnist",), ("fashion_mnist",))
    # With ResNet-10, which costs twenty times as much, `paper` would spend two fifths of its time on these.
    architectures: tuple[str, ...] = classifiers(*(("vgg11",),) * 4)
    decoder_epochs: int = epochs_of(1, 5, 4, 64, of="the decoders and of the RefAE")
    train_limit: int | None = images_used(160, 640, 10_000, None)
    width: float = parameter(0.125, 0.25, 1.0, 1.0, "factor on the channels of every classifier layer", limits=WIDTHS)
    layers: tuple[int | str, ...] = parameter(
        (-5,), (-5,), (-3,), (-1, -3), "layers to explain: the paper's index, or a name", axis=True
    )
    controls: tuple[str, ...] = names_of(
        *(tuple(CONTROLS),) * 4, help="what to change beside the baseline", of=CONTROLS
    )


ORIGINALS = "originals"
SMALL_ALPHA = "small_alpha"
ALPHAS = {SMALL_ALPHA: 0.001}  # of ClaDec's loss; 0 elsewhere
POOLED = {"vgg11": "vgg11_maxpool"}
METHODS = ("cladec", "refae")


@dataclass(frozen=True)
class Part:
    """A layer, and the one thing that is done differently."""

    layer: str
    control: str

    def __str__(self) -> str:
        return f"{self.layer} {self.control}"


def halves(images: ImageData, seed: int) -> tuple[ImageData, ImageData]:
    """Two disjoint random halves of the training images, of equal size; test images and scale stay."""
    generator = torch.Generator().manual_seed(training.derive_seed(seed, "halves"))
    order = torch.randperm(len(images.train_images), generator=generator).to(images.train_labels.device)
    first, second = (
        replace(images, train_images=images.train_images[part], train_labels=images.train_labels[part])
        for part in order[: len(order) // 2 * 2].chunk(2)
    )
    return first, second


def _same_half(setup: Setup) -> Setup:
    return setup.changed(data=halves(setup.data, setup.seed)[1])


def _other_half(setup: Setup) -> Setup:
    first, second = halves(setup.data, setup.seed)
    return setup.changed(data=first).explained(data=second)


def _unit(setup: Setup) -> Setup:
    return setup.changed(data=setup.loaded(standardise=False))


# A control turns the baseline's run into another; `explained` keeps the classifier, `changed` trains one anew.
RUNS: dict[str, Callable[[Setup], Setup]] = {
    BASELINE: lambda setup: setup,
    "same_half": _same_half,
    "other_half": _other_half,
    ORIGINALS: lambda setup: setup,
    "mean_loss": lambda setup: setup.explained(mean_loss=True),
    SMALL_ALPHA: lambda setup: setup.explained(mean_loss=True),
    "unit": _unit,
    "sigmoid": lambda setup: _unit(setup).explained(sigmoid=True),
    "table1": lambda setup: setup.explained(settings=replace(setup.settings, decoder_style="table1")),
    "bilinear": lambda setup: setup.changed(data=setup.loaded(resize="bilinear")),
    "max_pooling": lambda setup: setup.changed(architecture=POOLED[setup.architecture]),
}


def cells(settings: ControlsSettings, architecture: str) -> Iterator[Part]:
    """The baseline and every control that differs from it, layer by layer."""
    same = {settings.resize, settings.decoder_style} | (set() if architecture in POOLED else {"max_pooling"})
    for layer in settings.layers:
        for control in (BASELINE, *settings.controls):
            if control not in same:
                yield Part(networks.layer_name(architecture, layer, settings.index_map), control)


def run_cell(setup: Setup, part: Part, keep_samples: bool) -> CellRun:
    """Train ClaDec, the RefAE and their evaluation classifiers with one change, and measure them.

    Returns
    -------
    rows
        {"layer", "control", "method", "metric", "value"}. Losses are in the scales of the baseline, whatever the
        scale of the inputs. `originals` has none: it changes only what the evaluation classifier learns from.
    samples
        uint8 images: the first test image of each class, if asked for.
    """
    run = RUNS[part.control](setup)
    explain, reference = run.decoder(part.layer, alpha=ALPHAS.get(part.control, 0.0)), run.reference(part.layer)
    judges = judges_of(run, part, explain, reference)
    classifier, *explained = yield [run.classifier, explain, reference, *judges]
    labels = run.data.test_labels
    images = {method: run.test(model) for method, model in zip(METHODS, explained[:2], strict=True)}
    values: dict[str, dict[str, float]] = {
        "classifier": {
            "accuracy": measures.accuracy(run.test(classifier), labels),
            "train_images": len(run.data.train_images),
            "test_images": len(labels),
        }
    }
    for method, model, judge in zip(METHODS, explained[:2], explained[2:], strict=True):
        accuracy = measures.accuracy(run.test(judge, images[method]), labels)
        values[method] = {"accuracy": accuracy, **still_falling(model)}
        if part.control != ORIGINALS:
            values[method] |= losses(run.data, images[method], setup.data)
    rows = [
        {"layer": part.layer, "control": part.control, "method": method, "metric": metric, "value": value}
        for method, measured in values.items()
        for metric, value in measured.items()
    ]
    at = sample_indices(labels, labels, wrong=0, bags=0).to(labels.device)
    pictures = {f"{part.layer}/{part.control}/{method}": run.data.to_unit(found) for method, found in images.items()}
    pictures["original"] = setup.data.to_unit(setup.data.test_images)
    samples = {name: as_uint8(found[at]) for name, found in pictures.items()}
    samples["label"] = labels[at].cpu().numpy().astype(np.uint8)
    return rows, samples | places(at) if keep_samples else {}


def judges_of(run: Setup, part: Part, explain: Training, reference: Training) -> list[Training]:
    """By method, what judges its reconstructions: a classifier trained on them, or one for both on the originals."""
    if part.control == ORIGINALS:
        return [run.judge(None, ORIGINALS)] * 2
    return [run.judge(explain, f"ClaDec {part.layer}"), run.judge(reference, f"RefAE {part.layer}")]


def losses(own: ImageData, reconstructions: torch.Tensor, scale: ImageData) -> dict[str, float]:
    """Reconstruction losses of a run's test images, measured as if its images were scaled as others are.

    Parameters
    ----------
    own
        The run's images, standardised or not.
    reconstructions
        Of its test images, in its scale, (n, channels, 32, 32).
    scale
        The images whose mean and standard deviation standardise both.
    """
    images, made = ((own.to_unit(part) - scale.mean) / scale.std for part in (own.test_images, reconstructions))
    return measures.reconstruction_losses(images, made, scale.std)
