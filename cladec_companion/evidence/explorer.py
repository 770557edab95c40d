"""Figures that a reader operates: real images of a record behind sliders, in a page that needs no server.

A figure is one piece of HTML with everything in it: a sprite of its images, what the controls choose, and the script
`book/static/interactive.js`. Where no script runs, and in print, a static picture stands in its place.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from cladec_companion.evidence.style import COLOURS, PNG, data_url, grid
from cladec_companion.records.files import ROOT
from cladec_companion.records.samples import SCORE, RunImages
from cladec_core.data import DATASETS

SCRIPT = ROOT / "book" / "static" / "interactive.js"
COLUMNS = 16  # tiles in a row of the picture that holds all of them
STYLE = """
.explorer {text-align: left}
.explorer-stage {display: grid; gap: .5rem; justify-content: center}
.explorer-stage > div {text-align: center; font-size: .85rem; line-height: 1.3}
.explorer-stage:not(.plane) {grid-template-columns: repeat(var(--panes), minmax(0, 10.5rem))}
.explorer-stage canvas {width: 100%; image-rendering: pixelated; border: 3px solid; background: #fff}
.explorer-stage canvas.draggable {cursor: move; touch-action: none}
.explorer-stage svg {width: 40rem; max-width: 100%; max-height: 24rem}
.explorer-controls label {display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: center; margin: .5rem 0}
.explorer-controls label[hidden] {display: none}
.explorer-controls span, .explorer-controls output {flex: 0 0 8rem}
.explorer-controls input, .explorer-controls select {flex: 1 1 14rem; min-width: 0; min-height: 2rem; font: inherit}
.explorer-frame {display: block; position: relative; line-height: 0}
.explorer-frame i {position: absolute; border: 2px dashed #009e73; pointer-events: none}
.veiled canvas {visibility: hidden}
.veiled .explorer-frame::after {content: "?"; position: absolute; inset: 0; display: grid; place-items: center;
  border: 2px dashed; font-size: 2.5rem; line-height: 1}
.explorer-votes {display: flex; flex-wrap: wrap; gap: .5rem; margin: .5rem 0}
.explorer-votes button {flex: 1 1 9rem; min-height: 2.75rem; padding: .3rem .6rem; border: 2px solid #8a8f98;
  border-radius: .3rem; background: transparent; color: inherit; font: inherit; cursor: pointer}
.explorer-votes button:disabled {cursor: default; opacity: 1}
.explorer-votes button.own {border-style: dashed; border-color: #d55e00}
.explorer-votes button.right {border-style: solid; border-color: #009e73; box-shadow: 0 0 0 2px #009e73}
.explorer-stage circle.reference {opacity: .35}
.explorer p {min-height: 3em; margin: .3rem 0; font-size: .9rem}
.explorer.ready > img {display: none}
@media (max-width: 40rem) {
  .explorer-stage:not(.plane) {grid-template-columns: repeat(2, minmax(0, 10.5rem))}
  .explorer-controls input {order: 3}
}
@media print {
  .explorer.ready > img {display: block}
  .explorer > div, .explorer > p {display: none !important}
}
"""


@dataclass(frozen=True)
class Control:
    """What a reader chooses: along a slider, or from a list; `start` is the place of the first value shown."""

    label: str
    values: Sequence[str]
    slider: bool = True
    start: int = 0


def explorer(
    controls: list[Control], notes: list[str], about: str, *, kind: str, fallback: Figure | None = None, **data: Any
) -> HTML:
    """A figure with controls.

    Parameters
    ----------
    controls
        The last one is the one to play with.
    notes
        A sentence for each combination of values, the last control's values changing fastest.
    about
        What there is to be seen, for readers who cannot see it.
    kind
        The function of the script that draws a state: "pictures", "vote" or "plane".
    fallback
        What stands here in print, and without a script.
    **data
        What that function needs.
    """
    data = {"kind": kind, "controls": [asdict(control) for control in controls], "notes": notes} | data
    embedded = json.dumps(data).replace("<", "\\u003c")  # no text in it can end the script
    static = f'<img alt="{about}" src="{_static(fallback)}">' if fallback else ""
    return HTML(
        f'<div class="explorer" role="group" aria-label="{about}">{static}'
        f'<script type="application/json">{embedded}</script></div>'
        f"<style>{STYLE}</style><script>{SCRIPT.read_text(encoding='utf-8')}</script>"
    )


def explore(controls: list[Control], panes: dict[str, np.ndarray], notes: list[str], about: str, **data: Any) -> HTML:
    """A figure with controls above images.

    Parameters
    ----------
    panes
        Name -> images for each combination of values, (sizes..., side, side, 3) in [0, 1]. A size may be 1 where a
        control changes nothing.
    """
    parts, rows = _pictures(controls, panes)
    titles = [value.replace(" (", "\n(").replace(", ", "\n") for value in controls[-1].values]
    fallback = grid(rows, titles, size=0.8 if len(titles) < 12 else 0.55)
    return explorer(controls, notes, about, kind="pictures", fallback=fallback, **parts, **data)


def vote(
    cases: list[str], panes: dict[str, np.ndarray], hidden: Sequence[str], notes: list[str], options: Sequence[str],
    answers: Sequence[int], reasons: list[str], boxes: Sequence[Sequence[int] | None], about: str,
) -> HTML:  # fmt: skip
    """Cases on which a reader votes before everything is shown.

    Parameters
    ----------
    cases
        Names of the cases.
    panes
        Name -> images, (cases, side, side, 3) in [0, 1].
    hidden
        Names of the panes that a vote uncovers.
    notes
        The question of each case.
    options
        What there is to vote for.
    answers
        Place of the right option of each case.
    reasons
        The numbers behind each answer.
    boxes
        What each question is about: top, bottom, left and right in pixels; None for the whole image.
    """
    controls = [Control("Case", [f"{place}. {name}" for place, name in enumerate(cases, 1)], slider=False)]
    parts, rows = _pictures(controls, panes)
    seen = [(name, images) for name, images in rows if name not in hidden]
    fallback = grid(seen, [f"{place}" for place in range(1, len(cases) + 1)])
    voted = {"hidden": list(hidden), "options": list(options), "answers": list(answers), "reasons": reasons}
    return explorer(controls, notes, about, kind="vote", fallback=fallback, boxes=list(boxes), **parts, **voted)


def _pictures(
    controls: list[Control], panes: dict[str, np.ndarray]
) -> tuple[dict[str, Any], list[tuple[str, list[np.ndarray]]]]:
    """What the script needs to draw some panes, and the rows of the static picture that stands for them."""
    sizes = tuple(len(control.values) for control in controls)
    tiles: dict[bytes, int] = {}
    shown, rows = [], []
    for name, images in panes.items():
        pixels = np.rint(255 * images).astype(np.uint8)
        whole = np.broadcast_to(pixels, (*sizes, *pixels.shape[-3:]))
        states = [whole[state] for state in product(*map(range, sizes))]
        numbers = [tiles.setdefault(image.tobytes(), len(tiles)) for image in states]
        shown.append({"name": name, "colour": _colour(name), "tiles": numbers})
        rows.append((name, list(whole[tuple(control.start for control in controls[:-1])])))
    side = whole.shape[-2]
    sprite = _sprite([np.frombuffer(tile, np.uint8).reshape(side, side, 3) / 255 for tile in tiles])
    return {"panes": shown, "sprite": sprite, "columns": COLUMNS, "side": side}, rows


def images_control(images: RunImages, start: int, chosen: Sequence[int] | np.ndarray | None = None) -> Control:
    """The list of test images to choose from (all by default), each with its class and, if it is another, the
    predicted one.
    """
    names = images.titles(classes_of(images), range(len(images.labels)) if chosen is None else chosen)
    told = [f"{place}. {name}".replace("\n→ ", ", taken for ") for place, name in enumerate(names, 1)]
    return Control("Image", told, False, start)


def largest(differences: np.ndarray) -> tuple[int, ...]:
    """Where a figure begins: at the combination of values with the largest difference; the first of equal ones."""
    return tuple(map(int, np.unravel_index(np.argmax(differences), differences.shape)))


def said_of(images: RunImages, drawn: Mapping[str, tuple[str, ...]] | None = None) -> list[str]:
    """For each test image, what the classifier says of it, and of what was drawn of it.

    Parameters
    ----------
    drawn
        What reconstructions are called -> their name in the record.

    Returns
    -------
    list of str
        Scores of the classes; where the record has none, the predicted class.
    """
    classes = classes_of(images)
    scores = {title: _scores(images, *name) for title, name in ({"X": ("original",)} | dict(drawn or {})).items()}
    if scores["X"]:
        kept = {title: found for title, found in scores.items() if found}
        return [
            "The classifier's scores: " + "; ".join(map(": ".join, zip(kept, found, strict=True))) + "."
            for found in zip(*kept.values(), strict=True)
        ]
    return [
        f"The classifier says {classes[predicted]}" + ("." if predicted == label else f"; it is {classes[label]}.")
        for label, predicted in zip(images.labels, images.predicted, strict=True)
    ]


def _scores(images: RunImages, *name: str) -> list[str]:
    """For each image of a name, up to three classes with a score of 1 % or more; empty where the record has none."""
    if (SCORE, *name) not in images:
        return []
    classes = classes_of(images)
    return [
        ", ".join(
            f"{classes[at]} {score[at]}%" for at in np.argsort(-score.astype(int), kind="stable")[:3] if score[at]
        )
        for score in images[(SCORE, *name)]
    ]


def classes_of(images: RunImages) -> Sequence[str]:
    """Names of the classes of a run's data set."""
    return DATASETS[images.dataset].classes


def measured(rows: pd.DataFrame, run: tuple[str, str], axis: str) -> pd.DataFrame:
    """What was measured of ClaDec in a run, averaged over seeds: a row per value of an axis, a column per metric."""
    chosen = (rows["dataset"] == run[0]) & (rows["architecture"] == run[1]) & (rows["method"] == "cladec")
    typed = rows[chosen].assign(value=rows["value"].astype(float), axis=rows[axis].astype(float))
    return typed.pivot_table(index="axis", columns="metric", values="value")


def _colour(name: str) -> str:
    colours = {"X": COLOURS["original"], "RefAE": COLOURS["refae"], "ClaDec": COLOURS["cladec"]}
    return colours.get(name.removeprefix("covered ").split(" of ")[0], "#8a8f98")


def _sprite(tiles: list[np.ndarray]) -> str:
    """All tiles in one picture, as a data URL, `COLUMNS` of them in a row."""
    filled = tiles + [np.ones_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.concatenate(filled[at : at + COLUMNS], 1) for at in range(0, len(filled), COLUMNS)]
    return data_url(np.concatenate(rows))


def _static(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return PNG + base64.b64encode(buffer.getvalue()).decode()
