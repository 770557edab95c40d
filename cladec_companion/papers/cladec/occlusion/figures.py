"""Figures of the chapter `occlusion`: the paper's Figure 16, its Tables 7 and 8 as a plot, deletion curves."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.evidence.explorer import Control, classes_of, explore, largest
from cladec_companion.evidence.lines import first_run, heading, legend_below
from cladec_companion.evidence.style import COLOURS, apart, close_up, drawn, picture, show, signed_difference, unit
from cladec_companion.evidence.tables import ARCHITECTURE_NAMES, DATASET_NAMES
from cladec_companion.papers.cladec.occlusion.claims import Evidence
from cladec_companion.papers.cladec.occlusion.settings import MAPS
from cladec_companion.papers.xai.attribution import METHODS
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, by_depth, index_map_of, runs_of

MOVED = "moved predicted"  # a run has these classes if it has the moved square at all
METHOD_COLOURS = {"cladec": COLOURS["cladec"], "gradcam": "#cc79a7", "random": "#8a8f98"} | {
    name: to_hex(colour) for name, colour in zip(MAPS, sns.color_palette("viridis", len(MAPS)), strict=True)
}
METHOD_NAMES = {"cladec": "ClaDec", "gradcam": "GradCAM", "random": "random"} | {
    name: METHODS[name].title for name in MAPS
}
COLUMNS = {
    "original": "X",
    "clean reconstruction": r"$\hat X$",
    "min": r"$X_{O,min}$",
    "min reconstruction": r"$\hat X_{O,min}$",
    "max": r"$X_{O,max}$",
    "max reconstruction": r"$\hat X_{O,max}$",
}


def layers_of(record: Record, run: tuple[str, str]) -> list[str]:
    """Recorded layers of a run, from the output to the input."""
    rows = record.rows[(record.rows["dataset"] == run[0]) & (record.rows["architecture"] == run[1])]
    found = set(rows["layer"]) - {CLASSIFIER}
    return [layer.name for layer in by_depth(run[1], found, index_map_of(record))]


@drawn
def occluded_images(record: Record, run: tuple[str, str] | None = None, images: int = 2) -> Figure:
    """X, its reconstruction, and both again with the least and the most relevant square occluded (Fig. 16).

    Parameters
    ----------
    record
        Of the experiment `occlusion`.
    run
        Data set and architecture; the record's first by default.
    images
        How many test images, side by side.
    """
    run = run or first_run(record)
    shown = RunImages.of(record, *run)
    layers = layers_of(record, run)
    chosen = range(len(shown.original))[-images:]
    figure, axes = plt.subplots(
        len(layers), len(COLUMNS) * len(chosen), squeeze=False,
        figsize=(0.68 * len(COLUMNS) * len(chosen) + 0.9, 0.68 * len(layers) + 0.55),
    )  # fmt: skip
    for row, (line, layer) in enumerate(zip(axes, layers, strict=True)):
        for place, at in enumerate(chosen):
            for column, name in enumerate(COLUMNS):
                axis = line[place * len(COLUMNS) + column]
                show(axis, (shown.original if name == "original" else shown.aligned(layer, name))[at])
                if row == 0:
                    axis.set_title(COLUMNS[name], fontsize=7.5)
        line[0].set_ylabel(layer, rotation=0, ha="right", va="center")
    figure.suptitle(heading(record, run), fontsize=8)
    close_up(figure, 0.01)
    return figure


@drawn
def accuracy_under_occlusion(sources: dict[str, Evidence], run: tuple[str, str]) -> Figure:
    """Accuracy with the least (▲) and the most (▼) relevant square occluded, per layer and method (Tables 7, 8).

    Parameters
    ----------
    sources
        Evidence by name; those that do not have the run are left out.
    run
        Data set and architecture.
    """
    parts = {
        name: part.summary.sort_index().loc[run]
        for name, part in sources.items()
        if run in part.summary.index.droplevel([2, 3])
    }
    figure, axes = plt.subplots(1, len(parts), figsize=(3.5 * len(parts), 2.8), squeeze=False, sharey=True)
    for axis, (name, part) in zip(axes[0], parts.items(), strict=True):
        layers = sorted(set(part.index.get_level_values("index")))
        for offset, method in ((-0.12, "cladec"), (0.12, "gradcam")):
            at = np.arange(len(layers)) + offset
            low, high = (part.xs(f"{method}_{end}", level="metric").loc[layers] for end in ("max", "min"))
            axis.vlines(at, low["mean"], high["mean"], color=METHOD_COLOURS[method], lw=1.2)
            for marker, ends in (("v", low), ("^", high)):
                axis.errorbar(
                    at, ends["mean"], yerr=ends["sd"].fillna(0), fmt=marker, capsize=2, markersize=5,
                    color=METHOD_COLOURS[method], label=METHOD_NAMES[method] if marker == "v" else None,
                )  # fmt: skip
        axis.set(title=name, xlabel="layer, counted from the output", xticks=range(len(layers)), xticklabels=layers)
    axes[0, 0].set(ylabel="accuracy on occluded images")
    legend_below(figure)
    figure.suptitle(f"{DATASET_NAMES[run[0]]}, {ARCHITECTURE_NAMES[run[1]]}", fontsize=9)
    return figure


@drawn
def deletion_curves(record: Record, run: tuple[str, str] | None = None) -> Figure:
    """Accuracy after the k most (solid) and the k least (dashed) relevant squares are occluded, per layer."""
    run = run or first_run(record)
    layers = layers_of(record, run)
    rows = record.rows[(record.rows["dataset"] == run[0]) & (record.rows["architecture"] == run[1])]
    figure, axes = plt.subplots(1, len(layers), figsize=(2.6 * len(layers), 2.7), squeeze=False, sharey=True)
    for axis, layer in zip(axes[0], layers, strict=True):
        of_network = rows.loc[rows["layer"] == "classifier", "method"].unique()
        maps = [(method, "classifier") for method in METHOD_NAMES if method in of_network]
        for method, place in (("cladec", layer), ("gradcam", layer), *maps):
            part = rows[(rows["method"] == method) & (rows["layer"] == place)]
            for metric, line in (("curve_most", "-"), ("curve_least", "--")):
                curve = part[part["metric"] == metric].groupby("squares")["value"].mean()
                label = METHOD_NAMES[method] if line == "-" else None
                axis.plot(curve.index, curve.astype(float), line, color=METHOD_COLOURS[method], lw=1.4, label=label)
        axis.set(title=layer, xlabel="occluded squares k", ylim=(0, 1.02))
    axes[0, 0].set(ylabel="accuracy of the classifier")
    legend_below(figure, columns=5)
    figure.suptitle(heading(record, run) + "; solid: most relevant first, dashed: least relevant first", fontsize=8)
    return figure


@drawn
def contrast(record: Record) -> Figure:
    """How far each method's relevance follows the plain contrast to the filling grey, per layer (claim B49)."""
    rows = record.rows[record.rows["metric"] == "contrast_correlation"]
    rows = rows[rows["method"].isin(["cladec", "gradcam"])].assign(value=rows["value"].astype(float))
    runs = list(dict.fromkeys(zip(rows["dataset"], rows["architecture"], strict=True)))
    figure, axes = plt.subplots(1, len(runs), figsize=(3.2 * len(runs), 2.5), squeeze=False, sharey=True)
    for axis, run in zip(axes[0], runs, strict=True):
        layers = layers_of(record, run)[::-1]
        part = rows[(rows["dataset"] == run[0]) & (rows["architecture"] == run[1])]
        wide = part.pivot_table(index="layer", columns="method", values="value").reindex(layers)
        _bars(axis, wide)
        axis.set_title(heading(record, run), fontsize=8)
    axes[0, 0].set_ylabel("Spearman correlation\nwith contrast")
    legend_below(figure)
    return figure


