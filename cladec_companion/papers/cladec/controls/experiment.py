"""What a referee would ask: one change to the protocol at a time, and what becomes of ΔRec and ΔAcc."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from cladec_companion.engine.rows import rows_of
from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.engine.trainings import Training
from cladec_companion.papers.cladec.controls.settings import BASELINE, POOLED, Part
from cladec_companion.papers.cladec.shared import sample_indices, still_falling
from cladec_companion.records.samples import as_uint8, places
from cladec_core import measures, training
from cladec_core.data import ImageData

ORIGINALS = "originals"
SMALL_ALPHA = "small_alpha"
ALPHAS = {SMALL_ALPHA: 0.001}  # of ClaDec's loss; 0 elsewhere
METHODS = ("cladec", "refae")


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
    rows = rows_of(values, layer=part.layer, control=part.control)
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
