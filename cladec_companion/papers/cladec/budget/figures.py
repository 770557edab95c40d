"""Figures of the chapter `budget`: what becomes of both methods, and of the pictures, as training goes on."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from cladec_companion.evidence.lines import first_run, heading, legend_below
from cladec_companion.evidence.measurements import MARK
from cladec_companion.evidence.style import COLOURS, LABELS, drawn, grid
from cladec_companion.papers.cladec.budget.claims import STILL_FALLING, UNRECORDED, budget, marked, numbers
from cladec_companion.papers.cladec.printed_tables import DIFFERENCES, HEADINGS
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, by_depth

METHODS = {"cladec": "ClaDec", "refae": "RefAE"}
MARKERS = ("o", "s", "^", "D")
FILLED: dict[str, dict[str, str]] = {"": {}, STILL_FALLING: {"mfc": "none"}, UNRECORDED: {"fillstyle": "bottom"}}
SAID = {"": "", STILL_FALLING: ", still falling", UNRECORDED: ", whether still falling not recorded"}
PANELS = {"rec": "reconstruction loss\n(standardised mean)", "acc": "evaluation accuracy"}


def _values(record: Record, run: tuple[str, str]) -> pd.DataFrame:
    """Means over seeds by layer, images and epochs."""
    means = numbers(record).loc[run]
    order = [layer.name for layer in by_depth(run[1], set(means.index.get_level_values("layer")))]
    return means.reindex(order, level="layer")


@drawn
def lengths(record: Record) -> Figure:
    """Losses, evaluation accuracies and both differences over the epochs: a row of panels for each layer.

    A hollow marker is a training whose loss was still falling at its end, a half-filled one a training of which nobody
    recorded that; each number of images has a line of its own.
    """
    run = first_run(record)
    means = _values(record, run)
    layers = list(dict.fromkeys(means.index.get_level_values("layer")))
    amounts = sorted(set(means.index.get_level_values("images")))
    figure, axes = plt.subplots(len(layers), 4, figsize=(9.4, 2.3 * len(layers) + 0.6), squeeze=False)
    for line, layer in zip(axes, layers, strict=True):
        for at, amount in enumerate(amounts):
            if (layer, amount) in means.index.droplevel("epochs"):
                _line(line, means.loc[(layer, amount)], amount, MARKERS[at % len(MARKERS)])
        line[0].set_ylabel(f"{layer}\n{PANELS['rec']}")
        line[1].set_ylabel(PANELS["acc"])
        for axis, metric in zip(line[2:], DIFFERENCES, strict=True):
            axis.axhline(0, color="black", linewidth=0.8)
            axis.set_ylabel(HEADINGS[metric])
        for axis in line:
            axis.set(xscale="log", xlabel="epochs")
            epochs = sorted(set(means.index.get_level_values("epochs")))
            axis.set_xticks(epochs, [str(epoch) for epoch in epochs])
            axis.minorticks_off()
    legend_below(figure, columns=3)
    figure.suptitle(heading(record, run), fontsize=8)
    return figure


def _line(axes: list, part: pd.DataFrame, amount: int, marker: str) -> None:
    """The four panels of one layer for one number of images."""
    for method, name in METHODS.items():
        marks = marked(part[MARK + method])
        for axis, kind in zip(axes, PANELS, strict=False):
            axis.plot(part.index, part[f"{kind}_{method}"], color=COLOURS[method], linewidth=1.2,
                      linestyle="-" if marker == MARKERS[0] else "--")  # fmt: skip
            for state, filled in FILLED.items():
                own = part[marks == state]
                axis.plot(
                    own.index, own[f"{kind}_{method}"], marker, color=COLOURS[method], markersize=4.5, **filled,
                    label=f"{name}, {amount:,} images{SAID[state]}" if len(own) else None,
                )  # fmt: skip
    for axis, metric in zip(axes[2:], DIFFERENCES, strict=True):
        axis.plot(part.index, part[metric], marker + ("-" if marker == MARKERS[0] else "--"), color="#4d4d4d",
                  markersize=4.5, label=f"ClaDec less RefAE, {amount:,} images")  # fmt: skip


def pictures(record: Record, classes: tuple[str, ...], layer: str | None = None, count: int = 10) -> Figure:
    """The same garments after each budget, by the RefAE and by ClaDec.

    Parameters
    ----------
    record
        Of the experiment `budget`.
    classes
        Class names of the data set.
    layer
        The layer that is explained; by default the one nearest the output.
    """
    images = RunImages.of(record)
    spent = _budgets(images)
    layer = layer or layers(record)[0]
    rows = [(LABELS["original"], list(images.original[:count]))]
    for method in ("refae", "cladec"):
        rows += [
            (
                f"{METHODS[method]}, {budget(amount, epochs)}".replace("images, ", "images,\n"),
                list(images.aligned(layer, str(amount), str(epochs), method)[:count]),
            )
            for amount, epochs in spent[layer] if (layer, str(amount), str(epochs), method) in images
        ]  # fmt: skip
    shown = images.original[:count]
    figure = grid(rows, images.titles(classes, range(len(shown))), size=0.66)
    figure.suptitle(f"{heading(record, images.run)}, {layer}", fontsize=8)
    return figure


def layers(record: Record) -> list[str]:
    """Layers of which a record has pictures, from the output to the input."""
    images = RunImages.of(record)
    return [layer.name for layer in by_depth(images.architecture, set(_budgets(images)))]


def _budgets(images: RunImages) -> dict[str, list[tuple[int, int]]]:
    """Layers with the images and epochs of which there are pictures, rising."""
    found: dict[str, set[tuple[int, int]]] = {}
    for name in images.names:
        if len(name) == 4:
            found.setdefault(name[0], set()).add((int(name[1]), int(name[2])))
    return {layer: sorted(spent) for layer, spent in found.items()}
