"""The house style: nothing in a figure is too small to be read where a page shows the figure."""

import matplotlib.pyplot as plt
import pytest
from matplotlib.text import Text

from cladec_companion.evidence.style import CSS_DPI, DPI, SMALLEST, WIDEST, drawn


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
