"""Figures of the chapter `controls`: what each change does to ΔRec and ΔAcc, to their parts, and to the pictures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cladec_companion.evidence.claims import FAILS, HOLDS, UNDECIDED
from cladec_companion.evidence.lines import legend_below
from cladec_companion.evidence.style import COLOURS, LABELS, grid, style
from cladec_companion.evidence.tables import ARCHITECTURE_NAMES, DATASET_NAMES
from cladec_companion.papers.cladec.controls.claims import KEYS, ORDER, runs, survival
from cladec_companion.papers.cladec.controls.settings import BASELINE
from cladec_companion.papers.cladec.printed_tables import DIFFERENCES, HEADINGS
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages

# verdict on a sign -> marker, colour, name in the legend
MARKS = {
    "": ("D", "#4d4d4d", "baseline"), HOLDS: ("o", "#009e73", "sign of the baseline"),
    FAILS: ("X", "#d55e00", "the other sign"), UNDECIDED: ("s", "#8a8f98", "undecided"),
}  # fmt: skip
METHODS = {
    "cladec": ("o", COLOURS["cladec"], "ClaDec"), "refae": ("o", COLOURS["refae"], "RefAE"),
    "classifier": ("|", COLOURS["original"], "classifier on the originals"),
}  # fmt: skip
SCALES = {"rec": "raw sum per image", "acc": "accuracy"}


def _layers(table: pd.DataFrame, dataset: str | None, architecture: str | None) -> tuple[str, dict[str, pd.DataFrame]]:
    """Title of one data set and architecture, the first by default, and the parts of a table by layer."""
    runs_of = dict.fromkeys(zip(*(table.index.get_level_values(name) for name in KEYS[:2]), strict=True))
    run = next(run for run in runs_of if dataset in (None, run[0]) and architecture in (None, run[1]))
    parts = {layer: part.droplevel("layer") for layer, part in table.loc[run].groupby(level="layer")}
    return f"{DATASET_NAMES[run[0]]}, {ARCHITECTURE_NAMES[run[1]]}", parts


def _panels(title: str, layers: int, shown: list[str]) -> tuple[Figure, np.ndarray]:
    """Two panels for each layer, with the names of the controls at the left."""
    size = (7.6, 0.7 + layers * (0.8 + 0.2 * len(shown)))
    figure, axes = plt.subplots(layers, 2, figsize=size, squeeze=False, sharey=True)
    axes[0, 0].set_yticks(range(len(shown)), shown)
    axes[0, 0].set_ylim(len(shown) - 0.5, -0.5)
    figure.suptitle(title, fontsize=9)
    return figure, axes


def _shown(parts: dict[str, pd.DataFrame]) -> list[str]:
    """Controls of any layer, in order."""
    return [name for name in ORDER if any(name in part.index.get_level_values("control") for part in parts.values())]


def differences(record: Record, dataset: str | None = None, architecture: str | None = None) -> Figure:
    """ΔRec and ΔAcc under each control: mean, the noise around it, and each seed where there are several.

    Parameters
    ----------
    record
        Of the experiment `controls`.
    dataset, architecture
        Which run; the record's first by default.
    """
    title, parts = _layers(survival(record), dataset, architecture)
    _, seeds = _layers(runs(record), dataset, architecture)
    shown = _shown(parts)
    with style():
        figure, axes = _panels(title, len(parts), shown)
        for line, (layer, part) in zip(axes, parts.items(), strict=True):
            for axis, metric in zip(line, DIFFERENCES, strict=True):
                _dots(axis, part.xs(metric, level="metric"), seeds[layer][metric], shown)
                axis.set_xlabel(f"{HEADINGS[metric]} at {layer} ({SCALES[metric[2:]]})")
        legend_below(figure, columns=4)
    plt.close(figure)
    return figure


def _dots(axis: plt.Axes, means: pd.DataFrame, seeds: pd.Series, shown: list[str]) -> None:
    axis.axvline(0, color="black", linewidth=0.8)
    axis.axvline(means.loc[BASELINE, "mean"], color=MARKS[""][1], linewidth=0.8, linestyle="--")
    for control, row in means.iterrows():
        marker, colour, name = MARKS[row["verdict"]]
        axis.errorbar(
            row["mean"], shown.index(control), xerr=row["noise"], marker=marker, color=colour, markersize=5,
            elinewidth=1, linestyle="", label=name,
        )  # fmt: skip
        if row["n"] > 1:
            values = seeds.xs(control, level="control")
            axis.plot(values, [shown.index(control)] * len(values), ".", color=colour, markersize=3, alpha=0.6)


def levels(record: Record, dataset: str | None = None, architecture: str | None = None) -> Figure:
    """What the differences are made of: both losses, both evaluation accuracies and the classifier's own, as means."""
    title, parts = _layers(runs(record).groupby(level=KEYS).mean(), dataset, architecture)
    shown = _shown(parts)
    with style():
        figure, axes = _panels(title, len(parts), shown)
        for line, (layer, part) in zip(axes, parts.items(), strict=True):
            for axis, (kind, scale) in zip(line, SCALES.items(), strict=True):
                for method, (marker, colour, name) in METHODS.items():
                    if f"{kind}_{method}" in part:
                        values = part[f"{kind}_{method}"].reindex(shown)
                        axis.plot(values, range(len(shown)), marker, color=colour, label=name)
                axis.set_xlabel(f"{kind.capitalize()} at {layer} ({scale})")
        legend_below(figure, columns=3)
    plt.close(figure)
    return figure


def pictures(record: Record, classes: tuple[str, ...], *, method: str = "cladec", layer: str | None = None) -> Figure:
    """The first test image of each class, and its reconstruction under every control.

    Parameters
    ----------
    record
        Of the experiment `controls`.
    classes
        Class names of the data set.
    method
        `cladec` or `refae`.
    layer
        Name of a recorded layer; the lowest by default.
    """
    images = RunImages.of(record)
    layer = layer or images.layers(BASELINE, method)[-1].name
    rows = [(LABELS["original"], list(images.original))]
    rows += [
        (control, list(images.aligned(layer, control, method)))
        for control in ORDER if (layer, control, method) in images
    ]  # fmt: skip
    figure = grid(rows, images.titles(classes, range(len(images.labels))), size=0.6)
    figure.suptitle(f"{'ClaDec' if method == 'cladec' else 'RefAE'}, {layer}", fontsize=8)
    return figure
