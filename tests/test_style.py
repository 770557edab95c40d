"""The house style: nothing in a figure is too small to be read where a page shows the figure."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from cladec_companion.evidence.style import CSS_DPI, DPI, SMALLEST, WIDEST, drawn, grid


@drawn
def labelled(width):
    """A figure of some width with small words and larger ones."""
    figure, axis = plt.subplots(figsize=(width, 2))
    axis.set_title("small", fontsize=5)
    axis.set_ylabel("large", fontsize=14)
    return figure


@pytest.mark.parametrize("width", [3.0, 8.0, 14.0])
def test_words_are_legible_on_a_page(width):
    figure = labelled(width)
    shown = min(width * DPI, WIDEST) / CSS_DPI / width
    sizes = {text.get_text(): text.get_fontsize() * shown for text in figure.findobj(Text)}
    assert sizes["small"] == pytest.approx(SMALLEST)
    assert sizes["large"] == pytest.approx(14 * shown)


@pytest.mark.parametrize("name", ["X", "a name of a row that is far longer than others", r"$\hat X_E$ (ClaDec)"])
def test_rows_of_images_stand_close_beside_any_name(name):
    figure = grid([(name, [np.zeros((1, 8, 8))] * 3), ("X", [np.ones((1, 8, 8))] * 3)], ["one", "two", "three"])
    figure.draw_without_rendering()
    upper, lower = (figure.axes[at].get_window_extent() for at in (0, 3))
    assert upper.y0 - lower.y1 < 0.1 * upper.height
