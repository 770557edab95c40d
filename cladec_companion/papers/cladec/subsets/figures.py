"""Figures of the chapter `subsets` (the paper's Figures 13 and 14)."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.figure import Figure

from cladec_companion.evidence.explorer import Control, explore, images_control, largest, measured, said_of
from cladec_companion.evidence.lines import first_run, heading, legend_below
from cladec_companion.evidence.style import COLOURS, apart, drawn, grid, picture, signed_difference, unit
from cladec_companion.papers.cladec.subsets.claims import Evidence, improvement
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages

KINDS = {"nested": "o-", "disjoint": "s", "random": "x"}


def _pictures(
    record: Record, images: RunImages, subset: str, names: Mapping[tuple[int, int], str], classes: tuple[str, ...]
) -> Figure:
    """Test images above their reconstructions from subsets of a kind, by (size, number)."""
    rows = [("X", list(images.original))]
    rows += [(name, list(images.aligned(subset, *map(str, numbers)))) for numbers, name in names.items()]
    figure = grid(rows, [classes[label] for label in images.labels])
    figure.suptitle(heading(record, images.run), fontsize=8)
    return figure


def nested(record: Record, classes: tuple[str, ...], run: tuple[str, str] | None = None) -> Figure:
    """Test images and their reconstructions from fewer and fewer channels (Fig. 13).

    Parameters
    ----------
    record
        Of the experiment `subsets`.
    classes
        Class names of the data set.
    run
        Data set and architecture; the record's first by default.
    """
    images = RunImages.of(record, *(run or first_run(record)))
    subsets = images.numbers("nested")[::-1]
    names = {(size, number): f"{size} channel{'s' if size > 1 else ''}" for size, number in subsets}
    return _pictures(record, images, "nested", names, classes)


def disjoint(record: Record, classes: tuple[str, ...], run: tuple[str, str] | None = None) -> Figure:
    """The same from disjoint subsets of consecutive channels (Fig. 14); dead channels are counted at the left."""
    run = run or first_run(record)
    dead = Evidence(record).values("activation", "dead_channels")
    dead = dead[(dead["subset"] == "disjoint") & (dead["dataset"] == run[0]) & (dead["architecture"] == run[1])]
    dead = dead.groupby("number")["value"].min()
    images = RunImages.of(record, *run)
    names = {
        (size, number): f"{number * size} to {(number + 1) * size - 1}\n({dead[number]:.0f} dead)"
        for size, number in images.numbers("disjoint")
    }
    return _pictures(record, images, "disjoint", names, classes)


@drawn
def loss_over_size(record: Record, run: tuple[str, str] | None = None) -> Figure:
    """Loss, and accuracy of the classifier on the reconstructions, over the number of channels (logarithmic)."""
    run = run or first_run(record)
    found = Evidence(record)
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.7))
    for axis, metric in zip(axes, ("loss_standardised", "accuracy"), strict=True):
        rows = found.values("cladec", metric)
        rows = rows[(rows["dataset"] == run[0]) & (rows["architecture"] == run[1])]
        for kind, line in KINDS.items():
            part = rows[rows["subset"] == kind]
            points = part.groupby("size", as_index=False)["value"].mean() if kind == "nested" else part
            colour = COLOURS["cladec"] if kind == "nested" else COLOURS["refae"] if kind == "random" else "#4d4d4d"
            axis.plot(points["size"], points["value"], line, color=colour, markersize=4.5, label=kind, mfc="none")
        sizes = sorted(rows["size"].unique())
        axis.set(xscale="log", xlabel="channels", xticks=sizes, xticklabels=sizes)
        axis.minorticks_off()
    if np.isfinite(found.floor(run)):  # not of older records
        axes[0].axhline(found.floor(run), color="#8a8f98", ls="--", lw=1, label="mean training image")
    clean = found.values("classifier", "accuracy").groupby(["dataset", "architecture"])["value"].mean()[run]
    axes[1].axhline(clean, color="#8a8f98", ls=":", lw=1, label="on the images themselves")
    axes[0].set(ylabel="reconstruction loss\n(standardised mean)")
    axes[1].set(ylabel="accuracy of the classifier\non reconstructions", ylim=(0, 1.02))
    legend_below(figure, columns=5)
    figure.suptitle(heading(record, run), fontsize=8)
    return figure


@drawn
def classes_by_subset(record: Record, classes: tuple[str, ...], run: tuple[str, str] | None = None) -> Figure:
    """Per disjoint subset and class: what the probe reads, what the decoder gains, what the classifier recognises."""
    run = run or first_run(record)
    table = improvement(record).loc[run].loc["disjoint"]
    titles = {"probe": "linear probe", "improvement": "share of the loss removed", "accuracy": "accuracy of C on X̂"}
    titles = {column: title for column, title in titles.items() if table[column].notna().any()}  # of older records
    first = table["probe"].unstack("class")
    size = 0.26 * len(first) + 1.25
    figure, axes = plt.subplots(1, len(titles), figsize=(8.4, size), sharey=True)
    for axis, (column, title) in zip(axes, titles.items(), strict=True):
        wide = table[column].unstack("class")
        wide = wide[sorted(wide, key=int)]
        image = axis.imshow(wide.to_numpy(), cmap="cividis", vmin=0, vmax=1, aspect="auto")
        axis.set_title(title, fontsize=8.5)
        axis.set_xticks(range(wide.shape[1]), [classes[int(name)] for name in wide], rotation=90, fontsize=7)
        axis.grid(False)
    names = [f"{number * size} to {(number + 1) * size - 1}" for size, number in first.index]
    axes[0].set_yticks(np.arange(len(names)), names, fontsize=7.5)
    axes[0].set_ylabel("channels")
    figure.colorbar(image, ax=axes, fraction=0.025)
    figure.suptitle(heading(record, run), fontsize=8)
    return figure


def interactive(record: Record) -> HTML:
    """Give the decoder more and more channels; beside it stays what it draws from all of them.

    The figure begins with a single channel (the fewest), and the image that loses most by it.

    Parameters
    ----------
    record
        Of the experiment `subsets`.
    """
    images = RunImages.of(record)
    subsets, originals = images.numbers("nested"), images.original[:, None]
    made = np.stack([images.aligned("nested", *map(str, numbers)) for numbers in subsets], 1)
    whole = made[:, -1:]
    rows = record.rows[(record.rows["subset"] == "nested") & (record.rows["class"].astype(str) == "")]
    found = measured(rows, images.run, "size")
    of_all = [
        f"All test images: reconstruction loss {found.loc[size, 'loss_standardised']:.3f} (standardised mean); the "
        f"classifier recognises {found.loc[size, 'accuracy']:.0%} of the reconstructions."
        for size, _ in subsets
    ]
    said = np.stack([said_of(images, {"ClaDec": ("nested", *map(str, numbers))}) for numbers in subsets], 1)
    notes = [f"{told} {of}" for line in said for told, of in zip(line, of_all, strict=True)]
    panes = {
        "X": picture(originals), f"ClaDec, {subsets[-1][0]} channels": picture(whole), "ClaDec": picture(made),
        "what is lacking": signed_difference(unit(whole), unit(made)),
    }  # fmt: skip
    (image,) = largest(apart(unit(whole[:, 0]), unit(made[:, 0])))
    controls = [images_control(images, image), Control("Channels", [str(size) for size, _ in subsets])]
    about = "An image and what is read back from as many channels as you choose"
    return explore(controls, panes, notes, about)
