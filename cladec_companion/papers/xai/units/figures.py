"""Figures of the chapter `units`: wanted images by method, how recognisable they are, detectors, colours, a slider."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from cladec_companion.evidence.claims import Evidence
from cladec_companion.evidence.explorer import Control, classes_of, explore
from cladec_companion.evidence.lines import MARKERS, first_run, heading
from cladec_companion.evidence.style import COLOURS, close_up, drawn, grid, picture, show
from cladec_companion.evidence.tables import DATASET_NAMES
from cladec_companion.papers.xai.dissection import DETECTS, SEAMS, TEXTURES
from cladec_companion.papers.xai.maximisation import PRIORS
from cladec_companion.papers.xai.units.activation_maximisation import (
    CLASSES,
    FACTORS,
    FAR,
    GENERATORS,
    HIDDEN,
    KEPT,
    SELECTIVE,
    SHIFTED,
    SWEPT,
    TITLES,
)
from cladec_companion.papers.xai.units.claims import CHANCE_RIGHT, column, layers_of
from cladec_companion.papers.xai.units.claims import EPOCHS as LENGTH
from cladec_companion.papers.xai.units.colour_channels import AT, BUG, EXPLAINED, RIGHT
from cladec_companion.papers.xai.units.network_dissection import CHANCE, OWN, TRAINED, TURNED
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, runs_of

GREY = "#8a8f98"
SEARCHES = {*PRIORS, SELECTIVE, SHIFTED, *FAR.values()}  # over pixels
DECODED = {*GENERATORS, "cladec", "refae"}  # by ClaDec's decoder or the RefAE's
# Metric -> heading.
JUDGED = {
    "judged": "recognised by another network", "sure": "log-probability by that network",
    "unlike": "1 − correlation with the most similar real image",
    "variation": "total variation (real: 1)", "alike": "correlation from start to start",
}  # fmt: skip
BASES = {OWN: ("units", COLOURS["cladec"]), TURNED: ("random basis", COLOURS["refae"]), CHANCE: ("chance", GREY)}
FED = {RIGHT: "fed RGB", BUG: "fed BRG"}


def _rows(images: RunImages, at: str) -> list[tuple[str, list[np.ndarray]]]:
    """A row of images for each method of which a record keeps some."""
    found = {parts[0] for parts in images.below(KEPT[at])}
    return [(TITLES[name], list(images[KEPT[at], name])) for name in TITLES if name in found]


@drawn
def wanted(record: Record, run: tuple[str, str] | None = None) -> Figure:
    """What class units want: rows are methods, columns are classes; the last row has the best test images."""
    images = RunImages.of(record, *(run or first_run(record)))
    names = classes_of(images)
    figure = grid(_rows(images, CLASSES), [names[unit] for unit in images["units"]], size=0.6)
    figure.suptitle(heading(record, images.run), fontsize=8)
    return figure


@drawn
def hidden(record: Record, run: tuple[str, str] | None = None) -> Figure:
    """What some hidden units want; the decoder of a single unit has an image of the first one only."""
    images = RunImages.of(record, *(run or first_run(record)))
    rows = _rows(images, HIDDEN)
    count = max(len(row) for _, row in rows)
    figure, axes = plt.subplots(len(rows), count, figsize=(0.8 * count + 2.1, 0.8 * len(rows) + 0.35), squeeze=False)
    for line, (name, row) in zip(axes, rows, strict=True):
        for axis in line[len(row) :]:
            axis.axis("off")
        for axis, image in zip(line, row, strict=False):
            show(axis, image)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6, fontsize=8)
    for place, axis in enumerate(axes[0]):
        axis.set_title(f"unit {place}", fontsize=7.5)
    figure.suptitle(heading(record, images.run), fontsize=8)
    close_up(figure, 0.01)
    return figure


@drawn
def recognised(evidence: Evidence) -> Figure:
    """How images of class units are judged, by method; the mean over data sets and seeds, a faint dot for each.

    Blue are searches over pixels, orange what a decoder draws, grey what needs neither.
    """
    assert evidence.runs is not None
    runs = evidence.runs.xs(CLASSES, level="at")
    names = [name for name in TITLES if column(name, "unlike") in runs and runs[column(name, "unlike")].notna().any()]
    figure, axes = plt.subplots(1, len(JUDGED), figsize=(9.4, 0.26 * len(names) + 1.1), sharey=True)
    for axis, (metric, title) in zip(axes, JUDGED.items(), strict=True):
        for place, name in enumerate(names[::-1]):
            values = runs[column(name, metric)].dropna() if column(name, metric) in runs else pd.Series(dtype=float)
            colour = COLOURS["refae"] if name in SEARCHES else COLOURS["cladec"] if name in DECODED else GREY
            axis.plot(values, [place] * len(values), "o", color=colour, markersize=3, alpha=0.25)
            axis.plot(values.mean(), place, "o", color=colour, markersize=5)
        axis.set_title(textwrap.fill(title, 17), fontsize=8)
    axes[0].set_yticks(range(len(names)), [TITLES[name] for name in names[::-1]], fontsize=8)
    return figure


@drawn
def detected(evidence: Evidence) -> Figure:
    """Detected concepts by layer, for units, random bases and by chance; detected objects by length of training."""
    figure, (depth, time) = plt.subplots(1, 2, figsize=(8.2, 3.0), sharey=True)
    runs = list(dict.fromkeys(key[:2] for key in evidence.cells(column(OWN, "unique")).index))
    for run in runs:
        layers = layers_of(evidence, run)
        for name, (title, colour) in BASES.items():
            means = [evidence.cells(column(name, "unique")).loc[(*run, layer), "mean"] for layer in layers]
            depth.plot(range(len(layers)), means, marker=_marker(runs, run), color=colour, label=_label(title, run))
        depth.set_xticks(range(len(layers)), layers)
        lengths = evidence.cells(column(TRAINED, "unique_objects")).loc[run]["mean"]
        lengths.index = lengths.index.str.removesuffix(LENGTH).astype(int)
        lengths = lengths.sort_index()
        time.plot(range(len(lengths)), lengths, marker=_marker(runs, run), color=COLOURS["cladec"])
        time.set_xticks(range(len(lengths)), lengths.index)
    depth.set(xlabel="layer", ylabel="concepts with a detector", title="objects and textures")
    time.set(xlabel="epochs of the classifier (last convolution)", title="objects alone")
    figure.legend(*depth.get_legend_handles_labels(), loc="outside right center", fontsize=7)
    return figure


def _label(title: str, run: tuple[str, str]) -> str:
    return f"{title}, {DATASET_NAMES[run[0]]}"


def _marker(runs: list[tuple[str, str]], run: tuple[str, str]) -> str:
    """A marker for each data set."""
    markers = list(MARKERS.values())
    return markers[runs.index(run) % len(markers)]


@drawn
def detectors(record: Record, run: tuple[str, str] | None = None) -> Figure:
    """Scenes of the units with the largest overlap: where the unit is active (orange), and its concept (blue)."""
    images = RunImages.of(record, *(run or first_run(record)))
    classes = classes_of(images)
    concepts = (*(classes[place] for place in images["detectors", "objects"]), *TEXTURES, *SEAMS)
    chosen, scores = images["detectors", "concept"], images["detectors", "iou"]
    figure, axes = plt.subplots(1, len(chosen), figsize=(1.75 * len(chosen), 2.2), squeeze=False)
    for place, axis in enumerate(axes[0]):
        show(axis, images["detectors", "scene"][place])
        for part, colour in (("truth", COLOURS["refae"]), ("mask", COLOURS["cladec"])):
            mask = images["detectors", part][place][0].astype(float)
            if mask.any() and not mask.all():
                axis.contour(mask, levels=[127.5], colors=[colour], linewidths=1.2)
        unit, score = images["detectors", "unit"][place], scores[place]
        word = "detects" if score > DETECTS else "is nearest to"
        axis.set_title(f"unit {unit} {word}\n{concepts[chosen[place]]} ({score:.2f})", fontsize=7.5)
    figure.suptitle(heading(record, images.run), fontsize=8)
    return figure


def in_colour(record: Record | None) -> list[tuple[str, str]]:
    """Runs of a record in which the colour-channel bug was looked for."""
    return [run for run in runs_of(record) if "coloured" in RunImages.of(record, *run)] if record else []


@drawn
def coloured(record: Record) -> Figure:
    """Images by every method for a network that was fed RGB and for one that was fed BRG, side by side.

    Parameters
    ----------
    record
        Of the experiment `units`, of images in colour (see `in_colour`).
    """
    images = RunImages.of(record, *in_colour(record)[0])
    names = classes_of(images)
    rows = [
        (EXPLAINED[name], [image for fed in FED for image in images["coloured", fed, name]]) for name in EXPLAINED
    ]  # fmt: skip
    shown = [names[place] for place in images["coloured"][: len(rows[0][1]) // len(FED)]]
    figure = grid(rows, [f"{name}\n{fed}" for fed in FED.values() for name in shown], size=0.72)
    figure.suptitle(heading(record, images.run), fontsize=8)
    return figure


@drawn
def told_apart(evidence: Evidence) -> Figure:
    """Share of the classes whose colours tell what the network was fed; at one half they tell nothing."""
    assert evidence.runs is not None
    runs = evidence.runs.xs(AT, level="at")
    figure, axis = plt.subplots(figsize=(5.6, 2.3))
    for place, name in enumerate(reversed(EXPLAINED)):
        values = runs[column(name, "right")].dropna()
        axis.plot(values, [place] * len(values), "o", color=COLOURS["cladec"], markersize=3, alpha=0.4)
        axis.plot(values.mean(), place, "o", color=COLOURS["cladec"], markersize=6)
    axis.axvline(CHANCE_RIGHT, color="#4d4d4d", lw=0.8, ls=":")
    axis.set(xlim=(0, 1.02), xlabel="share of classes with the colours that were fed")
    axis.set_yticks(range(len(EXPLAINED)), list(EXPLAINED.values())[::-1], fontsize=7)
    return figure


def shares(evidence: Evidence) -> pd.DataFrame:
    """What decides the claims on colours: by method, the share of right classes for either network and for both."""
    assert evidence.runs is not None
    runs = evidence.runs.xs(AT, level="at").astype(float).mean()
    headings = {f"right_{RIGHT}": FED[RIGHT], f"right_{BUG}": FED[BUG], "right": "both"}
    table = {
        heading: {title: runs.get(column(name, metric), np.nan) for name, title in EXPLAINED.items()}
        for metric, heading in headings.items()
    }  # fmt: skip
    return pd.DataFrame(table).map("{:.2f}".format)


def numbers(evidence: Evidence, at: str = CLASSES) -> pd.DataFrame:
    """How images of units are judged: a row for each method, the mean over data sets and seeds."""
    assert evidence.runs is not None
    runs = evidence.runs.xs(at, level="at").astype(float).mean()
    own = {"selected": "the unit is active, and the highest of its layer"} if at == HIDDEN else {
        "highest": "taken for the class by the network itself"
    }  # fmt: skip
    headings = {**own, **JUDGED, "spread": "distance from start to start"}
    table = {
        heading: {title: runs.get(column(name, metric), np.nan) for name, title in TITLES.items()}
        for metric, heading in headings.items()
    }  # fmt: skip
    return (
        pd.DataFrame(table)
        .dropna(how="all")
        .dropna(how="all", axis=1)
        .map("{:.2f}".format)
        .replace({"nan": "–", "-0.00": "0.00"})
    )


def interactive(record: Record) -> HTML:
    """Choose a class, and drag the strength of a prior: the images that three priors make, beside the best real one."""
    images = RunImages.of(record)
    names = [classes_of(images)[unit] for unit in images["units"]]
    panes = {"best test image": picture(images[KEPT[CLASSES], "real"][:, None])}
    panes |= {TITLES[name]: picture(images["swept", name]) for name in SWEPT}
    notes = [
        "Probability of the class, for the network and for another: " + ", ".join(
            f"{TITLES[name]} {images['sure', 'own', name][unit, place]:.0%} and "
            f"{images['sure', 'judge', name][unit, place]:.0%}" for name in SWEPT
        ) + "."
        for unit in range(len(names)) for place in range(len(FACTORS))
    ]  # fmt: skip
    strengths = ["no prior" if factor == 0 else f"{factor:g} times" for factor in FACTORS]
    controls = [Control("Class", names, slider=False), Control("Strength of the prior", strengths, start=2)]
    return explore(controls, panes, notes, "What a unit wants under three priors, beside the best test image")
