"""Figures: the same colours everywhere, drawn from records; nothing here computes a result.

One module per chapter; this one holds what they share.
"""

import base64
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

PNG = "data:image/png;base64,"
PALETTE = 2_048
DPI = 110  # of figures in notebooks
CSS_DPI = 96  # a browser's pixels to the inch
WIDEST = 950  # of a browser's pixels: the text of a page and the margin beside it, in a window of 1300
SMALLEST = 8.0  # points, of text as a page shows it on this screen
NAME_CHARACTER = 0.078  # inches that a character of a name beside a row takes, at its 9 points
# Okabe and Ito's palette: safe for colour-blind readers, legible on white and on dark.
COLOURS = {"original": "#4d4d4d", "refae": "#0072b2", "cladec": "#d55e00", "published": "#009e73"}
LABELS = {"original": "X", "refae": r"$\hat X_R$ (RefAE)", "cladec": r"$\hat X_E$ (ClaDec)"}


@contextmanager
def style() -> Iterator[None]:
    """The house style, for a block; matplotlib's own settings come back afterwards."""
    settings: Any = {
        "figure.dpi": DPI, "savefig.dpi": 220, "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9,
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
            _legible(figure)
        plt.close(figure)
        return figure

    return styled


def _legible(figure: Figure) -> None:
    """Enlarge the text that would be smaller than `SMALLEST` on the page, where wide figures are shrunk to `WIDEST`."""
    width = figure.get_figwidth()
    shown = min(width * DPI, WIDEST) / CSS_DPI
    for text in figure.findobj(Text):
        text.set_fontsize(max(text.get_fontsize(), SMALLEST * width / shown))


def signed_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Picture of what two images differ in: the RefAE's blue where the first is brighter, ClaDec's orange elsewhere.

    Parameters
    ----------
    first, second
        Grey values or colours in [0, 1], (..., channels, height, width).

    Returns
    -------
    ndarray
        RGB in [0, 1], (..., height, width, 3); white where they agree. The scale is the same for every image
        (reading C-26), so a faint picture means a small difference. The paper's red and green look the same to
        many colour-blind readers; these two do not. The strength is the root mean square over the channels, so that
        a red that became green does not vanish as it would in their mean; such a change, without one of brightness,
        is grey.
    """
    difference = np.moveaxis(first - second, -3, -1)
    brighter = difference.mean(-1, keepdims=True)
    size = np.sqrt(np.square(difference).mean(-1, keepdims=True))
    share = np.abs(brighter) / np.where(size > 0, size, 1)  # of brightness in the difference; 1 for grey values
    sign = np.where(brighter > 0, to_rgb(COLOURS["refae"]), to_rgb(COLOURS["cladec"]))
    towards = share * sign + (1 - share) * np.array(to_rgb(COLOURS["original"]))
    return 1 - np.clip(size * 1.5, 0, 1) * (1 - towards)


def apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Root mean square difference of images (..., channels, height, width), as a share of the range of values."""
    return np.sqrt(np.square(first - second).mean((-3, -2, -1)))


def unit(images: np.ndarray) -> np.ndarray:
    """uint8 images as values in [0, 1], of the same shape."""
    return images.astype(float) / 255


def picture(images: np.ndarray) -> np.ndarray:
    """Images (..., channels, height, width), uint8 or in [0, 1], as colours (..., height, width, 3) in [0, 1].

    Grey values become ink: dark on light, as the paper prints them.
    """
    values = np.moveaxis(unit(images) if images.dtype == np.uint8 else images, -3, -1)
    return np.repeat(1 - values, 3, -1) if values.shape[-1] == 1 else values


def data_url(pixels: np.ndarray) -> str:
    """A picture as an address that holds it: (height, width, 3) in [0, 1].

    A palette of 256 colours is enough for grey values and their differences, and a third of the size; pictures of
    more colours than `PALETTE`, such as photographs, keep them all.
    """
    buffer = io.BytesIO()
    shown = Image.fromarray(np.rint(255 * pixels).astype(np.uint8))
    if shown.getcolors(PALETTE):
        shown = shown.quantize(256, dither=Image.Dither.NONE)
    shown.save(buffer, "png", optimize=True)
    return PNG + base64.b64encode(buffer.getvalue()).decode()


def show(axis: plt.Axes, image: np.ndarray, cmap: str = "gray_r") -> None:
    """One image without ticks; ink is dark on light, as the paper prints it.

    Parameters
    ----------
    image
        uint8 or in [0, 1]: (1 or 3, height, width), (height, width), or RGB (height, width, 3).
    """
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] != 3:
        image = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    axis.imshow(image, cmap=cmap, vmin=0, vmax=255 if image.dtype == np.uint8 else 1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color("#cccccc")


def heat_map(axis: plt.Axes, values: np.ndarray) -> None:
    """Draw a heat map (uint8); one with the same value everywhere is called flat: black would look like a finding."""
    flat = values.max() == values.min()
    show(axis, np.full_like(values, 232) if flat else values, "gray" if flat else "magma")
    if flat:
        axis.text(0.5, 0.5, "flat", transform=axis.transAxes, ha="center", va="center", fontsize=7)


def close_up(figure: Figure, pad: float) -> None:
    """Leave no more than `pad` inches between the panels of a figure."""
    figure.set_layout_engine("constrained", w_pad=pad, h_pad=pad, wspace=0, hspace=0)


@drawn
def grid(rows: list[tuple[str, list[np.ndarray]]], titles: list[str], size: float = 0.78) -> Figure:
    """Images in rows with a name at the left of each and a title above each column."""
    drawn_names = (re.sub(r"\\[a-z]+|[${}_^]", "", name) for name, _ in rows)  # without the signs of formulas
    longest = max(len(part) for name in drawn_names for part in name.split("\n"))
    names = max(1.3, NAME_CHARACTER * longest)  # a narrower figure would shrink the images and part the rows
    figure, axes = plt.subplots(
        len(rows), len(titles), figsize=(size * len(titles) + names, size * len(rows) + 0.35), squeeze=False
    )
    for line, (name, images) in zip(axes, rows, strict=True):
        for axis, image in zip(line, images, strict=True):
            show(axis, image)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=7.5)
    close_up(figure, 0.01)
    return figure
