"""Figures of the chapter `alpha` (the paper's Figure 11)."""

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.figure import Figure

from cladec_companion.evidence.explorer import Control, explore, images_control, largest, measured, said_of
from cladec_companion.evidence.lines import legend_below, lines
from cladec_companion.evidence.style import COLOURS, LABELS, apart, drawn, grid, picture, signed_difference, unit
from cladec_companion.evidence.trends import Evidence
from cladec_companion.papers.cladec.alpha.claims import in_our_scale
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, valued

PANELS = {
    "rec_loss": "reconstruction loss\n(raw sum per image)",
    "cls_loss": "classifier loss on\nreconstructions (nats)",
    "acc_cladec": "accuracy of the\nevaluation classifier",
}


def samples_by_alpha(record: Record, classes: tuple[str, ...], *, only: int | None = None, count: int = 10) -> Figure:
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
    images = RunImages.of(record)
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
        Evidence (see `claims.evidence`) by name; `published` is drawn dashed, where our scale has its α.
    """
    sources = {name: in_our_scale(part) if part.record is None else part for name, part in sources.items()}
    figure, axes = plt.subplots(1, len(PANELS), figsize=(8.4, 3.3))
    for axis, (metric, title) in zip(axes, PANELS.items(), strict=True):
        lines(axis, sources, metric, "α", COLOURS["cladec"])
        axis.set_ylabel(title)
        if "published" in sources:  # its α in our scale are long numbers, close to ours
            axis.tick_params("x", rotation=90, labelsize=7)
    axes[0].set_yscale("log")
    legend_below(figure)
    return figure


def interactive(record: Record) -> HTML:
    """Turn the weight of the classification loss; beside it stays what α = 0 draws, as the record has no RefAE.

    The images are those that the classifier gets right, as in Fig. 11. The figure begins at the largest weight below 1,
    with the image that this weight changes most.

    Parameters
    ----------
    record
        Of the experiment `alpha`.
    """
    images = RunImages.of(record)
    right = np.flatnonzero(images.labels == images.predicted)
    values, originals = images.values("alpha"), images.original[right, None]
    made = np.stack([images.aligned(valued("alpha", value))[right] for value in values], 1)
    plain = made[:, :1]
    found = measured(record.rows, images.run, "alpha")
    of_all = [
        f"All test images: reconstruction loss {found.loc[value, 'loss_raw_sum']:.1f} (raw sum per image); of "
        f"{found.loc[value, 'agreement']:.0%} the classifier says what it says of the original."
        for value in values
    ]
    said = np.stack([said_of(images, {"ClaDec": (valued("alpha", value),)}) for value in values], 1)[right]
    notes = [f"{told} {of}" for line in said for told, of in zip(line, of_all, strict=True)]
    panes = {
        "X": picture(originals), f"ClaDec, α = {values[0]:g}": picture(plain), "ClaDec": picture(made),
        "what α changed": signed_difference(unit(plain), unit(made)),
    }  # fmt: skip
    weight = max(place for place, value in enumerate(values) if value < 1)
    (image,) = largest(apart(unit(plain[:, 0]), unit(made[:, weight])))
    weights = Control("Weight α", [f"{value:g}" for value in values], start=weight)
    about = "An image and its explanation, for a weight of the classification loss that you choose"
    return explore([images_control(images, image, right), weights], panes, notes, about)
