"""Figures of the chapter `theory`: drawn from numbers that `theory` computed; nothing here computes a result."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from cladec_companion.evidence.explorer import Control, explorer
from cladec_companion.evidence.style import COLOURS, drawn

SERIES = ["#cc79a7", "#56b4e9", "#009e73", "#e69f00"]  # for what is neither RefAE nor ClaDec
CLASSES = ["#cc79a7", "#009e73"]


@drawn
def plane(points: np.ndarray, frames: pd.DataFrame) -> Figure:
    """Fig. 4: inputs in the plane and their reconstructions from the encoders u_1 and u_2.

    Parameters
    ----------
    points
        Inputs (n, 2).
    frames
        From `theory.angle_frames`: the first row is u_1, the last u_2.
    """
    panels = (("refae", "RefAE: the encoder is $u_1$", 0), ("cladec", "ClaDec: the encoder is $u_2$", -1))
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.4), sharex=True, sharey=True)
    for axis, (method, title, row) in zip(axes, panels, strict=True):
        frame = frames.iloc[row]
        encoder, decoder = frame[["e1", "e2"]].to_numpy(), frame[["r1", "r2"]].to_numpy()
        made = np.outer(points @ encoder, decoder)
        axis.plot(*np.stack([points, made]).transpose(2, 0, 1), color="#bbbbbb", linewidth=0.7, zorder=1)
        axis.scatter(*points.T, s=14, color=COLOURS["original"], label="input x", zorder=2)
        axis.scatter(*made.T, s=14, color=COLOURS[method], label=r"reconstruction $\hat x$", zorder=3)
        axis.annotate("", 2.6 * encoder, (0, 0), arrowprops={"arrowstyle": "-|>", "color": "black"}, zorder=4)
        axis.set(aspect="equal", xlabel="$x_1$", title=title, xlim=(-5.2, 5.2), ylim=(-3.4, 4.4))
        kept = f"kept of $x_1$: {frame['kept1']:.0%}\nkept of $x_2$: {frame['kept2']:.0%}"
        axis.text(0.98, 0.03, kept, transform=axis.transAxes, ha="right", va="bottom", fontsize=8)
        axis.legend(loc="upper left", fontsize=8, borderpad=0)
    axes[0].set_ylabel("$x_2$")
    return figure


@drawn
def over_angle(curves: dict[str, pd.DataFrame]) -> Figure:
    """D7: loss, and distance between both reconstructions, over the angle; one curve per direction of turning."""
    titles = {"loss": "loss $L^*$", "distance": r"distance of $\hat x_R$ and $\hat x_E$"}
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.7))
    for axis, (column, title) in zip(axes, titles.items(), strict=True):
        for colour, (name, curve) in zip(SERIES, curves.items(), strict=False):
            axis.plot(curve.index, curve[column], color=colour, label=f"towards {name}")
        axis.set(xlabel="angle between $e$ and $u_1$ in degrees", ylabel=title, xticks=range(0, 91, 15))
    axes[0].legend(fontsize=8, loc="upper left")
    return figure


@drawn
def maps(images: dict[str, np.ndarray], signed: set[str]) -> Figure:
    """D8, D9: values per pixel (side, side) as pictures; the `signed` ones with zero in the middle of the colours."""
    figure, axes = plt.subplots(1, len(images), figsize=(2.4 * len(images), 2.3))
    for axis, (name, image) in zip(axes, images.items(), strict=True):
        limit = np.quantile(np.abs(image), 0.97)  # a few extreme pixels would hide all others
        kind = {"cmap": "PuOr", "vmin": -limit} if name in signed else {"cmap": "Greys", "vmin": 0}
        shown = axis.imshow(image, vmax=limit, **kind)
        axis.set(title=name, xticks=[], yticks=[])
        figure.colorbar(shown, ax=axis, shrink=0.8, extend="both" if name in signed else "max")
    return figure


@drawn
def two_classes(inputs: np.ndarray, labels: np.ndarray, codes: dict[str, np.ndarray]) -> Figure:
    """D10: the two classes in the plane, and the distribution of RefAE's and ClaDec's code in each."""
    figure, axes = plt.subplots(1, 1 + len(codes), figsize=(7.4, 2.6))
    for label, colour in enumerate(CLASSES):
        chosen = inputs[labels == label][:400]
        axes[0].scatter(*chosen.T, s=4, alpha=0.6, color=colour, label=f"class {label}")
        for axis, (name, code) in zip(axes[1:], codes.items(), strict=True):
            axis.hist(code[labels == label], bins=60, density=True, alpha=0.6, color=colour, histtype="stepfilled")
            axis.set(title=name, xlabel="code y", yticks=[])
    axes[0].set(xlabel="$x_1$", ylabel="$x_2$", title="inputs", ylim=(-6, 8))
    axes[0].legend(fontsize=7, loc="upper left", ncols=2, markerscale=2)
    return figure


@drawn
def over_size(sizes: list[int], smallest: list[float], drawn: np.ndarray, trained: dict[str, tuple]) -> Figure:
    """D12: loss over the size of the code, for PCA and random encoders, with trained classifiers as points.

    Parameters
    ----------
    sizes
        Code sizes.
    smallest
        RefAE's loss for each size.
    drawn
        Losses of random encoders, (sizes, draws).
    trained
        Rank and loss of each trained classifier, by name.
    """
    figure, axis = plt.subplots(figsize=(5.6, 3))
    axis.plot(sizes, smallest, color=COLOURS["refae"], marker=".", label="PCA (RefAE)")
    axis.plot(sizes, drawn.mean(1), color=SERIES[1], label="random encoders: mean and range")
    axis.fill_between(sizes, drawn.min(1), drawn.max(1), color=SERIES[1], alpha=0.3, linewidth=0)
    for marker, (name, (rank, reached)) in zip("s^", trained.items(), strict=False):
        axis.plot(rank, reached, marker, color=COLOURS["cladec"], label=f"{name} classifier (ClaDec)")
    axis.set(xlabel="rank of the code", ylabel="loss $L^*$")
    axis.legend(fontsize=8)
    return figure


@drawn
def distortions(groups: dict[str, dict[str, tuple[np.ndarray, float]]]) -> Figure:
    """D13: histograms of distance ratios; a panel per group, a curve per code.

    Parameters
    ----------
    groups
        Title of a panel -> name of a code -> (ratios, rank correlation), from `theory.distance_ratios`.
    """
    bins = np.linspace(0, 3, 61)
    figure, axes = plt.subplots(1, len(groups), figsize=(7.4, 2.8), sharex=True)
    for axis, (title, codes) in zip(axes, groups.items(), strict=True):
        for colour, (name, (ratios, correlation)) in zip(SERIES, codes.items(), strict=False):
            label = f"{name} (ρ = {correlation:.2f})"
            axis.hist(ratios, bins=bins, histtype="step", density=True, color=colour, label=label, linewidth=1.4)
        axis.axvline(1, color="#888888", linewidth=0.8, linestyle=":")
        axis.set(title=title, xlabel="squared distance of codes / of inputs, mean 1", yticks=[])
        axis.legend(fontsize=7, loc="upper right")
    return figure


@drawn
def while_learning(times: np.ndarray, panels: dict[str, dict[str, np.ndarray]], accuracies: dict[str, list]) -> Figure:
    """D14: loss of ClaDec while the classifier learns; a panel per initial scale, a curve per level of noise.

    Parameters
    ----------
    times
        From 0; the axis is linear up to the first positive time and logarithmic after it.
    panels, accuracies
        By title of the panel: curves by name, and training accuracies (times,).
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(7.4, 3), sharey=True)
    for axis, (title, curves) in zip(axes, panels.items(), strict=True):
        for colour, (name, losses) in zip(SERIES, curves.items(), strict=False):
            axis.plot(times, losses, color=colour, label=name)
            axis.plot(times[0], losses[0], "o", color=colour, markersize=4)
        axis.set_xscale("symlog", linthresh=times[1])
        axis.set(title=title, xlabel="training time (left: untrained)", xticks=[0, 1, 10, 100])
        axis.xaxis.set_major_formatter(ScalarFormatter())
        twin = axis.twinx()
        twin.plot(times, accuracies[title], color="#888888", linestyle="--", linewidth=1)
        twin.set(ylim=(0, 1.02), yticks=[0, 0.5, 1])
        twin.grid(False)
    twin.set_ylabel("accuracy (dashed)")
    axes[0].set_ylabel("loss $L^*$ of ClaDec")
    handles, names = axes[0].get_legend_handles_labels()
    names = [f"noise: {name}" for name in names]
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=8)
    return figure


