"""Figures of the chapter `prototypes` (the paper's Figure 15)."""

from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cladec_companion.evidence.style import COLOURS, LABELS, grid, style
from cladec_companion.evidence.tables import ARCHITECTURE_NAMES, DATASET_NAMES
from cladec_companion.papers.cladec.prototypes.claims import by_prototype
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, runs_of

FIGURE_15 = {"prototype": "prototype", "cladec": LABELS["cladec"], "original": LABELS["original"]}
NEAREST = {
    "prototype": "prototype", "nearest reconstruction": r"nearest $\hat X_E$", "nearest class mean": "nearest mean",
}  # fmt: skip
TEXTURES = {
    "texture_original": ("X", COLOURS["original"]), "texture_cladec": (r"$\hat X_E$", COLOURS["cladec"]),
    "texture_prototype": ("prototype", "#cc79a7"),
}  # fmt: skip


def beside(record: Record, rows: dict[str, str], class_names: Callable[[str], Sequence[str]]) -> Figure:
    """Prototypes of every run, with images below each; above it the class that the network sees in it.

    Parameters
    ----------
    record
        Of the experiment `prototypes`.
    rows
        `FIGURE_15` (ClaDec's reconstruction of the test image with the nearest code, and that image) or `NEAREST`
        (what is nearest in grey values).
    class_names
        Data set -> its class names.
    """
    lines, titles = [], []
    for dataset, architecture, count in shown_runs(record):
        images = RunImages.of(record, dataset, architecture)
        seen_as = images[str(count), "class"]
        order = np.argsort(seen_as, kind="stable")
        titles.append([class_names(dataset)[label].replace(" ", "\n") for label in seen_as[order]])
        lines += [(name, list(images[str(count), key][order])) for key, name in rows.items()]
    figure = grid(lines, titles[0], size=0.58)
    for number, line in enumerate(titles):
        for axis, title in zip(figure.axes[number * len(rows) * len(line) :], line, strict=False):
            axis.set_title(title, fontsize=7.5)
    figure.suptitle(f"{'; '.join(map(_name, shown_runs(record)))}; profile {record.manifest['profile']}", fontsize=8)
    return figure


def measured(record: Record) -> Figure:
    """Per prototype of every run: textures beside each other, and both distances against each other."""
    runs, table = shown_runs(record), by_prototype(record)
    with style():
        figure, axes = plt.subplots(len(runs), 2, figsize=(7.2, 2.7 * len(runs)), squeeze=False)
        for (left, right), run in zip(axes, runs, strict=True):
            _textures(left, table.loc[run])
            _distances(right, table.loc[run])
            left.set_title(_name(run))
        figure.suptitle(f"profile {record.manifest['profile']}", fontsize=8)
    plt.close(figure)
    return figure


def _textures(axis: plt.Axes, table: pd.DataFrame) -> None:
    axis.plot(range(len(TEXTURES)), table[list(TEXTURES)].T, color="#cccccc", lw=0.8, zorder=1)
    for at, (column, (_, colour)) in enumerate(TEXTURES.items()):
        axis.scatter([at] * len(table), table[column], color=colour, s=14, zorder=2)
    axis.set_xticks(range(len(TEXTURES)), [name for name, _ in TEXTURES.values()])
    axis.set(ylabel="texture (variance of the Laplacian)", ylim=(0, None))


def _distances(axis: plt.Axes, table: pd.DataFrame) -> None:
    limit = 1.05 * table[["to_class_mean", "to_reconstruction"]].max(axis=None)
    axis.scatter(table["to_class_mean"], table["to_reconstruction"], color=TEXTURES["texture_prototype"][1], s=18)
    axis.plot([0, limit], [0, limit], color="#8a8f98", ls="--", lw=1, label="equally far")
    axis.set(xlabel="to the nearest class mean", ylabel=r"to the nearest $\hat X_E$", xlim=(0, limit), ylim=(0, limit))
    axis.set_title("mean squared difference from a prototype")
    axis.legend(fontsize=7)


def shown_runs(record: Record) -> list[tuple[str, str, int]]:
    """Data set, architecture and number of prototypes: the largest number of which the record has images."""
    counts = {
        run: [int(count) for count, *rest in RunImages.of(record, *run).names if rest == ["prototype"]]
        for run in runs_of(record)
    }
    most = max(count for found in counts.values() for count in found)
    return [(*run, most) for run, found in counts.items() if most in found]


def _name(run: tuple[str, str, int]) -> str:
    return f"{DATASET_NAMES[run[0]]}, {ARCHITECTURE_NAMES[run[1]]}"
