"""Figures of the chapter `layers` (the paper's Figures 5 to 10)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from cladec_companion.evidence.comparisons import NOT_CONVERGED
from cladec_companion.evidence.explorer import Control, explore, images_control, largest, said_of
from cladec_companion.evidence.lines import legend_below, unconverged
from cladec_companion.evidence.measurements import METHODS
from cladec_companion.evidence.style import (
    COLOURS,
    LABELS,
    apart,
    close_up,
    drawn,
    grid,
    heat_map,
    picture,
    show,
    signed_difference,
    unit,
)
from cladec_companion.evidence.tables import ARCHITECTURE_NAMES, DATASET_NAMES
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, by_depth, common, runs_of


def triples(
    record: Record, layer: str, classes: tuple[str, ...], *, dataset: str | None = None,
    architecture: str | None = None, only: int | None = None, count: int = 10,
) -> Figure:  # fmt: skip
    """The explanation of one layer: X, X̂_R, X̂_E and the signed difference (Figs. 5 and 7).

    Parameters
    ----------
    record
        Of the experiment `layers`.
    layer
        Name of a recorded layer.
    classes
        Class names of the data set.
    only
        Show only this class.
    """
    images = RunImages.of(record, dataset, architecture)
    right = images.labels == images.predicted
    chosen = np.flatnonzero(right & ((images.labels == only) if only is not None else True))[:count]
    refae, cladec = (images.aligned(layer, method)[chosen] for method in ("refae", "cladec"))
    shown = {"original": images.original[chosen], "refae": refae, "cladec": cladec}
    short = unconverged(record, images.dataset, images.architecture)
    marks = {name: f"\n{NOT_CONVERGED}" for at, name in short if at == layer}
    rows = [(LABELS[name] + marks.get(name, ""), list(part)) for name, part in shown.items()]
    rows.append((r"$\hat X_R - \hat X_E$", list(signed_difference(unit(refae), unit(cladec)))))
    return grid(rows, images.titles(classes, chosen))


@drawn
def layers_by_samples(
    record: Record, layers: list[str], classes: tuple[str, ...], *, wrong: bool, count: int = 4,
    dataset: str | None = None, architecture: str | None = None, saliency: bool = True,
) -> Figure:  # fmt: skip
    """Layers × samples: per image RefAE, ClaDec and GradCAM for each numbered layer (Figs. 6, 8, 9).

    Parameters
    ----------
    layers
        Recorded layers, from the output to the input.
    wrong
        Misclassified test images instead of correctly classified ones.
    """
    images = RunImages.of(record, dataset, architecture)
    chosen = np.flatnonzero((images.labels != images.predicted) == wrong)[:count]
    methods = ["refae", "cladec", *(["gradcam"] if saliency else [])]
    figure, axes = plt.subplots(
        1 + len(layers), len(chosen) * len(methods), squeeze=False,
        figsize=(0.56 * len(methods) * len(chosen) + 1.0, 0.6 * (1 + len(layers)) + 0.4),
    )  # fmt: skip
    for axis in axes[0]:
        axis.axis("off")
    for column, (at, title) in enumerate(zip(chosen, images.titles(classes, chosen), strict=True)):
        first = column * len(methods)
        axes[0, first].axis("on")
        show(axes[0, first], images.original[at])
        axes[0, first + 1].text(0.08, 0.5, title, transform=axes[0, first + 1].transAxes, va="center", fontsize=7)
        for row, layer in enumerate(layers, start=1):
            for offset, method in enumerate(methods):
                image = images.aligned(layer, method)[at]
                (heat_map if method == "gradcam" else show)(axes[row, first + offset], image)
                if row == 1:
                    name = {"refae": "RefAE", "cladec": "ClaDec", "gradcam": "GradCAM"}[method]
                    axes[row, first + offset].set_title(name, fontsize=6.5, pad=2)
    labels = {layer.name: layer.label for layer in by_depth(images.architecture, set(layers), images.index_map)}
    short = unconverged(record, images.dataset, images.architecture)
    for row, name in enumerate(["X", *(labels[layer] for layer in layers)]):
        own = [METHODS[method] for at, method in sorted(short) if row and at == layers[row - 1]]
        told = f"\n({', '.join(own)} {NOT_CONVERGED})" if own else ""
        axes[row, 0].set_ylabel(name + told, rotation=0, ha="right", va="center", fontsize=7.5)
    close_up(figure, 0.008)
    return figure


def networks(record: Record, classes: tuple[str, ...], dataset: str, *, count: int = 8) -> Figure:
    """The same test images from VGG-11 and from ResNet-10, for each layer that both have (Fig. 10).

    Parameters
    ----------
    record
        Of the experiment `layers`. Of a network that it lacks, there are no rows.
    dataset
        Of which both networks were recorded.
    """
    both = ("vgg11", "resnet10")
    runs = [RunImages.of(record, dataset, name) for name in both if (dataset, name) in runs_of(record)]
    places = [at[:count] for at in common(*runs)]
    numbered = [{layer.index: layer for layer in images.layers() if layer.index is not None} for images in runs]
    rows = [(LABELS["original"], list(runs[0].original[places[0]]))]
    for index in sorted(set.intersection(*map(set, numbered)), reverse=True):
        rows += [
            (
                f"{sign} {ARCHITECTURE_NAMES[images.architecture]}, {index}",
                list(images.aligned(layers[index].name, method)[at]),
            )
            for method, sign in (("refae", r"$\hat X_R$"), ("cladec", r"$\hat X_E$"))
            for images, layers, at in zip(runs, numbered, places, strict=True)
        ]
    titles = [classes[label] for label in runs[0].labels[places[0]]]
    return grid(rows, titles, size=0.62)


@drawn
def over_depth(sources: dict[str, pd.DataFrame], dataset: str, architecture: str) -> Figure:
    """Loss and evaluation accuracy per layer, ClaDec and RefAE, with sd as error bars.

    Parameters
    ----------
    sources
        Summaries (`printed_tables.layers_of`, `printed_tables.layers`) by name; `published` is drawn dashed.
    """
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.7))
    for name, summary in sources.items():
        for method in ("refae", "cladec"):
            for axis, metric in zip(axes, (f"rec_{method}", f"acc_{method}"), strict=True):
                _depth_line(axis, summary, (dataset, architecture), metric, method, name)
    axes[0].set(yscale="log", ylabel="reconstruction loss\n(standardised mean)")
    axes[1].set(ylabel="evaluation accuracy")
    for axis in axes:
        axis.set(xlabel="layer, counted from the output")
        axis.set_xticks(sorted({index[2] for part in sources.values() for index in part.index}))
    legend_below(figure, columns=4)
    figure.suptitle(f"{DATASET_NAMES[dataset]}, {ARCHITECTURE_NAMES[architecture]}", fontsize=9)
    return figure


def _depth_line(
    axis: plt.Axes, summary: pd.DataFrame, run: tuple[str, str], metric: str, method: str, source: str
) -> None:
    chosen = [index for index in summary.index if index[:2] == run and index[3] == metric]
    if not chosen:
        return
    part = summary.loc[chosen].assign(layer=[index[2] for index in chosen]).sort_values("layer")
    printed = source == "published"
    axis.errorbar(
        part["layer"], part["mean"], yerr=part["sd"].fillna(0), color=COLOURS[method], capsize=2, markersize=4,
        marker="s" if printed else "o", linestyle="--" if printed else "-", alpha=0.55 if printed else 1,
        label=f"{'RefAE' if method == 'refae' else 'ClaDec'}, {source}",
    )  # fmt: skip


def recorded_layers(record: Record, dataset: str | None = None, architecture: str | None = None) -> list[str]:
    """Layers of which a run has images, from the output to the input."""
    return [layer.name for layer in RunImages.of(record, dataset, architecture).layers()]


def interactive(record: Record) -> HTML:
    """Move through the layers of one image: RefAE, ClaDec and their difference.

    The figure begins where RefAE and ClaDec differ most.

    Parameters
    ----------
    record
        Of the experiment `layers`.
    """
    images = RunImages.of(record)
    layers = images.layers()[::-1]
    shown = {"X": images.original[:, None]}
    for name, method in (("RefAE", "refae"), ("ClaDec", "cladec")):
        shown[name] = np.stack([images.aligned(layer.name, method) for layer in layers], 1)
    original, refae, cladec = map(unit, shown.values())
    panes = {name: picture(part) for name, part in shown.items()}
    panes["RefAE − ClaDec"] = signed_difference(refae, cladec)
    between = apart(refae, cladec)
    distances = zip(apart(original, refae).flat, apart(original, cladec).flat, between.flat, strict=True)
    drawn = [{"RefAE": (layer.name, "refae"), "ClaDec": (layer.name, "cladec")} for layer in layers]
    said = np.stack([said_of(images, names) for names in drawn], 1).flat
    notes = [
        f"RefAE's image is {first:.0%} away from X, ClaDec's {second:.0%}; the two are {both:.0%} apart. {told}"
        for (first, second, both), told in zip(distances, said, strict=True)
    ]
    image, layer = largest(between)
    controls = [images_control(images, image), Control("Layer", [layer.label for layer in layers], start=layer)]
    return explore(controls, panes, notes, "An image, and what two decoders read back from a layer that you choose")
