"""Figures of the chapter `alpha` (the paper's Figure 11)."""

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.figure import Figure

from cladec_companion.evidence.explorer import Control, explore, images_control, measured
from cladec_companion.evidence.lines import legend_below, lines
from cladec_companion.evidence.style import COLOURS, LABELS, drawn, grid, picture
from cladec_companion.evidence.trends import Evidence
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, valued

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
    images = RunImages.of(record, dataset, architecture)
    labels = images.labels
    chosen = np.flatnonzero((labels == only) if only is not None else (labels == images.predicted))[:count]
    rows = [(LABELS["original"], list(images.original[chosen]))]
    rows += [
        (f"α = {alpha:g}", list(images.aligned(valued("alpha", alpha))[chosen])) for alpha in images.values("alpha")
    ]
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


def interactive(record: Record, count: int = 12) -> HTML:
    """Turn the weight of the classification loss.

    Parameters
    ----------
    record
        Of the experiment `alpha`.
    count
        How many images there are to choose from.
    """
    images = RunImages.of(record)
    values, originals = images.values("alpha"), images.original[:count, None]
    made = np.stack([images.aligned(valued("alpha", value))[:count] for value in values], 1)
    found = measured(record.rows, images.run, "alpha")
    notes = [
        f"All test images: reconstruction loss {found.loc[value, 'loss_raw_sum']:.1f} (raw sum per image); of "
        f"{found.loc[value, 'agreement']:.0%} the classifier says what it says of the original."
        for value in values
    ]
    controls = [images_control(images, len(made)), Control("Weight α", [f"{value:g}" for value in values])]
    about = "An image and its explanation, for a weight of the classification loss that you choose"
    return explore(controls, {"X": picture(originals), "ClaDec": picture(made)}, notes * len(made), about)
