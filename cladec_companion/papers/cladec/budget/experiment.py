"""One classifier, and everything around it trained for several lengths and on several numbers of images."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.cladec.shared import LayeredSettings, pictures, rows_of, still_falling
from cladec_companion.records.samples import below
from cladec_companion.records.settings import classifiers, data_sets, epochs_of, images_used, parameter
from cladec_core import data, measures, networks
from cladec_core.data import ImageData
from cladec_core.errors import UsageError


@dataclass(frozen=True)
class BudgetSettings(LayeredSettings):
    """Parameters of the experiment `budget`: how long decoders, RefAE and evaluation classifiers are trained."""

    experiment: ClassVar[str] = "budget"
    datasets: tuple[str, ...] = data_sets(("fashion_mnist",), ("fashion_mnist",), overnight=("fashion_mnist",))
    architectures: tuple[str, ...] = classifiers(*(("vgg11",),) * 4)
    layers: tuple[int | str, ...] = parameter(
        (-1, -5), (-1, -5), (-1, -5), (-1, -5), "layers to explain: the paper's index, or a name", axis=True
    )
    classifier_epochs: int = epochs_of(1, 6, 4, 64, of="the classifier to explain, which is the same for every length")
    decoder_epochs: int = epochs_of(
        4, 8, 16, 64, of="the longest training of the decoders, the RefAE and the evaluation classifiers", overnight=64
    )
    train_limit: int | None = images_used(160, 640, 20_000, None)
    width: float = parameter(
        0.125, 0.25, 1.0, 1.0, "factor on the channels of every classifier layer", limits=(0.05, 4.0)
    )
    shares: tuple[int, ...] = parameter(
        (4, 2, 1), (8, 2, 1), (4, 1), (16, 4, 1), "the longest training is divided by each of these", axis=True,
        limits=(1, 10_000),
    )  # fmt: skip
    amounts: tuple[int, ...] = parameter(
        (160,), (640,), (20_000,), (20_000, 60_000), "training images that everything but the classifier sees",
        axis=True, limits=(2, 10_000_000),
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Check the lengths and the numbers of images."""
        super().__post_init__()
        for share in self.shares:
            if self.decoder_epochs % share:
                valid = [number for number in range(1, self.decoder_epochs + 1) if self.decoder_epochs % number == 0]
                raise UsageError(
                    f"shares has {share}, which does not divide the {self.decoder_epochs} epochs of the longest "
                    f"training; valid: {', '.join(map(str, valid))}."
                )
        for amount in self.amounts:
            if self.train_limit is not None and amount > self.train_limit:
                raise UsageError(f"amounts has {amount}; valid: at most {self.train_limit}, the train_limit.")


@dataclass(frozen=True)
class Part:
    """A layer, and what is spent on it: training images, and epochs of everything but the classifier."""

    layer: str
    images: int
    epochs: int

    def __str__(self) -> str:
        return f"{self.layer} {self.images} images {self.epochs} epochs"


def cells(settings: BudgetSettings, architecture: str) -> Iterator[Part]:
    """The cheapest first: every layer for the shortest length, then for the next."""
    for images in sorted(settings.amounts):
        for share in sorted(settings.shares, reverse=True):
            for layer in settings.layers:
                name = networks.layer_name(architecture, layer, settings.index_map)
                yield Part(name, images, settings.decoder_epochs // share)


def run_cell(setup: Setup, part: Part, keep_samples: bool) -> CellRun:
    """Train ClaDec, the RefAE and their evaluation classifiers for one budget, and measure them.

    The classifier that is explained is the same for every budget.

    Returns
    -------
    rows
        {"layer", "images", "epochs", "method", "metric", "value"}.
    samples
        uint8 images at fixed test images, if asked for.
    """
    run = spending(setup, part)
    explain, reference = run.decoder(part.layer), run.reference(part.layer)
    judges = run.judge(explain, f"ClaDec {part.layer}"), run.judge(reference, f"RefAE {part.layer}")
    classifier, *models = yield [run.classifier, explain, reference, *judges]
    images, labels = run.data, run.data.test_labels
    values = {
        "classifier": {
            "accuracy": measures.accuracy(run.test(classifier), labels),
            "train_images": len(images.train_images),
            "test_images": len(labels),
        }
    }
    shown = {}
    for method, model, judge in zip(("cladec", "refae"), models[:2], models[2:], strict=True):
        made = run.test(model)
        values[method] = {
            **measures.reconstruction_losses(images.test_images, made, images.std),
            "accuracy": measures.accuracy(run.test(judge, made), labels),
            **still_falling(model),
        }
        shown[below(part.layer, part.images, part.epochs, method)] = made
    rows = rows_of(values, layer=part.layer, images=part.images, epochs=part.epochs)
    # The labels stand in for the predictions, so that every budget shows the same images.
    return rows, pictures(images, labels, shown) if keep_samples else {}


def spending(setup: Setup, part: Part) -> Setup:
    """Explain the same classifier with another budget: the first so many images, so many epochs of everything else."""
    settings = setup.settings
    assert isinstance(settings, BudgetSettings)
    spent = replace(settings, decoder_epochs=part.epochs, classifier_epochs=part.epochs, shares=(1,))
    return setup.explained(data=first(setup, part.images), settings=spent)


def first(setup: Setup, count: int) -> ImageData:
    """The first so many training images, scaled as all of them are.

    Raises
    ------
    UsageError
        If there are fewer.
    """
    images = setup.data
    if setup.shapes_only:  # some images stand in for all: as large a part of them
        kind = data.data_set(images.name)
        there = min(kind.train_count, setup.settings.train_limit or kind.train_count)
        count = max(1, round(len(images.train_images) * min(1.0, count / there)))
    if count > len(images.train_images):
        there = len(images.train_images)
        raise UsageError(f"amounts has {count}; valid: at most {there}, the training images of {images.name}.")
    return replace(images, train_images=images.train_images[:count], train_labels=images.train_labels[:count])
