"""Figures and the table of the chapter `your_own`: the classifier that looks at a marker."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from companion.experiments.your_own import BIASED, HONEST
from companion.figures import COLOURS, grid, style
from companion.figures.trends import run_prefix
from companion.records import Record

METHODS = ("ClaDec", "GradCAM", "occlusion", "LIME")
MODELS = {BIASED: COLOURS["cladec"], HONEST: COLOURS["refae"]}


def reconstructions(record: Record, kind: str) -> Figure:
    """Images with the marker, and what the reference and both classifiers' layers keep of them.

    Parameters
    ----------
    record
        Of the experiment `your_own`.
    kind
        "marked": images of the marked class. "others": images of other classes, with the marker on them.
    """
    run = run_prefix(record, None, None)
    rows = {"with the marker": kind, "reference": f"reference/{kind}"}
    rows |= {f"ClaDec,\n{name} classifier": f"{name}/{kind}" for name in MODELS}
    return _grid(record, {name: f"{run}/{key}" for name, key in rows.items()})


def maps(record: Record) -> Figure:
    """Where each method sees the reason for the biased classifier's decision; white is nowhere."""
    run = run_prefix(record, None, None)
    return _grid(record, {"with the marker": f"{run}/marked"} | {name: f"{run}/{BIASED}/{name}" for name in METHODS})


def _grid(record: Record, rows: dict[str, str]) -> Figure:
    images = {name: list(record.samples[key]) for name, key in rows.items()}
    return grid(list(images.items()), [""] * len(next(iter(images.values()))))


def shares(record: Record) -> Figure:
    """Share of each map's energy inside the marker, a dot per seed; the line is the marker's share of the area."""
    rows = record.rows[record.rows["metric"] == "share"]
    area = rows.loc[rows["method"] == "area", "value"].iloc[0]
    with style():
        figure, axis = plt.subplots(figsize=(6.4, 2.6))
        for height, method in enumerate(reversed(METHODS)):
            for name, colour in MODELS.items():
                values = rows.loc[rows["method"] == f"{method}, {name}", "value"]
                offset = 0.12 if name == BIASED else -0.12
                axis.plot(
                    values, np.full(len(values), height + offset), "o" if name == BIASED else "s", color=colour,
                    label=f"{name} classifier" if method == METHODS[0] else None,
                )  # fmt: skip
        pair = rows.loc[rows["method"] == "two models", "value"]
        axis.plot(pair, np.full(len(pair), len(METHODS)), "D", color="#cc79a7", label="biased - honest")
        axis.axvline(area, color="#4d4d4d", linestyle="--", linewidth=1)
        axis.set(xlabel="share of the map's energy inside the marker", xlim=(-0.02, 1.02))
        axis.set_yticks(range(len(METHODS) + 1), [*reversed(METHODS), "ClaDec, two models"])
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    plt.close(figure)
    return figure


def table(record: Record) -> pd.DataFrame:
    """Accuracies of both classifiers, mean over seeds; `fooled`: images that the marker turns into its class."""
    rows = record.rows[record.rows["method"].str.startswith("classifier, ")]
    named = rows.assign(classifier=rows["method"].str.removeprefix("classifier, "))
    columns = {
        "accuracy": "accuracy, marker on its class", "accuracy_clean": "accuracy, no marker",
        "fooled": "others with the marker taken for the class",
    }  # fmt: skip
    means = named.pivot_table(index="classifier", columns="metric", values="value", sort=False)
    return means[list(columns)].rename(columns=columns).round(3)
