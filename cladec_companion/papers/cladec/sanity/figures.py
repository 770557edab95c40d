"""Figures of the chapter `sanity`: explanations of broken classifiers, and under attack."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cladec_companion.evidence.lines import first_run, heading, legend_below
from cladec_companion.evidence.style import COLOURS, LABELS, close_up, drawn, grid, heat_map, show
from cladec_companion.papers.cladec.sanity.claims import NAMES
from cladec_companion.papers.cladec.sanity.experiment import (
    AGAIN,
    ATTACK,
    CASCADE,
    CLADEC,
    DIFFERENCE,
    GRADCAM,
    POOLED,
    SHUFFLED,
    TRAINED,
)
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages

STYLES = {CLADEC: (COLOURS["cladec"], "o"), DIFFERENCE: (COLOURS["refae"], "s"), GRADCAM: ("#4d4d4d", "^")}
MEASURES = {
    "rank_correlation": "rank correlation with\nthe trained classifier's",
    "ssim": "SSIM with\nthe trained classifier's",
}


def layers(record: Record, check: str) -> list[str]:
    """Layers of which a record has pictures of a check, in the order of their names."""
    return sorted({name[0] for name in RunImages.of(record).names if len(name) > 2 and name[1] == check})


def _steps(images: RunImages, layer: str) -> dict[str, tuple[str, ...]]:
    """Title of each column of a cascade -> what its pictures are called."""
    counts = sorted({int(rest[0]) for rest in images.below(layer, CASCADE)})
    found: dict[str, tuple[str, ...]] = {"trained": (layer, TRAINED)}
    found |= {f"{count} random": (layer, CASCADE, str(count)) for count in counts}
    return found | ({"other seed": (layer, AGAIN)} if (layer, AGAIN, CLADEC) in images else {})


@drawn
def cascade(record: Record, classes: tuple[str, ...], layer: str | None = None, count: int = 3) -> Figure:
    """The same test images while more and more layers get random weights: ClaDec's image above GradCAM's map.

    Parameters
    ----------
    record
        Of the experiment `sanity`.
    classes
        Class names of the data set.
    layer
        The layer that is explained; the first recorded one by default.
    count
        How many test images are shown.
    """
    images = RunImages.of(record)
    layer = layer or layers(record, CASCADE)[0]
    columns = _steps(images, layer)
    shown = range(min(count, len(images.labels)))
    size = (0.62 * (len(columns) + 1) + 1.2, 1.24 * len(shown) + 0.6)
    figure, axes = plt.subplots(2 * len(shown), len(columns) + 1, figsize=size, squeeze=False)
    for at in shown:
        for row, method in enumerate((CLADEC, GRADCAM), start=2 * at):
            show(axes[row, 0], images.original[at])
            axes[row, 0].set_ylabel("ClaDec" if method == CLADEC else "GradCAM", rotation=0, ha="right", va="center")
            for axis, parts in zip(axes[row, 1:], columns.values(), strict=True):
                (heat_map if method == GRADCAM else show)(axis, images.aligned(*parts, method)[at])
    for axis, title in zip(axes[0], ["X", *columns], strict=True):
        axis.set_title(title.replace(" ", "\n"), fontsize=7.5)
    close_up(figure, 0.01)
    names = ", ".join(classes[images.labels[at]] for at in shown)
    figure.suptitle(f"{heading(record, images.run)}, {layer}: {names}", fontsize=8)
    return figure


@drawn
def similarity(record: Record, layer: str | None = None) -> Figure:
    """How alike explanations stay while layers get random weights; dashed: those of another seed of the classifier."""
    layer = layer or layers(record, CASCADE)[0]
    run = first_run(record)
    rows = record.rows[(record.rows["layer"] == layer) & record.rows["metric"].isin(list(MEASURES))]
    rows = rows[(rows["dataset"] == run[0]) & (rows["architecture"] == run[1])]
    means = rows.groupby(["check", "metric", "method", "randomised"])["value"].agg(["mean", "std"])
    figure, axes = plt.subplots(1, len(MEASURES), figsize=(7.4, 2.9))
    for axis, (metric, title) in zip(axes, MEASURES.items(), strict=True):
        for method, (colour, marker) in STYLES.items():
            line = means.loc[(CASCADE, metric, method)]
            line = pd.concat([pd.DataFrame({"mean": [1.0], "std": [np.nan]}, index=[0]), line])
            axis.errorbar(
                line.index, line["mean"], yerr=line["std"].fillna(0), color=colour, marker=marker, markersize=4,
                capsize=2, label=NAMES[method],
            )  # fmt: skip
            axis.axhline(means.loc[(AGAIN, metric, method), "mean"].item(), color=colour, linestyle="--", linewidth=1)
        axis.set(xlabel="layers with random weights, from the output", ylabel=title)
    legend_below(figure, columns=3)
    figure.suptitle(f"{heading(record, run)}, {layer}", fontsize=8)
    return figure


def learnt(record: Record, classes: tuple[str, ...], layer: str | None = None) -> Figure:
    """Test images, and what ClaDec makes of them from classifiers that learnt other things, and what the RefAE does."""
    images = RunImages.of(record)
    layer = layer or layers(record, TRAINED)[0]
    named = {
        LABELS["refae"]: (layer, TRAINED, "refae"), "true labels": (layer, TRAINED, CLADEC),
        "shuffled labels": (layer, SHUFFLED, CLADEC), "max-pooling": (layer, POOLED, CLADEC),
    }  # fmt: skip
    rows = [(name, list(images.aligned(*parts))) for name, parts in named.items() if parts in images]
    figure = grid(
        [(LABELS["original"], list(images.original)), *rows], images.titles(classes, range(len(images.labels)))
    )
    figure.suptitle(f"{heading(record, images.run)}, {layer}", fontsize=8)
    return figure


@drawn
def attacks(record: Record, classes: tuple[str, ...], layer: str | None = None, count: int = 8) -> Figure:
    """Explanations of test images before and under the attack that is aimed at them, and the attacked images."""
    images = RunImages.of(record)
    layer = layer or layers(record, ATTACK)[0]
    rows = [
        ("X", ("original",)), (r"attacked for $\hat X_E$", (layer, ATTACK, f"{CLADEC} image")),
        ("attacked for GradCAM", (layer, ATTACK, f"{GRADCAM} image")),
        (LABELS["cladec"], (layer, TRAINED, CLADEC)), ("under attack", (layer, ATTACK, CLADEC)),
        ("GradCAM", (layer, TRAINED, GRADCAM)), ("under attack", (layer, ATTACK, GRADCAM)),
    ]  # fmt: skip
    shown = range(min(count, len(images.labels)))
    size = (0.72 * len(shown) + 1.6, 0.72 * len(rows) + 0.7)
    figure, axes = plt.subplots(len(rows), len(shown), figsize=size, squeeze=False)
    for line, (name, parts) in zip(axes, rows, strict=True):
        for axis, at in zip(line, shown, strict=True):
            (heat_map if parts[-1] == GRADCAM else show)(axis, images.aligned(*parts)[at])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
    for axis, title in zip(axes[0], images.titles(classes, shown), strict=True):
        axis.set_title(title, fontsize=7.5)
    close_up(figure, 0.01)
    figure.suptitle(f"{heading(record, images.run)}, {layer}", fontsize=8)
    return figure
