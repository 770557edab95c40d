"""Figures of the chapter `heatmaps`: the gallery, curves of pixel flipping, sanity checks, and pixels to flip."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.figure import Figure

from cladec_companion.evidence.claims import Evidence
from cladec_companion.evidence.explorer import Control, classes_of, explore
from cladec_companion.evidence.lines import first_run, heading
from cladec_companion.evidence.style import COLOURS, close_up, drawn, picture, show
from cladec_companion.papers.xai.attribution import FILLS, METHODS
from cladec_companion.papers.xai.criteria.deletion import SHARES
from cladec_companion.papers.xai.heatmaps.claims import column
from cladec_companion.papers.xai.heatmaps.experiment import FEW, FLIPPED, FLIPPED_FILL
from cladec_companion.papers.xai.heatmaps.ranking import overall, values
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, runs_of

MAPS = "RdBu_r"  # for is red, against is blue
CHOSEN = (  # whose curves are drawn: one of each kind, and the controls
    "random", "contrast", "gradient", "integrated_gradients", "guided_backprop", "lrp_composite", "gradcam",
    "occlusion", "meaningful_perturbation", "cladec",
)  # fmt: skip
LINES = {"random": ("#8a8f98", ":"), "contrast": ("#4d4d4d", ":"), "cladec": (COLOURS["cladec"], "-")}
OTHERS = ("#0072b2", "#56b4e9", "#009e73", "#cc79a7", "#e69f00", "#b8a500", "#7b4fa3")
SANITY = {
    "class_similarity": "alike for another class", "randomised": "alike for other weights",
    "step": "step under a moving square", "roughness": "neighbours differ",
}  # fmt: skip
FILL_NAMES = {"black": "black", "mean": "grey", "blur": "blurred", "refae": "filled by the RefAE"}


def methods_of(images: RunImages) -> list[str]:
    """Methods of which a record keeps maps of a run, in the order of `METHODS`."""
    found = {parts[0] for parts in images.below("map")}
    return [name for name in METHODS if name in found]


@drawn
def gallery(record: Record, run: tuple[str, str] | None = None, images: int = 4, columns: int = 2) -> Figure:
    """Rows are methods, columns are images: red speaks for the class, blue against it.

    Parameters
    ----------
    record
        Of the experiment `heatmaps`.
    run
        Data set and architecture; the record's first by default.
    images
        How many test images.
    columns
        In how many blocks the methods stand side by side.
    """
    run = run or first_run(record)
    found = RunImages.of(record, *run)
    methods, count = methods_of(found), min(images, len(found.labels))
    height = -(-len(methods) // columns)
    figure, axes = plt.subplots(
        height + 1, (count + 1) * columns, squeeze=False, figsize=(0.72 * (count + 1.6) * columns, 0.7 * (height + 1)),
        width_ratios=([1.6] + [1] * count) * columns,
    )  # fmt: skip
    names = found.titles(classes_of(found), range(count))
    for axis in axes.flat:
        axis.set_axis_off()
    for block in range(columns):
        line = axes[0, block * (count + 1) :]
        for place in range(count):
            show(line[place + 1], found.original[place])
            line[place + 1].set_axis_on()
            line[place + 1].set_title(names[place], fontsize=6)
        for row, method in enumerate(methods[block * height : (block + 1) * height], 1):
            line = axes[row, block * (count + 1) :]
            line[0].text(1, 0.5, _short(METHODS[method].title), ha="right", va="center", fontsize=7)
            for place, grey in enumerate(found["map", method][:count]):
                line[place + 1].set_axis_on()
                show(line[place + 1], grey[0], MAPS)
    figure.suptitle(heading(record, run), fontsize=8)
    close_up(figure, 0.01)
    return figure


def _short(title: str) -> str:
    words, lines = title.split(" "), [""]
    for word in words:
        lines = [*lines[:-1], f"{lines[-1]} {word}"] if len(lines[-1]) + len(word) < 15 else [*lines, word]
    return "\n".join(line.strip() for line in lines if line)


@drawn
def flipping(record: Record, run: tuple[str, str] | None = None) -> Figure:
    """Probability of the class while the most relevant pixels are replaced, by what replaces them.

    All curves are means over the same images: those that every method explains.
    """
    run = run or first_run(record)
    rows = record.rows[(record.rows["dataset"] == run[0]) & (record.rows["architecture"] == run[1])]
    figure, axes = plt.subplots(1, len(FILLS), figsize=(2.5 * len(FILLS), 3.1), squeeze=False, sharey=True)
    colours = iter(OTHERS)
    present = [name for name in CHOSEN if name in set(rows["method"])]
    lines = {name: LINES.get(name) or (next(colours), "-") for name in present}
    for axis, fill in zip(axes[0], FILLS, strict=True):
        part = rows[rows["metric"] == f"curve_{fill}"].assign(value=lambda found: found["value"].astype(float))
        for name, (colour, line) in lines.items():
            curve = part[part["method"] == name].groupby("flipped")["value"].mean()
            axis.plot(curve.index.astype(float), curve, line, color=colour, lw=1.4, label=METHODS[name].title)
        axis.set(title=FILL_NAMES[fill], xlabel="share of pixels", ylim=(0, 1.02))
    axes[0, 0].set(ylabel="probability of the class")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7)
    figure.suptitle(heading(record, run), fontsize=8)
    return figure


@drawn
def sanity(evidence: Evidence) -> Figure:
    """How alike maps are for another class and for other weights, how far they move, and how rough they are."""
    numbers = values(evidence)[::-1]
    assert evidence.runs is not None
    means = evidence.runs.astype(float).mean()
    numbers["roughness" + FEW] = [means.get(column(name, "roughness" + FEW), np.nan) for name in numbers.index]
    figure, axes = plt.subplots(1, len(SANITY), figsize=(9.4, 0.19 * len(numbers) + 0.9), sharey=True)
    for axis, (metric, title) in zip(axes, SANITY.items(), strict=True):
        for place, (name, value) in enumerate(numbers[metric + FEW].items()):
            control = METHODS[str(name)].kind == "control"
            colour = "#8a8f98" if control else COLOURS["cladec"] if name == "cladec" else COLOURS["refae"]
            axis.plot(value, place, "o", color=colour, markersize=4)
        axis.set_title(title, fontsize=8)
        axis.axvline(0, color="#4d4d4d", lw=0.8)
    axes[0].set_yticks(range(len(numbers)), [METHODS[str(name)].title for name in numbers.index], fontsize=7)
    return figure


@drawn
def ranks(evidence: Evidence) -> Figure:
    """Mean rank of each method over the criteria, with its interval over data sets and seeds; left is better."""
    found = overall(evidence).iloc[::-1]
    figure, axis = plt.subplots(figsize=(6.2, 0.2 * len(found) + 0.8))
    for place, (name, row) in enumerate(found.iterrows()):
        control = METHODS[str(name)].kind == "control"
        colour = "#8a8f98" if control else COLOURS["cladec"] if name == "cladec" else COLOURS["refae"]
        axis.plot(row["rank"], place, "o", color=colour, markersize=4)
        if np.isfinite(row["low"]):
            axis.hlines(place, row["low"], row["high"], color=colour, lw=1.2)
    axis.set_yticks(range(len(found)), [METHODS[str(name)].title for name in found.index], fontsize=7)
    axis.set(xlabel="mean rank over the criteria (1 is the best)")
    return figure


def can_flip(record: Record | None) -> bool:
    """Whether a record keeps the order of pixels of the three methods of `interactive`."""
    return record is not None and any(_flippable(images) for images in _runs(record))


def _runs(record: Record) -> list[RunImages]:
    return [RunImages.of(record, *run) for run in runs_of(record)]


def _flippable(images: RunImages) -> bool:
    return "filling" in images and all(("rank", name) in images for name in FLIPPED)


def interactive(record: Record, count: int = 4) -> HTML:
    """Flip more and more pixels by a slider, in the order of three methods, and watch the probability of the class.

    The figure begins where the three methods leave the most different probabilities.

    Parameters
    ----------
    record
        Of the experiment `heatmaps` (see `can_flip`).
    count
        How many test images there are to choose from.
    """
    images = next(images for images in _runs(record) if _flippable(images))
    original, filling = images.original[:count], images["filling"]
    pixels = original.shape[-1] * original.shape[-2]
    panes = {"X": picture(original[:, None])}
    for name in FLIPPED:
        ranks_of = images["rank", name][:count, None].astype(int)
        hidden = np.stack([ranks_of < round(share * pixels) for share in SHARES], 1)
        panes[METHODS[name].title] = picture(np.where(hidden, filling[None], original[:, None]))
    names = _labels(images, range(len(original)))
    notes = [
        "Probability of the class: " + ", ".join(
            f"{METHODS[name].title} {images['flipping', name][at, place]:.0%}" for name in FLIPPED
        ) + "."
        for at in range(len(original)) for place in range(len(SHARES))
    ]  # fmt: skip
    left = np.stack([images["flipping", name][:count] for name in FLIPPED])
    image, place = np.unravel_index(np.ptp(left, axis=0).argmax(), left.shape[1:])
    flipped = Control(f"Pixels made {FILL_NAMES[FLIPPED_FILL]}", [f"{share:.0%}" for share in SHARES], start=int(place))
    controls = [Control("Image", names, slider=False, start=int(image)), flipped]
    about = "An image, and the same with its most relevant pixels replaced in the order of three methods"
    return explore(controls, panes, notes, about)


def _labels(images: RunImages, chosen: Sequence[int]) -> list[str]:
    found = images.titles(classes_of(images), chosen)
    return [f"{place}. {title.replace(chr(10) + '→ ', ', taken for ')}" for place, title in enumerate(found, 1)]
