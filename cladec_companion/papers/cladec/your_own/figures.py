"""Figures and tables of the chapter `your_own`: the classifier that looks at a marker."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.evidence.style import COLOURS, drawn, grid
from cladec_companion.papers.cladec.your_own.experiment import BIASED, HONEST, MARKED, OTHERS
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, by_depth

PAIR = "two models"
STYLES = {  # colour, marker, and how far from the middle of its line
    BIASED: (COLOURS["cladec"], "o", 0.15), HONEST: (COLOURS["refae"], "s", -0.15), PAIR: ("#cc79a7", "D", 0),
}  # fmt: skip
WITHOUT_LAYERS = ("occlusion", "LIME", "LRP")
# Pictures of a layer -> the method of their rows.
DRAWN = {"reference": "reference", BIASED: f"ClaDec, {BIASED}", HONEST: f"ClaDec, {HONEST}"}
FALLING = "still falling"
KINDS = {MARKED: "the marked class", OTHERS: "other classes"}


def layers(record: Record) -> list[str]:
    """The layers of a record, from the input to the output."""
    found = set(record.rows["layer"]) - {CLASSIFIER}
    return [layer.name for layer in by_depth(record.rows["architecture"].iloc[0], found)[::-1]]


def reconstructions(record: Record, kind: str) -> Figure:
    """Images with the marker, and what the reference and both classifiers keep of them in each layer.

    Parameters
    ----------
    record
        Of the experiment `your_own`.
    kind
        "marked": images of the marked class. "others": images of other classes, with the marker on them.
    """
    rows: dict[str, tuple[str, ...]] = {"with the marker": (kind,)}
    for layer in layers(record):
        rows |= {f"{layer}: {name}{_mark(record, layer, name)}": (layer, name, kind) for name in DRAWN}
    return _grid(record, rows)


def _mark(record: Record, layer: str, name: str) -> str:
    """What stands below the name of pictures that come from a training whose loss was still falling."""
    return f"\n({FALLING})" if falling(record).get((layer, DRAWN[name]), False) else ""


def falling(record: Record) -> pd.Series:
    """By layer and method, whether a loss behind it was still falling in any run; empty if nobody recorded it."""
    rows = record.rows[record.rows["metric"] == "still_falling"]
    return rows.groupby(["layer", "method"])["value"].max() > 0


def maps(record: Record, kind: str) -> Figure:
    """Where each method sees the reason for the biased classifier's decision; white is nowhere. `kind`: as above."""
    rows: dict[str, tuple[str, ...]] = {"with the marker": (kind,)}
    for layer in layers(record):
        rows[f"ClaDec, {layer}{_mark(record, layer, BIASED)}"] = (layer, BIASED, kind, "ClaDec")
    rows |= {f"GradCAM, {layer}": (layer, BIASED, kind, "GradCAM") for layer in layers(record)}
    return _grid(record, rows | {method: (BIASED, kind, method) for method in _without_layers(record)})


def _without_layers(record: Record) -> list[str]:
    """The methods that know no layer, of those that a record has."""
    there = set(record.rows["method"])
    return [method for method in WITHOUT_LAYERS if f"{method}, {BIASED}" in there]


def _grid(record: Record, rows: dict[str, tuple[str, ...]]) -> Figure:
    images = RunImages.of(record)
    shown = [(name, list(images[parts])) for name, parts in rows.items()]
    return grid(shown, [""] * len(shown[0][1]), size=0.6)


@drawn
def shares(record: Record) -> Figure:
    """Share of each map's energy inside the marker, a dot per run; the line is the marker's share of the area."""
    lines = [(method, layer) for method in ("ClaDec", PAIR, "GradCAM") for layer in layers(record)]
    lines = [*((method, CLASSIFIER) for method in reversed(_without_layers(record))), *reversed(lines)]
    figure, axes = plt.subplots(1, len(KINDS), figsize=(7.6, 0.26 * len(lines) + 1.1), sharey=True)
    for axis, (kind, title) in zip(axes, KINDS.items(), strict=True):
        rows = record.rows[record.rows["metric"] == ("share" if kind == MARKED else f"share_{kind}")]
        for height, (method, layer) in enumerate(lines):
            for name, (colour, marker, offset) in STYLES.items():
                called = rows["method"] == (method if name == PAIR else f"{method}, {name}")
                values = rows.loc[called & (rows["layer"] == layer), "value"]
                axis.plot(values, np.full(len(values), height + offset), marker, color=colour, markersize=4)
        area = record.rows.loc[record.rows["method"] == "area", "value"].iloc[0]
        axis.axvline(area, color="#4d4d4d", linestyle="--", linewidth=1)
        axis.set(title=title, xlabel="share of energy inside the marker", xlim=(-0.03, 1.03))
    names = [method if layer == CLASSIFIER else f"{method}, {layer}" for method, layer in lines]
    axes[0].set_yticks(range(len(lines)), names)
    for name, (colour, marker, _) in STYLES.items():
        axes[0].plot([], [], marker, color=colour, label="biased - honest" if name == PAIR else f"{name} classifier")
    figure.legend(loc="outside lower center", ncols=len(STYLES), fontsize=7.5)
    return figure


def accuracies(record: Record) -> pd.DataFrame:
    """Accuracies of both classifiers, mean over runs; `fooled`: images that the marker turns into its class."""
    columns = {
        "accuracy": "accuracy, marker on its class", "accuracy_clean": "accuracy, no marker",
        "fooled": "others with the marker taken for the class",
    }  # fmt: skip
    return _table(record, ["method"], columns)


def kept(record: Record) -> pd.DataFrame:
    """How much of the marker is drawn where it is and where it is not, and how the rest changes; mean over runs."""
    columns = {
        "drawn": "its class, with it", "drawn_bare": "its class, without", "drawn_others": "others, with it",
        "drawn_bare_others": "others, without", "changed_others": "change of the rest (others)",
    }  # fmt: skip
    table = _table(record, ["layer", "method"], columns).map("{:.3f}".format)
    marks = falling(record).reindex(table.index)
    names = {True: "yes", False: "no"}
    return table.assign(**{FALLING: [names.get(mark, "not recorded") for mark in marks]})


def _table(record: Record, index: list[str], columns: dict[str, str]) -> pd.DataFrame:
    rows = record.rows[record.rows["metric"].isin(list(columns))]
    means = rows.pivot_table(index=index, columns="metric", values="value")
    return means[list(columns)].rename(columns=columns).rename_axis(columns=None).round(3)
