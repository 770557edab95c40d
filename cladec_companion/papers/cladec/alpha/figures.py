"""Figures of the chapter `alpha` (the paper's Figure 11)."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from cladec_companion.evidence.lines import legend_below, lines, run_prefix
from cladec_companion.evidence.style import COLOURS, LABELS, drawn, grid
from cladec_companion.evidence.trends import Evidence
from cladec_companion.records.record import Record

PANELS = {
    "rec_loss": "reconstruction loss\n(raw sum per image)",
    "cls_loss": "classifier loss on\nreconstructions (nats)",
    "acc_cladec": "accuracy of the\nevaluation classifier",
}


def samples_by_alpha(
    record: Record, classes: tuple[str, ...], *, dataset: str | None = None, architecture: str | None = None,
    only: int | None = None, count: int = 10,
) -> Figure:  # fmt: skip
    """Test images, and below each its reconstruction for every α (Fig. 11).

    Parameters
    ----------
    record
        Of the experiment `alpha`.
    classes
        Class names of the data set.
    only
        Show only this class.
    """
    run = run_prefix(record, dataset, architecture)
    labels = record.samples[f"{run}/label"]
    chosen = np.flatnonzero((labels == only) if only is not None else (labels == record.samples[f"{run}/predicted"]))
    chosen = chosen[:count]
    alphas = sorted(float(name.split("=")[1]) for name in record.samples if name.startswith(f"{run}/alpha="))
    rows = [(LABELS["original"], list(record.samples[f"{run}/original"][chosen]))]
    rows += [(f"α = {alpha:g}", list(record.samples[f"{run}/alpha={alpha}"][chosen])) for alpha in alphas]
    return grid(rows, [classes[labels[at]] for at in chosen])


@drawn
def trade_off(sources: dict[str, Evidence]) -> Figure:
    """Both losses and the evaluation accuracy over α, with sd as error bars.

    Parameters
    ----------
    sources
        Evidence (`claims.alpha`) by name; `published` is drawn dashed.
    """
    figure, axes = plt.subplots(1, len(PANELS), figsize=(8.4, 3.3))
    for axis, (metric, title) in zip(axes, PANELS.items(), strict=True):
        lines(axis, sources, metric, "α", COLOURS["cladec"])
        axis.set_ylabel(title)
    axes[0].set_yscale("log")
    legend_below(figure)
    return figure
