"""One whole cell of the experiment `layers`: decoder, RefAE and two evaluation classifiers, end to end."""

import resource
import statistics
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import plain
from benchmarks.ladder import DECODED, images_of, timed
from cladec_companion.engine.models import Models
from cladec_companion.engine.setup import Setup
from cladec_companion.engine.trainings import new_classifier, new_decoder
from cladec_companion.records.settings import Settings, settings_for
from cladec_core import data, training
from cladec_core.data import ImageData
from cladec_core.networks import Classifier
from cladec_core.training import Compute


def measure(on: Compute, images: int, repeats: int) -> dict[str, Any]:
    """Train one cell with the plain loops and with the project's, in turns.

    Returns
    -------
    dict
        Medians of the seconds for one epoch of all four trainings, and their ratio.
    """
    digits, classifier = task(on, images)
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for repeat in range(repeats + 1):  # the first one warms up
        for name, train in (("plain", simple), ("ours", ours)):
            spent = timed(lambda train=train: train(digits, classifier, on), on)
            if repeat:
                seconds[name].append(spent)
    medians = {name: statistics.median(spent) for name, spent in seconds.items()}
    return {
        "layer": DECODED, "images": images, "plain_seconds": medians["plain"], "ours_seconds": medians["ours"],
        "times_plain": medians["plain"] / medians["ours"],
    }  # fmt: skip


def memory(on: Compute, images: int) -> dict[str, Any]:
    """Train one cell, and see how much memory the process comes to hold.

    A process keeps what it has freed, so this has to be the first thing that it measures.
    """
    digits, classifier = task(on, images)
    if on.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(on.device)
    ours(digits, classifier, on)
    if on.device.type == "cuda":
        highest = torch.cuda.max_memory_allocated(on.device)
    else:
        highest = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"layer": DECODED, "images": images, "megabytes_of_the_process": highest / 1e6}


SETTINGS = settings_for(Settings, "quick", classifier_epochs=1, decoder_epochs=1, batch_size=training.BATCH_SIZE)


def task(on: Compute, images: int) -> tuple[ImageData, Classifier]:
    """Images, and a classifier to explain."""
    train, labels = images_of(images, torch.device("cpu"))
    digits = replace(data.load("digits"), train_images=train, train_labels=labels)
    classifier = new_classifier(Setup(digits, "vgg11", 0, SETTINGS, on), "classifier").to(on.device)
    return digits, classifier.eval().requires_grad_(False)


def ours(digits: ImageData, classifier: Classifier, on: Compute) -> None:
    """Train a cell with the project's loops."""
    setup, models = Setup(digits.to(on.device), "vgg11", 0, SETTINGS, on), Models()
    models.have(setup.classifier, classifier)
    for name, model in (("ClaDec", setup.decoder(DECODED)), ("RefAE", setup.reference(DECODED))):
        models.train(setup.judge(model, f"{name} {DECODED}"))


def simple(digits: ImageData, classifier: Classifier, on: Compute) -> None:
    """Train a cell with the plain loops."""
    setup = Setup(digits, "vgg11", 0, SETTINGS, on)
    images, labels, batch = digits.train_images, digits.train_labels, SETTINGS.batch_size
    encoder = plain.stock(classifier).up_to(DECODED)
    decoder = plain.stock(new_decoder(setup, classifier.up_to(DECODED), "decoder"))
    reference = plain.stock(new_classifier(setup, "reference").up_to(DECODED))
    reference.append(plain.stock(new_decoder(setup, classifier.up_to(DECODED), "reference")))
    next(plain.decoder(decoder, encoder, plain.stock(classifier), images, labels, on.device, batch))
    next(plain.autoencoder(reference, images, on.device, batch))
    for model in (nn.Sequential(encoder, decoder), reference):
        judge = plain.stock(new_classifier(setup, "evaluation"))
        next(plain.classifier(judge, _reconstructions(model, images, on.device), labels, on.device, batch))


@torch.no_grad()
def _reconstructions(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    model.eval()
    return torch.cat([model(part.to(device)).cpu() for part in images.split(1024)])