def _bars(axis: plt.Axes, wide: pd.DataFrame) -> None:
    for offset, method in ((-0.2, "cladec"), (0.2, "gradcam")):
        if method in wide:
            heights = wide[method].to_numpy()
            axis.bar(
                np.arange(len(wide)) + offset, heights, 0.38, color=METHOD_COLOURS[method], label=METHOD_NAMES[method]
            )
            for place in np.flatnonzero(np.isnan(heights)):
                axis.text(place + offset, 0, "flat", fontsize=8, rotation=90, ha="center", va="bottom", color="#4d4d4d")
    axis.set(xlim=(-0.5, len(wide) - 0.5))
    axis.set_xticks(range(len(wide)), wide.index, fontsize=8)
    axis.axhline(0, color="#4d4d4d", lw=0.8)


def interactive(record: Record) -> HTML:
    """Drag a grey square over an image, and see what the explanation and the classifier make of it.

    The figure begins where the square changes ClaDec's image most, of the places at which it misleads the classifier.

    Parameters
    ----------
    record
        Of the experiment `occlusion`, with the images of the moved square (`can_move`).
    """
    images = next(images for images in _runs(record) if MOVED in images)
    predicted, corners = images[MOVED], images["moved corners"].tolist()
    square, count = record.manifest["configuration"]["square"], len(predicted)
    layers = images.layers("moved reconstruction")[::-1]
    covered = np.repeat(images.original[-count:, None], len(corners) ** 2, 1)
    for place, (top, left) in enumerate(product(corners, corners)):
        covered[:, place, :, top : top + square, left : left + square] = images["filling"]
    before = np.stack([images.aligned(layer.name, "clean reconstruction")[-count:, None] for layer in layers], 1)
    after = np.stack([images[layer.name, "moved reconstruction"] for layer in layers], 1)
    panes = {
        "covered X": picture(covered[:, None]),
        "ClaDec of X": picture(before),
        "ClaDec of covered X": picture(after),
        "what was lost or gained": signed_difference(unit(before), unit(after)),
    }
    classes = classes_of(images)
    labels = [classes[label] for label in images.labels[-count:]]
    changed = apart(unit(before), unit(after))
    score = images["moved score"] if "moved score" in images else np.zeros_like(predicted)
    notes = [
        f"The classifier says {classes[said]}{f' ({sure}%)' if sure else ''}"
        + (", as without the square" if classes[said] == label else f", not {label}")
        + f". The square changes ClaDec's image by {far:.0%}."
        for label, line, sure_line, images_far in zip(labels, predicted, score, changed, strict=True)
        for layer_far in images_far
        for said, sure, far in zip(line, sure_line, layer_far, strict=True)
    ]
    misled = predicted != images.labels[-count:, None]
    image, layer, place = largest(changed * np.where(misled.any(), misled[:, None], True))
    places = [f"row {top}, column {left}" for top, left in product(corners, corners)]
    controls = [
        Control("Image", labels, slider=False, start=image),
        Control("Layer", [layer.label for layer in layers], start=layer),
        Control("Square", places, start=place),
    ]
    about = "A grey square over an image, which you move, and the reconstruction before and after"
    return explore(controls, panes, notes, about, drag={"corners": corners, "square": square})


def can_move(record: Record | None) -> bool:
    """Whether a record of the experiment `occlusion` has images for `interactive`; older ones have not."""
    return record is not None and any(MOVED in images for images in _runs(record))


def _runs(record: Record) -> list[RunImages]:
    return [RunImages.of(record, *run) for run in runs_of(record)]
