"""Single explanations that are read on a page, shown on a slide, and voted on."""

from dataclasses import dataclass

import numpy as np

from cladec_companion.evidence.style import signed_difference, unit
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages
from cladec_core.errors import RunError

DATASET, ARCHITECTURE = "fashion_mnist", "vgg11"


@dataclass(frozen=True)
class Case:
    """One explanation to be read: a test image, by its place in the test set, and a layer."""

    image: int
    layer: str
    dataset: str = DATASET
    architecture: str = ARCHITECTURE


# What each shows is said on the page; `apart` measures it, and a test compares.
CASES = {
    "kept": Case(2, "conv2"),
    "discarded": Case(31, "conv3"),
    "typical": Case(53, "penultimate"),
    "trap": Case(1, "penultimate"),
    "drift": Case(259, "penultimate", "mnist"),
}


def explanation(record: Record, case: Case) -> dict[str, np.ndarray]:
    """The images of a case: `original`, `refae` and `cladec` in [0, 1], channels first, `difference` as RGB."""
    images, at = found(record, case)
    shown = {"original": unit(images.original[at])}
    shown |= {name: unit(images.aligned(case.layer, name)[at]) for name in ("refae", "cladec")}
    return shown | {"difference": signed_difference(shown["refae"], shown["cladec"])}


def found(record: Record, case: Case) -> tuple[RunImages, int]:
    """The images of a case's run, and the place of its image among them."""
    images = RunImages.of(record, case.dataset, case.architecture)
    places = np.flatnonzero(images.index == case.image)
    if not len(places):
        raise RunError(f"The record does not show test image {case.image} of {'/'.join(images.run)}.")
    return images, int(places[0])
