"""Figures of the chapter `layers` (the paper's Figures 5 to 10)."""

from functools import reduce

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cladec_companion.evidence.lines import run_prefix
from cladec_companion.evidence.style import COLOURS, LABELS, drawn, grey, grid, show, signed_difference
from cladec_companion.evidence.tables import ARCHITECTURE_NAMES, DATASET_NAMES
from cladec_companion.records.record import Record
from cladec_core.networks import LAYER_INDEX


def _titles(record: Record, run: str, chosen: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    labels, predicted = record.samples[f"{run}/label"], record.samples[f"{run}/predicted"]
    return [
        classes[labels[i]] if labels[i] == predicted[i] else f"{classes[labels[i]]}\n→ {classes[predicted[i]]}"
        for i in chosen
    ]


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
    run = run_prefix(record, dataset, architecture)
    labels, predicted = record.samples[f"{run}/label"], record.samples[f"{run}/predicted"]
    right = np.flatnonzero((labels == predicted) & ((labels == only) if only is not None else True))
    chosen = right[:count]
    images = {
        "original": record.samples[f"{run}/original"][chosen],
        "refae": record.samples[f"{run}/{layer}/refae"][chosen],
        "cladec": record.samples[f"{run}/{layer}/cladec"][chosen],
    }
    rows = [(LABELS[name], list(part)) for name, part in images.items()]
    rows.append((r"$\hat X_R - \hat X_E$", list(signed_difference(grey(images["refae"]), grey(images["cladec"])))))
    return grid(rows, _titles(record, run, chosen, classes))


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
    run = run_prefix(record, dataset, architecture)
    labels, predicted = record.samples[f"{run}/label"], record.samples[f"{run}/predicted"]
    chosen = np.flatnonzero((labels != predicted) == wrong)[:count]
    methods = ["refae", "cladec", *(["gradcam"] if saliency else [])]
    figure, axes = plt.subplots(
        1 + len(layers), len(chosen) * len(methods), squeeze=False,
        figsize=(0.56 * len(methods) * len(chosen) + 1.0, 0.6 * (1 + len(layers)) + 0.4),
    )  # fmt: skip
    for axis in axes[0]:
        axis.axis("off")
    for column, (at, title) in enumerate(zip(chosen, _titles(record, run, chosen, classes), strict=True)):
        first = column * len(methods)
        axes[0, first].axis("on")
        show(axes[0, first], record.samples[f"{run}/original"][at])
        axes[0, first + 1].text(0.08, 0.5, title, transform=axes[0, first + 1].transAxes, va="center", fontsize=7)
        for row, layer in enumerate(layers, start=1):
            for offset, method in enumerate(methods):
                image = record.samples[f"{run}/{layer}/{method}"][at]
                show(axes[row, first + offset], image, "magma" if method == "gradcam" else "gray_r")
                if row == 1:
                    name = {"refae": "RefAE", "cladec": "ClaDec", "gradcam": "GradCAM"}[method]
                    axes[row, first + offset].set_title(name, fontsize=6.5, pad=2)
    numbers = _numbers(run)
    for row, name in enumerate(["X", *(f"{layer} ({numbers[layer]})" for layer in layers)]):
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7.5)
    figure.get_layout_engine().set(w_pad=0.008, h_pad=0.008, wspace=0, hspace=0)
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
    both = {f"{dataset}/{name}": name for name in ("vgg11", "resnet10")}
    runs = [run for run in both if f"{run}/index" in record.samples]
    shown = reduce(np.intersect1d, [record.samples[f"{run}/index"] for run in runs])[:count]
    at = {run: [list(record.samples[f"{run}/index"]).index(index) for index in shown] for run in runs}
    used = record.manifest["configuration"]["index_map"]
    rows = [(LABELS["original"], list(record.samples[f"{runs[0]}/original"][at[runs[0]]]))]
    for index in LAYER_INDEX["vgg11"][used]:
        parts = {run: f"{run}/{LAYER_INDEX[both[run]][used][index]}" for run in runs}
        if all(f"{part}/cladec" in record.samples for part in parts.values()):
            rows += [
                (f"{sign} {ARCHITECTURE_NAMES[both[run]]}, {index}", list(record.samples[f"{part}/{method}"][at[run]]))
                for method, sign in (("refae", r"$\hat X_R$"), ("cladec", r"$\hat X_E$"))
                for run, part in parts.items()
            ]  # fmt: skip
    titles = [classes[label] for label in record.samples[f"{runs[0]}/label"][at[runs[0]]]]
    return grid(rows, titles, size=0.62)


@drawn
def over_depth(sources: dict[str, pd.DataFrame], dataset: str, architecture: str) -> Figure:
    """Loss and evaluation accuracy per layer, ClaDec and RefAE, with sd as error bars.

    Parameters
    ----------
    sources
        Summaries (`tables.layers_summary`, `tables.published_layers`) by name; `published` is drawn dashed.
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
    axes[0].legend(fontsize=7)
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


def _numbers(run: str) -> dict[str, int]:
    """Index of each numbered layer of a run ("dataset/architecture")."""
    return {name: index for index, name in LAYER_INDEX[run.split("/")[1]]["code"].items()}


def recorded_layers(record: Record, run: str) -> list[str]:
    """Numbered layers of which a run ("dataset/architecture") has images, from the output to the input."""
    numbers = _numbers(run)
    return sorted((name for name in numbers if f"{run}/{name}/cladec" in record.samples), key=numbers.get, reverse=True)
