"""The example of the front page: a rule chooses it from all recorded runs, and its caption is made from its numbers.

The rule: of the test images that every run shows, and that the classifier of the picture takes for what they are, the
one whose difference between RefAE and ClaDec at the last layer is most stable. What is stable of a difference is the
part that all runs share: pixel by pixel none where they differ in sign, and else the smallest of their sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cladec_companion.evidence.lines import unconverged
from cladec_companion.evidence.measurements import METHODS
from cladec_companion.evidence.style import apart, unit
from cladec_companion.evidence.tables import ARCHITECTURE_NAMES, DATASET_NAMES
from cladec_companion.papers.cladec.cases import ARCHITECTURE, DATASET
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, common, runs_of
from cladec_core.data import DATASETS
from cladec_core.networks import LAYER_INDEX

LAYERS = [LAYER_INDEX[ARCHITECTURE]["code"][index] for index in (-5, -3, -1)]
COLUMNS = ("early layer", "middle", "last layer")  # of the picture


@dataclass(frozen=True)
class Run:
    """Images of a run, and how its networks were trained."""

    images: RunImages
    training_images: int | None
    epochs: int

    @property
    def difference(self) -> np.ndarray:
        """RefAE minus ClaDec at the last layer, in grey values of [0, 1]."""
        refae, cladec = (unit(self.images.aligned(last_of(self.images), name)) for name in ("refae", "cladec"))
        return refae - cladec


@dataclass(frozen=True)
class Chosen:
    """The example, and what it was chosen by.

    Attributes
    ----------
    image
        Its place in the test set.
    shared
        Root mean square of what all runs share of the difference, as a share of the way from white to black.
    of
        How many images there were to choose from.
    runs
        All that were looked at, the picture's first.
    """

    image: int
    shared: float
    of: int
    runs: tuple[Run, ...]


def last_of(images: RunImages) -> str:
    """The last layer that the paper explains of a run's network."""
    return LAYER_INDEX[images.architecture]["code"][-1]


def runs(shown: Record, records: Sequence[Record]) -> tuple[Run, ...]:
    """The run of the picture, then all others of its data set that have images of their last layer.

    Parameters
    ----------
    shown
        The record of which the picture is drawn.
    records
        All that may be looked at.
    """
    experiment = shown.manifest["experiment"]
    others = [record for record in records if record.folder != shown.folder]
    found = []
    for record in (shown, *(one for one in others if one.manifest["experiment"] == experiment)):
        trained = record.manifest["configuration"]
        for run in runs_of(record):
            images = RunImages.of(record, *run)
            if run[0] == DATASET and (last_of(images), "refae") in images and (last_of(images), "cladec") in images:
                found.append(Run(images, trained.get("train_limit"), trained["decoder_epochs"]))
    return tuple(sorted(found, key=lambda run: run.images.samples is not shown.samples))


def stable(differences: Sequence[np.ndarray]) -> np.ndarray:
    """What differences of the same images share: none where the signs differ, else the smallest; of their shape."""
    signs = np.sign(differences)
    return np.where((signs == signs[0]).all(0), signs[0] * np.abs(differences).min(0), 0.0)


def choose(shown: Record, records: Sequence[Record]) -> Chosen:
    """Choose the example by the rule of this module; of equals the first."""
    every = runs(shown, records)
    places = common(*(run.images for run in every))
    shared = stable([run.difference[at] for run, at in zip(every, places, strict=True)])
    size = np.sqrt(np.square(shared).mean((-3, -2, -1)))
    pictured, at = every[0].images, places[0]
    right = pictured.labels[at] == pictured.predicted[at]
    best = int(np.argmax(np.where(right, size, -1.0)))
    return Chosen(int(pictured.index[at][best]), float(size[best]), int(right.sum()), every)


def figure(shown: Record, chosen: Chosen) -> str:
    """The figure of the front page in MyST, with a caption from the numbers of the record that is drawn."""
    images = chosen.runs[0].images
    at = int(np.flatnonzero(images.index == chosen.image)[0])
    name = DATASETS[DATASET].classes[int(images.labels[at])].lower()
    network = ARCHITECTURE_NAMES[images.architecture]
    original = unit(images.original[at])
    layers = [[unit(images.aligned(layer, name)[at]) for name in ("refae", "cladec")] for layer in LAYERS]
    refae, cladec = layers[-1]
    tone = "darker" if (refae - cladec).mean() < 0 else "paler"
    alternative = (
        f"A test image ({name}), and three columns of reconstructions of it, from an early, a middle and the last "
        f"layer; RefAE's in the first row, ClaDec's in the second, their differences in the third."
    )
    near, far, both, early = (
        f"{apart(*pair):.0%}" for pair in ((original, refae), (original, cladec), (refae, cladec), layers[0])
    )
    caption = (
        f"A test image of {DATASET_NAMES[DATASET]} ({name}), read back from three layers of a {network}. At the last "
        f"layer the reference's image is {near} away from the test image and ClaDec's {far} (root mean square, in "
        f"per cent of the way from white to black); ClaDec's image is {tone} overall. The two are {both} apart there, "
        f"and {early} at the early layer. What both lack, such as fine patterns, says nothing about the classifier."
        f"{_short(shown, images)}"
        f"\n\n{_rule(chosen)} The record is named on the page [](status.md)."
    )
    return f"```{{figure}} generated/front.png\n:name: fig-front\n:alt: {alternative}\n:width: 38em\n\n{caption}\n```\n"


def _short(shown: Record, images: RunImages) -> str:
    """Which trainings behind the picture ended while their loss was still falling."""
    short = unconverged(shown, images.dataset, images.architecture)
    columns = dict(zip(LAYERS, COLUMNS, strict=True))
    named = [
        f"{METHODS[method]} in the column *{columns[layer]}*" for layer, method in sorted(short) if layer in LAYERS
    ]
    return f" Not converged, so to be read with care: {', '.join(named)}." if named else ""


def _rule(chosen: Chosen) -> str:
    """By which rule the example was chosen, and from what."""
    networks = {run.images.architecture for run in chosen.runs}
    if len(chosen.runs) == 1:
        rule = f"A rule chose the image: of {chosen.of} that this classifier gets right, it has the largest difference "
        rule += f"between the two at the last layer ({chosen.shared:.0%}), in the only run that is recorded."
    else:
        many = "both" if len(chosen.runs) == 2 else f"all {len(chosen.runs)}"
        rule = (
            f"A rule chose the image: of {chosen.of} that every recorded run shows and this classifier gets right, it "
            f"has the largest difference at the last layer, counted pixel by pixel as far as {many} runs agree on it "
            f"({chosen.shared:.0%}), so "
        )
        rule += f"it is the most striking one, not a typical one. The runs: {_trained(chosen.runs)}."
    if len(networks) == 1:
        rule += f" A network other than {ARCHITECTURE_NAMES[networks.pop()]} may keep what this one loses."
    return rule


def _trained(every: Sequence[Run]) -> str:
    """In what the runs differ or agree: networks, seeds, training images, epochs."""
    networks = dict.fromkeys(ARCHITECTURE_NAMES[run.images.architecture] for run in every)
    seeds = sorted({int(run.images["seed"]) for run in every})
    images = sorted({run.training_images or DATASETS[DATASET].train_count for run in every})
    epochs = sorted({run.epochs for run in every})
    parts = [
        " or ".join(networks), f"seed {' or '.join(map(str, seeds))}",
        f"{' or '.join(f'{count:,}' for count in images)} training images", f"{' or '.join(map(str, epochs))} epochs",
    ]  # fmt: skip
    return "; ".join(parts)
