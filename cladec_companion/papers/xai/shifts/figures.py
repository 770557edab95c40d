"""Figures of the chapter `shifts`: maps before and after, how far they move, and a shift to play with."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib import colormaps
from matplotlib.figure import Figure

from cladec_companion.evidence.claims import Evidence
from cladec_companion.evidence.explorer import Control, classes_of, explore
from cladec_companion.evidence.lines import first_run
from cladec_companion.evidence.style import COLOURS, close_up, drawn, picture, show, unit
from cladec_companion.evidence.tables import DATASET_NAMES
from cladec_companion.papers.xai.shifts.claims import UNMOVED
from cladec_companion.papers.xai.shifts.experiment import EXPLAINED, INPUT, SPLIT, TITLES
from cladec_companion.papers.xai.shifts.networks import SHIFTS
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages

MAPS = "RdBu_r"
CHANGES = (*SHIFTS, SPLIT)
LEAST = 1e-6  # of the axis: below it is rounding


def chosen(changes: Sequence[str]) -> str:
    """The change of which a page shows maps: the faint drawing if a run has it, else the first that it has."""
    return "figure" if "figure" in changes else changes[0]


def changes_of(images: RunImages) -> list[str]:
    """Changes of which a record keeps maps of a run."""
    found = {parts[0] for parts in images.below("after")}
    return [name for name in CHANGES if name in found]


@drawn
def before_and_after(record: Record, change: str, run: tuple[str, str] | None = None) -> Figure:
    """Maps of one function, implemented or fed in two ways: rows are methods, pairs of columns are images.

    Parameters
    ----------
    record
        Of the experiment `shifts`.
    change
        One of `CHANGES`.
    run
        Data set and architecture; the record's first by default.
    """
    run = run or first_run(record)
    images = RunImages.of(record, *run)
    count = len(images.labels)
    figure, axes = plt.subplots(
        len(EXPLAINED) + 1, 2 * count, figsize=(1.42 * count + 1.8, 0.72 * len(EXPLAINED) + 1.0), squeeze=False
    )
    for place in range(count):
        show(axes[0, 2 * place], images["before", change, INPUT][place])
        show(axes[0, 2 * place + 1], images["after", change, INPUT][place])
        for row, name in enumerate(EXPLAINED, 1):
            show(axes[row, 2 * place], images["before", change, name][place][0], MAPS)
            show(axes[row, 2 * place + 1], images["after", change, name][place][0], MAPS)
    for row, name in enumerate(("input", *(TITLES[name] for name in EXPLAINED))):
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7)
    for column, title in enumerate(("before", "after") * count):
        axes[0, column].set_title(title, fontsize=7)
    named = f"{DATASET_NAMES[run[0]]}, perceptron, profile {record.manifest['profile']}; {change}"
    figure.suptitle(named, fontsize=8)
    close_up(figure, 0.01)
    return figure


@drawn
def moved(evidence: Evidence) -> Figure:
    """How far explanations move, as a share of their length, by method and change; left of the line nobody sees it."""
    found = evidence.summary["mean"].unstack("metric").groupby(level="change").mean()
    present = [change for change in CHANGES if change in found.index]
    figure, axes = plt.subplots(1, len(present), figsize=(2.1 * len(present) + 1.6, 3.4), squeeze=False, sharey=True)
    names = [name for name in TITLES if name in found][::-1]
    furthest = 3 * np.nanmax(found[names].to_numpy())
    for axis, change in zip(axes[0], present, strict=True):
        for place, name in enumerate(names):
            value = found.loc[change].get(name, np.nan)
            colour = COLOURS["cladec"] if name.startswith("cladec") else COLOURS["refae"]
            axis.plot(max(value, LEAST), place, "o", color=colour, markersize=4)
        axis.axvline(UNMOVED.value, color="#4d4d4d", lw=0.8, ls=":")
        axis.set(xscale="log", xlim=(LEAST / 2, max(100, furthest)), title=change)
        axis.set_yticks(range(len(names)), [TITLES[name] for name in names], fontsize=7)
    figure.supxlabel("distance as a share of the map's length", fontsize=8)
    return figure


def numbers(evidence: Evidence) -> pd.DataFrame:
    """How far explanations move: a row for each method, a column for each change of each data set."""
    means = evidence.summary["mean"].unstack("metric").rename(index=DATASET_NAMES).rename(columns=TITLES)
    table = means.droplevel("architecture").T.reindex(dict.fromkeys(TITLES.values())).rename_axis(index=None)
    return table.map("{:.1e}".format, na_action="ignore").fillna("–")


def interactive(record: Record) -> HTML:
    """Choose a method, and shift the input or split the neurons: the maps of the same predictions before and after."""
    images = RunImages.of(record)
    changes, names = changes_of(images), list(EXPLAINED)
    colour = colormaps[MAPS]

    def maps(when: str) -> np.ndarray:
        stacked = [[images[when, change, name][:, 0] for change in changes] for name in names]
        return colour(unit(np.moveaxis(np.array(stacked), 2, 0)))[..., :3]

    def inputs(when: str) -> np.ndarray:
        return picture(np.stack([images[when, change, INPUT] for change in changes], 1)[:, None])

    panes = {
        "x": inputs("before"), "map of x": maps("before"), "changed x": inputs("after"),
        "map of changed x": maps("after"),
    }  # fmt: skip
    classes = [classes_of(images)[label] for label in images.predicted]
    rows = record.rows[(record.rows["dataset"] == images.dataset) & (record.rows["metric"] == "change")]
    means = rows.assign(value=rows["value"].astype(float)).groupby(["method", "layer"])["value"].mean()
    notes = [
        f"{TITLES[name]}, {change}: the output is the same; the map moves by {means[name, change]:.1%} of its length "
        "on average."
        for _ in classes for name in names for change in changes
    ]  # fmt: skip
    controls = [
        Control("Image", [f"{place}. {name}" for place, name in enumerate(classes, 1)], slider=False),
        Control("Method", [TITLES[name] for name in names], slider=False, start=names.index("gradient_x_input")),
        Control("Change", changes),
    ]
    return explore(
        controls, panes, notes, "Images and heat maps before and after a change that leaves the output alone"
    )
