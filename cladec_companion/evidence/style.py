"""Figures: the same colours everywhere, drawn from records; nothing here computes a result.

One module per chapter; this one holds what they share.
"""

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

PNG = "data:image/png;base64,"
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


def drawn(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Mark a function that draws a figure: it is drawn in the house style, and shown only where a cell returns it."""

    @wraps(draw)
    def styled(*args: Any, **kwargs: Any) -> Figure:
        with style():
            figure = draw(*args, **kwargs)
        plt.close(figure)
        return figure

    return styled


def signed_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Colour picture of two grey images: the RefAE's blue where the first is higher, ClaDec's orange elsewhere.

    Parameters
    ----------
    first, second
        Grey values in [0, 1], (..., height, width).

    Returns
    -------
    ndarray
        RGB in [0, 1], (..., height, width, 3); white where they agree. The scale is the same for every image
        (reading C-26), so a faint picture means a small difference. The paper's red and green look the same to
        many colour-blind readers; these two do not.
    """
    difference = (first - second)[..., None]
    towards = np.where(difference > 0, to_rgb(COLOURS["refae"]), to_rgb(COLOURS["cladec"]))
    strength = np.clip(np.abs(difference) * 1.5, 0, 1)
    return 1 - strength * (1 - towards)


def apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Root mean square difference of grey images (..., height, width), as a share of the range of grey values."""
    return np.sqrt(np.square(first - second).mean((-2, -1)))


def grey(images: np.ndarray) -> np.ndarray:
    """uint8 (..., channels, height, width) -> grey values (..., height, width) in [0, 1]."""
    return images.astype(float).mean(-3) / 255


def picture(images: np.ndarray) -> np.ndarray:
    """uint8 (..., channels, height, width) -> colours (..., height, width, 3) in [0, 1]; grey values become ink."""
    if images.shape[-3] == 1:
        return np.repeat(1 - grey(images)[..., None], 3, -1)
    return np.moveaxis(images, -3, -1) / 255


def data_url(pixels: np.ndarray) -> str:
    """A picture as an address that holds it: (height, width, 3) in [0, 1]; 256 colours are kept."""
    buffer = io.BytesIO()
    shown = Image.fromarray(np.rint(255 * pixels).astype(np.uint8)).quantize(256, dither=Image.Dither.NONE)
    shown.save(buffer, "png", optimize=True)
    return PNG + base64.b64encode(buffer.getvalue()).decode()


def show(axis: plt.Axes, image: np.ndarray, cmap: str = "gray_r") -> None:
    """One image without ticks; ink is dark on light, as the paper prints it."""
    if image.ndim == 3 and image.shape[0] in (1, 3):
        image = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    axis.imshow(image, cmap=cmap, vmin=0, vmax=255 if image.dtype == np.uint8 else 1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color("#cccccc")


@drawn
def grid(rows: list[tuple[str, list[np.ndarray]]], titles: list[str], size: float = 0.78) -> Figure:
    """Images in rows with a name at the left of each and a title above each column."""
    figure, axes = plt.subplots(
        len(rows), len(titles), figsize=(size * len(titles) + 1.3, size * len(rows) + 0.35), squeeze=False
    )
    for line, (name, images) in zip(axes, rows, strict=True):
        for axis, image in zip(line, images, strict=True):
            show(axis, image)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=7.5)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    return figure
