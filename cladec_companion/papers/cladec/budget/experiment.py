"""One classifier, and everything around it trained for several lengths and on several numbers of images."""

from dataclasses import replace

from cladec_companion.engine.rows import rows_of
from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.cladec.budget.settings import BudgetSettings, Part
from cladec_companion.papers.cladec.shared import pictures, still_falling
from cladec_companion.records.samples import below
from cladec_core import data, measures
from cladec_core.data import ImageData
from cladec_core.errors import UsageError


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
