"""Figures of the chapter `user_study`: shares with intervals, who sees what, and the form itself."""

import html
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cladec_companion.evidence.style import COLOURS, LABELS, grid, style
from cladec_companion.papers.cladec.user_study import kit
from cladec_companion.papers.cladec.user_study.claims import PRIMED, spoken
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages

CODERS = [COLOURS["cladec"], COLOURS["refae"]]


def shares(published: pd.DataFrame, found: dict[str, pd.DataFrame], wide: pd.DataFrame | None = None) -> Figure:
    """Shares of answers per concept with their intervals, the most frequent printed one first; a star: `PRIMED`.

    Parameters
    ----------
    published
        From `claims.user_study.published_shares`.
    found
        Shares of other studies or coders by name, in the same form.
    wide
        Wider intervals of the printed shares, drawn thin behind the others.
    """
    known = published[published["kind"] == "concept"].sort_values("share", ascending=False, kind="stable")
    own = [code for part in found.values() for code in part.index[part["kind"] == "own"]]
    codes = [*known.index, *dict.fromkeys(own)]
    series = {"published": (published, COLOURS["published"], "s")}
    series |= {name: (part, colour, "o") for (name, part), colour in zip(found.items(), CODERS, strict=False)}
    names = [spoken(code) + (" *" if code in PRIMED else "") for code in codes]
    with style():
        figure, axis = plt.subplots(figsize=(7.2, 0.55 + len(codes) * (0.14 + 0.13 * len(series))))
        for offset, (name, (part, colour, marker)) in zip(np.arange(len(series)) / 4, series.items(), strict=True):
            shown = [code for code in codes if code in part.index]
            heights = np.array([codes.index(code) for code in shown]) + offset
            rows = part.loc[shown]
            if name == "published" and wide is not None:
                axis.hlines(heights, wide.loc[shown, "low"], wide.loc[shown, "high"], color=colour, linewidth=0.8)
            axis.hlines(heights, rows["low"], rows["high"], color=colour, linewidth=2.5, alpha=0.7)
            label = f"{name} (n = {rows['n'].max()})"
            axis.plot(rows["share"], heights, marker, color=colour, markersize=4.5, label=label)
        axis.set_yticks(np.arange(len(codes)) + (len(series) - 1) / 8, names)
        axis.set(xlabel="share of answers that name the concept", xlim=(0, None))
        axis.invert_yaxis()
        axis.legend(loc="lower right")
    plt.close(figure)
    return figure


def assignment(dealt: list[list[int]], images: int) -> Figure:
    """Who sees which pair: participants (rows) and pairs (columns), and below how often each pair is seen."""
    table = np.zeros((len(dealt), images), dtype=int)
    for row, pairs in zip(table, dealt, strict=True):
        row[pairs] = 1
    with style():
        figure, (above, below) = plt.subplots(2, 1, figsize=(7.2, 4), sharex=True, height_ratios=[3, 1])
        numbers = (-0.5, images - 0.5, len(dealt) + 0.5, 0.5)  # participants count from 1
        above.imshow(table, cmap="gray_r", aspect="auto", interpolation="nearest", extent=numbers)
        above.set_ylabel("participant")
        below.bar(np.arange(images), table.sum(0), width=0.8, color=COLOURS["original"])
        below.set(xlabel="pair", ylabel="times seen", yticks=range(table.sum(0).max() + 1))
        for axis in (above, below):
            axis.grid(visible=False)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    plt.close(figure)
    return figure


def pairs(record: Record, classes: tuple[str, ...], count: int = 8) -> Figure:
    """Right and wrong test images of a record of `layers`, as participants see them; the last row they do not see."""
    shown, labels = _shown(record, count)
    return grid([(LABELS[kind], list(images)) for kind, images in shown.items()], [classes[label] for label in labels])


def preview(record: Record, count: int = 3) -> HTML:
    """The form in a frame, with a few pairs of a record of `layers` and one participant number."""
    shown, labels = _shown(record, count)
    pictures = [{kind: kit.png(images[at]) for kind, images in shown.items()} for at in range(len(labels))]
    manifest: dict[str, Any] = {"study": "preview", "assignment": [list(range(len(pictures)))], "reference": False}
    page = html.escape(kit.form(manifest, pictures), quote=True)
    return HTML(
        f'<div><iframe title="The form of the study, with {len(pictures)} pairs" srcdoc="{page}" '
        f'sandbox="allow-scripts allow-forms allow-downloads" '
        f'style="width:100%;height:34rem;border:1px solid #767676"></iframe></div>'
    )


def _shown(record: Record, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Images of a run of VGG-11 by kind, half of them misclassified where there are so many, and their labels."""
    images = RunImages.of(record, architecture=kit.ARCHITECTURE)
    right = images.labels == images.predicted
    wrong = np.flatnonzero(~right)[: count // 2]
    chosen = np.concatenate([np.flatnonzero(right)[: count - len(wrong)], wrong])
    shown = {"original": images.original[chosen]}
    shown |= {kind: images.aligned(kit.LAYER, kind)[chosen] for kind in ("cladec", "refae")}
    return shown, images.labels[chosen]
