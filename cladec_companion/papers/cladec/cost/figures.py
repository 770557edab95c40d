"""Figures of the chapter `cost`: the ladder of the training loop, and how its cost grows."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from cladec_companion.evidence.style import COLOURS, drawn
from cladec_companion.evidence.tables import ARCHITECTURE_NAMES


@drawn
def climb(rows: list[dict[str, Any]]) -> Figure:
    """How many times faster than the plain loop each rung is, one panel for each training."""
    table = pd.DataFrame(rows)
    names = list(dict.fromkeys(table["training"]))
    figure, axes = plt.subplots(1, len(names), figsize=(2.4 + 2.1 * len(names), 2.4), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        part = table[table["training"] == name][::-1]
        bars = axis.barh(part["rung"], part["times_plain"], color=COLOURS["refae"], height=0.6)
        axis.bar_label(bars, fmt="{:.2f}", padding=2, fontsize=8)
        axis.set(title=ARCHITECTURE_NAMES.get(name, name), xlabel="times the plain loop")
        axis.set_xlim(0, 1.2 * part["times_plain"].max())
        axis.axvline(1, color=COLOURS["original"], linewidth=0.8)
    return figure


@drawn
def growth(rows: list[dict[str, Any]]) -> Figure:
    """Cost over size, both as multiples of the smallest, on logarithmic axes; the thin line is proportional."""
    table = pd.DataFrame(rows)
    names = list(dict.fromkeys(table["what"]))
    figure, axes = plt.subplots(1, len(names), figsize=(1.9 * len(names), 2.2), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        part = table[table["what"] == name]
        axis.loglog(part["size"], part["times_smallest"], color=COLOURS["cladec"], marker="o", markersize=4)
        axis.loglog(part["size"], part["size"] / part["size"].iloc[0], color=COLOURS["original"], linewidth=0.8)
        axis.set_xticks(part["size"], [f"{size:g}" for size in part["size"]])
        axis.set_yscale("log", base=2)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda times, _: f"{times:g}"))
        axis.minorticks_off()
        axis.set_title(name)
    axes[0, 0].set_ylabel("cost, smallest = 1")
    return figure
