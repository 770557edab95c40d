"""What figures of several chapters share: lines over an axis (α, epochs), and which run is shown."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from cladec_companion.evidence.tables import ARCHITECTURE_NAMES, DATASET_NAMES
from cladec_companion.evidence.trends import Evidence
from cladec_companion.records.record import Record

LINES = {"published": "--", "recorded": "-", "this run": ":"}
MARKERS = {"vgg11": "o", "resnet10": "s", "vgg5": "^", "vgg11_maxpool": "D"}


def lines(axis: plt.Axes, sources: dict[str, Evidence], metric: str, title: str, colour: str, name: str = "") -> None:
    """Draw a metric over evenly spaced values: a line type per source, a marker per architecture.

    Parameters
    ----------
    sources
        Evidence by name, such as published, recorded, this run.
    metric, colour, name
        What is drawn, and the method's colour and name.
    title
        What the axis is. Distances along it mean nothing.
    """
    values = sorted(set().union(*(evidence.summary.index.get_level_values(2) for evidence in sources.values())))
    for source, evidence in sources.items():
        for (dataset, architecture), chain in evidence.chains(metric):
            axis.errorbar(
                [values.index(value) for value in chain.index], chain["mean"], yerr=chain["sd"].fillna(0),
                color=colour, linestyle=LINES[source], marker=MARKERS[architecture], markersize=4, capsize=2,
                alpha=0.55 if source == "published" else 1,
                label=f"{name}{source}: {DATASET_NAMES[dataset]}, {ARCHITECTURE_NAMES[architecture]}",
            )  # fmt: skip
    axis.set_xticks(range(len(values)), [f"{value:g}" for value in values], rotation=60 if len(values) > 6 else 0)
    axis.set_xlabel(title)


def legend_below(figure: Figure, columns: int = 2) -> None:
    """One legend for all panels."""
    pairs = [zip(*axis.get_legend_handles_labels(), strict=True) for axis in figure.axes]
    unique = pd.Series({label: handle for panel in pairs for handle, label in panel})
    figure.legend(unique.array, unique.index, loc="outside lower center", ncols=columns, fontsize=7)


def first_run(record: Record) -> tuple[str, str]:
    """The first data set and architecture of a record, in the order of its rows."""
    first = record.rows.iloc[0]
    return first["dataset"], first["architecture"]


def heading(record: Record, run: tuple[str, str]) -> str:
    """Which run a figure shows, in one line."""
    return f"{DATASET_NAMES[run[0]]}, {ARCHITECTURE_NAMES[run[1]]}, profile {record.manifest['profile']}"


def unconverged(record: Record, dataset: str, architecture: str) -> set[tuple[str, str]]:
    """Layers and methods (`cladec`, `refae`) of a run whose training ended while its loss was still falling."""
    rows = record.rows[record.rows["metric"] == "still_falling"]
    rows = rows[(rows["dataset"] == dataset) & (rows["architecture"] == architecture)]
    falling = rows[rows["value"].astype(float) > 0]
    return set(zip(falling["layer"], falling["method"], strict=True))
