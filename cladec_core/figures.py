"""Figures: the same colours everywhere, drawn from records; nothing here computes a result."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from cladec_core.records import Record
from cladec_core.tables import ARCHITECTURE_NAMES, DATASET_NAMES

# Okabe and Ito's palette: safe for colour-blind readers, legible on white and on dark.
COLOURS = {"original": "#4d4d4d", "refae": "#0072b2", "cladec": "#d55e00", "published": "#009e73"}
LABELS = {"original": "X", "refae": r"$\hat X_R$ (RefAE)", "cladec": r"$\hat X_E$ (ClaDec)"}


@contextmanager
def style() -> Iterator[None]:
    """The house style, for a block; matplotlib's own settings come back afterwards."""
    settings = {
        "figure.dpi": 110, "savefig.dpi": 220, "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9,
        "legend.frameon": False, "figure.constrained_layout.use": True, "axes.spines.top": False,
        "axes.spines.right": False,
    }  # fmt: skip
    with sns.axes_style("whitegrid", {"grid.color": "#e5e5e5"}), plt.rc_context(settings):
        yield


def signed_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Colour picture of two grey images: red where the first is brighter, green where the second is.

    Parameters
    ----------
    first, second
        Grey values in [0, 1], (..., height, width).

    Returns
    -------
    ndarray
        RGB in [0, 1], (..., height, width, 3); white where they agree. The scale is the same for every image
        (reading C-26), so a faint picture means a small difference.
    """
    difference = (first - second)[..., None]
    towards = np.where(difference > 0, np.array([0.80, 0.05, 0.10]), np.array([0.0, 0.50, 0.20]))
    strength = np.clip(np.abs(difference) * 1.5, 0, 1)
    return 1 - strength * (1 - towards)


def _grey(images: np.ndarray) -> np.ndarray:
    """uint8 (n, channels, height, width) -> grey values (n, height, width) in [0, 1]."""
    return images.astype(float).mean(1) / 255


def _show(axis: plt.Axes, image: np.ndarray, cmap: str = "gray_r") -> None:
    """One image without ticks; ink is dark on light, as the paper prints it."""
    if image.ndim == 3 and image.shape[0] in (1, 3):
        image = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    axis.imshow(image, cmap=cmap, vmin=0, vmax=255 if image.dtype == np.uint8 else 1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color("#cccccc")


def _grid(rows: list[tuple[str, list[np.ndarray]]], titles: list[str], size: float = 0.78) -> Figure:
    """Images in rows with a name at the left of each and a title above each column."""
    with style():
        figure, axes = plt.subplots(
            len(rows), len(titles), figsize=(size * len(titles) + 1.3, size * len(rows) + 0.35), squeeze=False
        )
        for line, (name, images) in zip(axes, rows, strict=True):
            for axis, image in zip(line, images, strict=True):
                _show(axis, image)
            line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
        for axis, title in zip(axes[0], titles, strict=True):
            axis.set_title(title, fontsize=7.5)
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    plt.close(figure)
    return figure


def _run(record: Record, dataset: str | None, architecture: str | None) -> str:
    """Prefix of the samples of one data set and architecture, the first that the record has by default."""
    runs = sorted({"/".join(name.split("/")[:2]) for name in record.samples})
    wanted = [run for run in runs if (dataset or "") in run.split("/")[0] and (architecture or "") in run]
    return wanted[0]


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
    run = _run(record, dataset, architecture)
    labels, predicted = record.samples[f"{run}/label"], record.samples[f"{run}/predicted"]
    right = np.flatnonzero((labels == predicted) & ((labels == only) if only is not None else True))
    chosen = right[:count]
    images = {
        "original": record.samples[f"{run}/original"][chosen],
        "refae": record.samples[f"{run}/{layer}/refae"][chosen],
        "cladec": record.samples[f"{run}/{layer}/cladec"][chosen],
    }
    rows = [(LABELS[name], list(part)) for name, part in images.items()]
    rows.append((r"$\hat X_R - \hat X_E$", list(signed_difference(_grey(images["refae"]), _grey(images["cladec"])))))
    return _grid(rows, _titles(record, run, chosen, classes))


def layers_by_samples(
    record: Record, layers: list[str], classes: tuple[str, ...], *, wrong: bool, count: int = 5,
    dataset: str | None = None, architecture: str | None = None, saliency: bool = True,
) -> Figure:  # fmt: skip
    """Layers × samples: per image RefAE, ClaDec and GradCAM for each layer (Figs. 6, 8, 9).

    Parameters
    ----------
    layers
        Recorded layers, from the output to the input.
    wrong
        Misclassified test images instead of correctly classified ones.
    """
    run = _run(record, dataset, architecture)
    labels, predicted = record.samples[f"{run}/label"], record.samples[f"{run}/predicted"]
    chosen = np.flatnonzero((labels != predicted) == wrong)[:count]
    methods = ["refae", "cladec", *(["gradcam"] if saliency else [])]
    with style():
        figure, axes = plt.subplots(
            1 + len(layers), len(chosen) * len(methods), squeeze=False,
            figsize=(0.62 * len(methods) * len(chosen) + 1.1, 0.66 * (1 + len(layers)) + 0.45),
        )  # fmt: skip
        for axis in axes[0]:
            axis.axis("off")
        for column, (at, title) in enumerate(zip(chosen, _titles(record, run, chosen, classes), strict=True)):
            first = column * len(methods)
            axes[0, first].axis("on")
            _show(axes[0, first], record.samples[f"{run}/original"][at])
            axes[0, first + 1].text(0.08, 0.5, title, transform=axes[0, first + 1].transAxes, va="center", fontsize=7)
            for row, layer in enumerate(layers, start=1):
                for offset, method in enumerate(methods):
                    image = record.samples[f"{run}/{layer}/{method}"][at]
                    _show(axes[row, first + offset], image, "magma" if method == "gradcam" else "gray_r")
                    if row == 1:
                        name = {"refae": "RefAE", "cladec": "ClaDec", "gradcam": "GradCAM"}[method]
                        axes[row, first + offset].set_title(name, fontsize=6.5, pad=2)
        for row, name in enumerate(["X", *layers]):
            axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7.5)
        figure.get_layout_engine().set(w_pad=0.008, h_pad=0.008, wspace=0, hspace=0)
    plt.close(figure)
    return figure


def over_depth(sources: dict[str, pd.DataFrame], dataset: str, architecture: str) -> Figure:
    """Loss and evaluation accuracy per layer, ClaDec and RefAE, with sd as error bars.

    Parameters
    ----------
    sources
        Summaries (`tables.layers_summary`, `tables.published_layers`) by name; `published` is drawn dashed.
    """
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.7))
        for name, summary in sources.items():
            for method in ("refae", "cladec"):
                for axis, metric in zip(axes, (f"rec_{method}", f"acc_{method}"), strict=True):
                    _depth_line(axis, summary, (dataset, architecture), metric, method, name)
        axes[0].set(yscale="log", ylabel="reconstruction loss\n(standardised mean)")
        axes[1].set(ylabel="accuracy of the evaluation classifier")
        for axis in axes:
            axis.set(xlabel="layer, counted from the output")
            axis.set_xticks(sorted({index[2] for part in sources.values() for index in part.index}))
        axes[0].legend(fontsize=7)
        figure.suptitle(f"{DATASET_NAMES[dataset]}, {ARCHITECTURE_NAMES[architecture]}", fontsize=9)
    plt.close(figure)
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
