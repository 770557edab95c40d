"""What a referee would ask: one change to the protocol at a time, and what becomes of ΔRec and ΔAcc."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from cladec_companion.engine.study import Study
from cladec_companion.papers.cladec.layers.experiment import Rows, Samples, as_uint8, sample_indices
from cladec_companion.records.settings import BASELINE, ControlsSettings
from cladec_core import data, measures, networks, training
from cladec_core.data import ImageData

ORIGINALS = "originals"
SMALL_ALPHA = "small_alpha"
ALPHAS = {SMALL_ALPHA: 0.001}  # of ClaDec's loss; 0 elsewhere
POOLED = {"vgg11": "vgg11_maxpool"}


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


def _same_half(study: Study) -> Study:
    return study.changed(data=halves(study.data, study.seed)[1])


def _other_half(study: Study) -> Study:
    first, second = halves(study.data, study.seed)
    return study.changed(data=first).explained(data=second)


def _loaded(study: Study, **options: Any) -> ImageData:
    """The run's data set, read again with other options of `data.load`."""
    settings = study.settings
    limits = {"train_limit": settings.train_limit, "test_limit": settings.test_limit}
    options = {"resize": settings.resize} | limits | options
    return data.load(study.data.name, study.data_dir, **options).to(study.on.device)


def _unit(study: Study) -> Study:
    return study.changed(data=_loaded(study, standardise=False))


# A control turns the baseline's run into another; `explained` keeps the classifier, `changed` trains one anew.
RUNS: dict[str, Callable[[Study], Study]] = {
    BASELINE: lambda study: study,
    "same_half": _same_half,
    "other_half": _other_half,
    ORIGINALS: lambda study: study,
    "mean_loss": lambda study: study.explained(mean_loss=True),
    SMALL_ALPHA: lambda study: study.explained(mean_loss=True),
    "unit": _unit,
    "sigmoid": lambda study: _unit(study).explained(sigmoid=True),
    "table1": lambda study: study.explained(settings=replace(study.settings, decoder_style="table1")),
    "bilinear": lambda study: study.changed(data=_loaded(study, resize="bilinear")),
    "max_pooling": lambda study: study.changed(architecture=POOLED[study.architecture]),
}


def cells(settings: ControlsSettings, architecture: str) -> Iterator[Part]:
    """The baseline and every control that differs from it, layer by layer."""
    same = {settings.resize, settings.decoder_style} | (set() if architecture in POOLED else {"max_pooling"})
    for layer in settings.layers:
        for control in (BASELINE, *settings.controls):
            if control not in same:
                yield Part(networks.layer_name(architecture, layer, settings.index_map), control)


def run_cell(study: Study, part: Part, keep_samples: bool) -> tuple[Rows, Samples]:
    """Train ClaDec, the RefAE and their evaluation classifiers with one change, and measure them.

    Returns
    -------
    rows
        {"layer", "control", "method", "metric", "value"}. Losses are in the scales of the baseline, whatever the
        scale of the inputs. `originals` has none: it changes only what the evaluation classifier learns from.
    samples
        uint8 images: the first test image of each class, if asked for.
    """
    run = RUNS[part.control](study)
    labels = run.data.test_labels
    decoder = run.decoder(part.layer, alpha=ALPHAS.get(part.control, 0.0))
    models_of = {"cladec": decoder, "refae": run.reference(part.layer)}
    images = {method: run.test(model) for method, model in models_of.items()}
    values: dict[str, dict[str, float]] = {
        "classifier": {
            "accuracy": measures.accuracy(run.test(run.classifier), labels),
            "train_images": len(run.data.train_images),
            "test_images": len(labels),
        }
    }
    for method, judge in evaluation_classifiers(run, part, models_of).items():
        values[method] = {"accuracy": measures.accuracy(run.test(judge, images[method]), labels)}
        if part.control != ORIGINALS:
            values[method] |= losses(run.data, images[method], study.data)
    rows = [
        {"layer": part.layer, "control": part.control, "method": method, "metric": metric, "value": value}
        for method, measured in values.items()
        for metric, value in measured.items()
    ]
    at = sample_indices(labels, labels, wrong=0, bags=0).to(labels.device)
    pictures = {f"{part.layer}/{part.control}/{method}": run.data.to_unit(found) for method, found in images.items()}
    pictures["original"] = study.data.to_unit(study.data.test_images)
    samples = {name: as_uint8(found[at]) for name, found in pictures.items()}
    samples["label"] = labels[at].cpu().numpy().astype(np.uint8)
    return rows, samples if keep_samples else {}


def evaluation_classifiers(run: Study, part: Part, explained: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """By method, the classifier that judges its reconstructions: trained on them, or one for both on the originals."""
    if part.control == ORIGINALS:
        return dict.fromkeys(explained, run.evaluation_classifier(nn.Identity(), ORIGINALS))
    names = {"cladec": "ClaDec", "refae": "RefAE"}
    return {
        method: run.evaluation_classifier(model, f"{names[method]} {part.layer}") for method, model in explained.items()
    }


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
    pair = [(own.to_unit(part) - scale.mean) / scale.std for part in (own.test_images, reconstructions)]
    return measures.reconstruction_losses(*pair, scale.std)
