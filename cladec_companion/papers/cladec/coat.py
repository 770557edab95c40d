"""One garment, many explanations: what its explanation depends on, from every record that shows the same image.

In each record one thing changes: the layer, the network, the age of the classifier, α, how many channels are seen, how
long decoder and reference are trained. The same test images are found again in each record, pixel by pixel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from cladec_companion.evidence import tables
from cladec_companion.evidence.explorer import Control, explore
from cladec_companion.evidence.style import apart, drawn, picture, show, unit
from cladec_companion.evidence.tables import ARCHITECTURE_NAMES
from cladec_companion.papers.cladec.cases import DATASET
from cladec_companion.papers.cladec.encoder_training.settings import CALIBRATED, REFERENCE, TRAINED, Part
from cladec_companion.papers.cladec.front import last_of
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, runs_of, valued
from cladec_core.data import DATASETS

LAYER, NETWORK, AGE, ALPHA, CHANNELS, LENGTH = (
    "the layer", "the network", "the age of the classifier", "α", "the channels that are seen",
    "the length of training of decoder and reference",
)  # fmt: skip
COAT = 4  # its class in Fashion-MNIST
ABOUT = "A garment, its reference and its explanation, for a garment and an explanation that the reader chooses"
COLUMNS = 5  # of the static picture: the first, the last, and those between


@dataclass(frozen=True)
class Step:
    """One explanation of all test images of a run; the reference is None where the record keeps none."""

    label: str
    cladec: np.ndarray
    refae: np.ndarray | None = None


@dataclass(frozen=True)
class Series:
    """Explanations among which one thing changes, in its order, and the images that they explain."""

    changes: str
    original: np.ndarray
    labels: np.ndarray
    steps: tuple[Step, ...]

    def places(self, images: np.ndarray) -> list[int | None]:
        """Where some images stand among those of the series; None for one that it does not show."""
        known = {image.tobytes(): place for place, image in reversed(list(enumerate(self.original)))}
        return [known.get(image.tobytes()) for image in images]

    def scatter(self, at: Sequence[int]) -> dict[str, float]:
        """How far the explanations of one image are apart: the mean over pairs of steps and over some images."""
        found = {}
        for name in ("cladec", "refae"):
            kept = [getattr(step, name) for step in self.steps if getattr(step, name) is not None]
            pairs = [
                apart(unit(one[list(at)]), unit(other[list(at)])).mean()
                for number, one in enumerate(kept) for other in kept[:number]
            ]  # fmt: skip
            found[name] = float(np.mean(pairs)) if pairs else float("nan")
        return found


def series(records: Sequence[Record]) -> list[Series]:
    """Every series of Fashion-MNIST with at least two explanations; of several, the first with the most."""
    found: dict[str, Series] = {}
    for record in records:
        for one in _of(record):
            if len(one.steps) > max(1, len(found[one.changes].steps) if one.changes in found else 0):
                found[one.changes] = one
    order = (LAYER, NETWORK, AGE, ALPHA, CHANNELS, LENGTH)
    return sorted(found.values(), key=lambda one: order.index(one.changes))


def _of(record: Record) -> Iterator[Series]:
    runs = [RunImages.of(record, *run) for run in runs_of(record) if run[0] == DATASET]
    makers = {
        "layers": _layers, "encoder_training": _ages, "alpha": _alphas, "subsets": _channels, "budget": _lengths,
    }  # fmt: skip
    make = makers.get(record.manifest["experiment"])
    if runs and make:
        yield Series(*make(record, runs[0]))
    if len(runs) > 1 and record.manifest["experiment"] == "layers":
        yield _networks(runs)


def _layers(record: Record, images: RunImages) -> tuple[str, np.ndarray, np.ndarray, tuple[Step, ...]]:
    layers = reversed(images.layers())
    steps = (Step(one.label, images.aligned(one.name, "cladec"), images.aligned(one.name, "refae")) for one in layers)
    return LAYER, images.original, images.labels, tuple(steps)


def _networks(runs: list[RunImages]) -> Series:
    steps = []
    for images in runs:
        known = Series(NETWORK, images.original, images.labels, ()).places(runs[0].original)
        here = [place for place in known if place is not None]
        if len(here) == len(known):
            last = last_of(images)
            made = (images.aligned(last, name)[here] for name in ("cladec", "refae"))
            steps.append(Step(f"{ARCHITECTURE_NAMES[images.architecture]}, {last}", *made))
    return Series(NETWORK, runs[0].original, runs[0].labels, tuple(steps))


def _ages(record: Record, images: RunImages) -> tuple[str, np.ndarray, np.ndarray, tuple[Step, ...]]:
    rows = record.rows[["layer", "encoder_epochs", "batchnorm"]].drop_duplicates()
    parts = [Part(*row) for row in rows.itertuples(index=False) if str(Part(*row)) in images]
    reference = next((images.aligned(str(part)) for part in parts if part.batchnorm == REFERENCE), None)
    kept = sorted((part for part in parts if part.batchnorm in (CALIBRATED, TRAINED)), key=lambda part: part.epochs)
    steps = (
        Step(_counted(part.epochs, "epoch") if part.epochs else "untrained", images.aligned(str(part)), reference)
        for part in kept
    )
    return AGE, images.original, images.labels, tuple(steps)


def _alphas(record: Record, images: RunImages) -> tuple[str, np.ndarray, np.ndarray, tuple[Step, ...]]:
    steps = (Step(f"α = {value:g}", images.aligned(valued("alpha", value))) for value in images.values("alpha"))
    return ALPHA, images.original, images.labels, tuple(steps)


def _channels(record: Record, images: RunImages) -> tuple[str, np.ndarray, np.ndarray, tuple[Step, ...]]:
    sizes = sorted((size for size, number in images.numbers("nested") if number == 0), reverse=True)
    steps = (Step(_counted(size, "channel"), images.aligned("nested", str(size), "0")) for size in sizes)
    return CHANNELS, images.original, images.labels, tuple(steps)


def _lengths(record: Record, images: RunImages) -> tuple[str, np.ndarray, np.ndarray, tuple[Step, ...]]:
    last = last_of(images)
    spent = sorted({tuple(map(int, name[1:3])) for name in images.names if name[0] == last and len(name) == 4})
    steps = (
        Step(
            f"{epochs} epochs of {amount:,} images",
            *(images.aligned(last, str(amount), str(epochs), name) for name in ("cladec", "refae")),
        )
        for amount, epochs in spent
    )
    return LENGTH, images.original, images.labels, tuple(steps)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number > 1)


def garments(found: Sequence[Series]) -> np.ndarray:
    """The test images that every series shows, coats first; uint8 (n, channels, height, width)."""
    first = found[0]
    shared = [
        place for place, image in enumerate(first.original)
        if all(one.places(image[None])[0] is not None for one in found)
    ]  # fmt: skip
    shared.sort(key=lambda place: (first.labels[place] != COAT, place))
    return first.original[shared]


@drawn
def static(found: Sequence[Series], garment: np.ndarray) -> Figure:
    """One garment: a row for each thing that changes, with the explanations from its first to its last step."""
    figure, axes = plt.subplots(len(found), COLUMNS + 1, figsize=(7.2, 1.3 * len(found)), squeeze=False)
    for line, one in zip(axes, found, strict=True):
        (place,) = one.places(garment[None])
        assert place is not None
        show(line[0], garment)
        line[0].set_title("the image", fontsize=8)
        line[0].set_ylabel(one.changes.replace(" of ", "\nof ").replace(" that ", "\nthat "), rotation=0, ha="right",
                           va="center", fontsize=8.5)  # fmt: skip
        chosen = np.unique(np.linspace(0, len(one.steps) - 1, COLUMNS).round().astype(int))
        for axis in line[1 + len(chosen) :]:
            axis.axis("off")
        for axis, number in zip(line[1:], chosen, strict=False):
            show(axis, one.steps[number].cladec[place])
            axis.set_title(one.steps[number].label.replace(" of ", "\nof ").replace(" (", "\n("), fontsize=8)
    return figure


def figure(found: Sequence[Series]) -> HTML:
    """The figure in which a reader chooses a garment and an explanation."""
    chosen = garments(found)
    classes = DATASETS[DATASET].classes
    labels = [classes[int(found[0].labels[place])] for place in found[0].places(chosen) if place is not None]
    every = [(one, step) for one in found for step in one.steps]
    blank = np.zeros_like(chosen[0])
    panes: dict[str, list[list[np.ndarray]]] = {"image": [], "RefAE": [], "ClaDec": []}
    notes, differences = [], []
    for garment in chosen:
        rows: dict[str, list[np.ndarray]] = {name: [] for name in panes}
        for one, step in every:
            (place,) = one.places(garment[None])
            assert place is not None
            refae = blank if step.refae is None else step.refae[place]
            for name, image in (("image", garment), ("RefAE", refae), ("ClaDec", step.cladec[place])):
                rows[name].append(picture(image))
            kept_one = step.cladec[place] if step.refae is None else refae
            differences.append(float(apart(unit(kept_one), unit(step.cladec[place]))))
            far = apart(unit(garment), unit(step.cladec[place]))
            near = f"the reference {apart(unit(garment), unit(refae)):.0%}"
            kept = "no reference is kept" if step.refae is None else near
            notes.append(f"What changes is {one.changes}: {step.label}. ClaDec is {far:.0%} from the image; {kept}.")
        for name, images in rows.items():
            panes[name].append(images)
    most = int(np.argmax(differences[: len(every)]))  # of the first garment
    controls = [
        Control("Garment", [f"{number}. {label}" for number, label in enumerate(labels, 1)], slider=False),
        Control("Explanation", [f"{one.changes}: {step.label}" for one, step in every], start=most),
    ]
    return explore(controls, {name: np.array(images) for name, images in panes.items()}, notes, ABOUT)


def told(found: Sequence[Series]) -> str:
    """How far explanations of the same garment are apart for each thing that changes, in words and in a table."""
    chosen = garments(found)
    rows, sentences = [], []
    for one in found:
        apart_by = one.scatter([place for place in one.places(chosen) if place is not None])
        shares = {name: "not kept" if np.isnan(value) else f"{value:.0%}" for name, value in apart_by.items()}
        if len({id(step.refae) for step in one.steps if step.refae is not None}) == 1:
            shares["refae"] = "the same for all"
        rows.append({
            "what changes": one.changes, "from": one.steps[0].label, "to": one.steps[-1].label,
            "explanations": len(one.steps), "ClaDec": shares["cladec"], "RefAE": shares["refae"],
        })  # fmt: skip
        sentences.append(f"{shares['cladec']} with {one.changes}")
    return (
        f"Two explanations of one garment are apart, on average over {len(chosen)} garments, by so much of the way "
        f"from white to black (root mean square): {', '.join(sentences)}. "
        "How far each of these is varied was our choice, so the numbers cannot be ranked; each says what a reader of a "
        f"single explanation does not see. {_missing(found)}\n\n" + tables.markdown(pd.DataFrame(rows))
    )


def _missing(found: Sequence[Series]) -> str:
    """What no record shows of these garments."""
    shown = {one.changes for one in found}
    absent = [f"with another {name.removeprefix('the ')}" for name in (NETWORK, LENGTH) if name not in shown]
    seeds = "A record keeps the images of one seed alone, so how far seeds differ shows in numbers, not in pictures."
    return (f"No record shows these garments yet {' or '.join(absent)}. " if absent else "") + seeds