@drawn
def convergence(trained: dict[str, tuple[pd.DataFrame, float]]) -> Figure:
    """D16, D2: what training reaches over the epochs, against the closed forms.

    Parameters
    ----------
    trained
        By "refae" and "cladec": what `theory.train_linear` returned, and the smallest possible loss.
    """
    names = {"refae": "RefAE: encoder and decoder", "cladec": "ClaDec: decoder only"}
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.7))
    for method, (path, least) in trained.items():
        options = {"color": COLOURS[method], "marker": "o", "markersize": 3, "label": names[method]}
        axes[0].plot(path.index, path["angle"], **options)
        axes[1].plot(path.index, path["loss"] - least, **options)
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.set_xlabel("epochs")
        axis.xaxis.set_major_formatter("{x:g}")
    axes[0].set(ylabel="largest principal angle in degrees", ylim=(0, 91), yticks=range(0, 91, 15))
    axes[1].set(ylabel="loss above the smallest possible", yscale="log")
    axes[1].legend(fontsize=8)
    return figure


def interactive(points: np.ndarray, frames: pd.DataFrame) -> HTML:
    """Turn the encoder of the paper's Fig. 4; nothing is computed in the page.

    The figure begins at the first angle at which half of the largest rise of the loss is reached; the reconstructions
    of the first angle, the best encoder, stay as the reference.

    Parameters
    ----------
    points
        Inputs (n, 2).
    frames
        From `closed_forms.angle_frames`.
    """
    rows = frames.round(4)
    notes = [
        f"Loss {row.loss:.2f}; kept of x₁: {row.kept1:.0%}, kept of x₂: {row.kept2:.0%}" for row in frames.itertuples()
    ]
    rise = (frames["loss"] - frames["loss"].iloc[0]).to_numpy()
    start = int(np.argmax(rise >= rise.max() / 2))
    controls = [Control("Angle from u₁", [f"{angle:g}°" for angle in frames.index], start=start)]
    shown = [{"e": list(pair[:2]), "r": list(pair[2:])} for pair in rows[["e1", "e2", "r1", "r2"]].to_numpy().tolist()]
    about = "Inputs in the plane and their reconstructions from one number, for an angle of the encoder that you choose"
    parts = {"points": points.round(3).tolist(), "frames": shown, "colours": COLOURS}
    return explorer(controls, notes, about, kind="plane", **parts)
