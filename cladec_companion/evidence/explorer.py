"""Figures that a reader operates: real images of a record behind sliders, in a page that needs no server.

A figure is one piece of HTML with everything in it: a sprite of its images, what the controls choose, and the script
`book/static/interactive.js`. Where no script runs, and in print, a static picture stands in its place.
"""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from cladec_companion.evidence.lines import run_prefix
from cladec_companion.evidence.style import COLOURS, PNG, apart, data_url, grey, grid, picture, signed_difference
from cladec_companion.papers.cladec.layers.figures import recorded_layers
from cladec_companion.papers.cladec.occlusion.figures import layers_of
from cladec_companion.records.record import ROOT, Record
from cladec_core.data import DATASETS
from cladec_core.networks import LAYER_INDEX

SCRIPT = ROOT / "book" / "static" / "interactive.js"
MOVED = "moved predicted"  # the samples of the moved square that a record has if it has any
STYLE = """
.explorer {text-align: left}
.explorer-stage {display: grid; gap: .5rem; justify-content: center}
.explorer-stage > div {text-align: center; font-size: .85rem; line-height: 1.3}
.explorer-stage.pictures {grid-template-columns: repeat(var(--panes), minmax(0, 10.5rem))}
.explorer-stage canvas {width: 100%; image-rendering: pixelated; border: 3px solid; background: #fff}
.explorer-stage canvas.draggable {cursor: move; touch-action: none}
.explorer-stage svg {width: 40rem; max-width: 100%; max-height: 24rem}
.explorer-controls label {display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: center; margin: .5rem 0}
.explorer-controls label[hidden] {display: none}
.explorer-controls span, .explorer-controls output {flex: 0 0 8rem}
.explorer-controls input, .explorer-controls select {flex: 1 1 14rem; min-width: 0; min-height: 2rem; font: inherit}
.explorer p {min-height: 3em; margin: .3rem 0; font-size: .9rem}
.explorer.ready > img {display: none}
@media (max-width: 40rem) {
  .explorer-stage.pictures {grid-template-columns: repeat(2, minmax(0, 10.5rem))}
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
        The function of the script that draws a state: "pictures" or "plane".
    fallback
        What stands here in print, and without a script.
    **data
        What that function needs.
    """
    data = {"kind": kind, "controls": [asdict(control) for control in controls], "notes": notes} | data
    embedded = json.dumps(data).replace("</", "<\\/")
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
    titles = [value.replace(" (", "\n(").replace(", ", "\n") for value in controls[-1].values]
    fallback = grid(rows, titles, size=0.8 if sizes[-1] < 12 else 0.55)
    sprite, columns = _sprite([np.frombuffer(tile, np.uint8).reshape(side, side, 3) / 255 for tile in tiles])
    parts = {"panes": shown, "sprite": sprite, "columns": columns, "side": side} | data
    return explorer(controls, notes, about, kind="pictures", fallback=fallback, **parts)


def layers(record: Record, count: int = 16) -> HTML:
    """Move through the layers of one image: RefAE, ClaDec and their difference.

    Parameters
    ----------
    record
        Of the experiment `layers`.
    count
        How many images there are to choose from.
    """
    run = run_prefix(record)
    names = recorded_layers(record, run)[::-1]
    images = {"X": record.samples[f"{run}/original"][:count, None]}
    for name, method in (("RefAE", "refae"), ("ClaDec", "cladec")):
        images[name] = np.stack([record.samples[f"{run}/{layer}/{method}"][:count] for layer in names], 1)
    original, refae, cladec = map(grey, images.values())
    panes = {name: picture(part) for name, part in images.items()}
    panes["RefAE − ClaDec"] = signed_difference(refae, cladec)
    distances = zip(apart(original, refae).flat, apart(original, cladec).flat, apart(refae, cladec).flat, strict=True)
    notes = [
        f"RefAE's image is {first:.0%} away from X, ClaDec's {second:.0%}; the two are {both:.0%} apart."
        for first, second, both in distances
    ]
    controls = [
        _images(record, run, count),
        Control("Layer", [layer_label(record, run, name) for name in names]),
    ]
    return explore(controls, panes, notes, "An image, and what two decoders read back from a layer that you choose")


def alpha(record: Record, count: int = 12) -> HTML:
    """Turn the weight of the classification loss.

    Parameters
    ----------
    record
        Of the experiment `alpha`.
    count
        As in `layers`.
    """
    run = run_prefix(record)
    values = sorted(float(name.split("=")[1]) for name in record.samples if name.startswith(f"{run}/alpha="))
    made = np.stack([record.samples[f"{run}/alpha={value}"][:count] for value in values], 1)
    measured = _measured(record, run, "alpha", record.rows)
    notes = [
        f"All test images: reconstruction loss {measured.loc[value, 'loss_raw_sum']:.1f} (raw sum per image); of "
        f"{measured.loc[value, 'agreement']:.0%} the classifier says what it says of the original."
        for value in values
    ]
    controls = [_images(record, run, count), Control("Weight α", [f"{value:g}" for value in values])]
    panes = {"X": picture(record.samples[f"{run}/original"][:count, None]), "ClaDec": picture(made)}
    about = "An image and its explanation, for a weight of the classification loss that you choose"
    return explore(controls, panes, notes * len(controls[0].values), about)


def subsets(record: Record, count: int = 10) -> HTML:
    """Give the decoder more and more channels.

    Parameters
    ----------
    record
        Of the experiment `subsets`.
    count
        As in `layers`.
    """
    run = run_prefix(record)
    sizes = sorted(int(name.split("/")[-2]) for name in record.samples if name.startswith(f"{run}/nested/"))
    made = np.stack([record.samples[f"{run}/nested/{size}/0"][:count] for size in sizes], 1)
    nested = record.rows[(record.rows["subset"] == "nested") & (record.rows["class"].astype(str) == "")]
    measured = _measured(record, run, "size", nested)
    notes = [
        f"All test images: reconstruction loss {measured.loc[size, 'loss_standardised']:.3f} (standardised mean); the "
        f"classifier recognises {measured.loc[size, 'accuracy']:.0%} of the reconstructions."
        for size in sizes
    ]
    controls = [_images(record, run, count), Control("Channels", [str(size) for size in sizes])]
    panes = {"X": picture(record.samples[f"{run}/original"][:count, None]), "ClaDec": picture(made)}
    about = "An image and what is read back from as many channels as you choose"
    return explore(controls, panes, notes * len(controls[0].values), about)


def occlusion(record: Record) -> HTML:
    """Drag a grey square over an image, and see what the explanation and the classifier make of it.

    Parameters
    ----------
    record
        Of the experiment `occlusion`, with the images of the moved square (`can_move`).
    """
    run = next(name for name in record.samples if name.endswith(MOVED)).removesuffix(f"/{MOVED}")
    predicted, corners = record.samples[f"{run}/{MOVED}"], record.samples[f"{run}/moved corners"].tolist()
    square, count = record.manifest["configuration"]["square"], len(predicted)
    names = layers_of(record, tuple(run.split("/")))[::-1]
    covered = np.repeat(record.samples[f"{run}/original"][-count:, None], len(corners) ** 2, 1)
    for place, (top, left) in enumerate(product(corners, corners)):
        covered[:, place, :, top : top + square, left : left + square] = record.samples[f"{run}/filling"]
    before = np.stack([record.samples[f"{run}/{name}/clean reconstruction"][-count:, None] for name in names], 1)
    after = np.stack([record.samples[f"{run}/{name}/moved reconstruction"] for name in names], 1)
    panes = {
        "covered X": picture(covered[:, None]),
        "ClaDec of X": picture(before),
        "ClaDec of covered X": picture(after),
        "what was lost or gained": signed_difference(grey(before), grey(after)),
    }
    classes = _classes(run)
    labels = [classes[label] for label in record.samples[f"{run}/label"][-count:]]
    notes = [
        f"The classifier says {classes[said]}"
        + (", as without the square." if classes[said] == label else f", not {label}.")
        for label, line in zip(labels, predicted, strict=True)
        for said in np.tile(line, len(names))
    ]
    places = [f"row {top}, column {left}" for top, left in product(corners, corners)]
    controls = [
        Control("Image", labels, slider=False),
        Control("Layer", [layer_label(record, run, name) for name in names], start=len(names) - 1),
        Control("Square", places),
    ]
    about = "A grey square over an image, which you move, and the reconstruction before and after"
    drag = {"corners": corners, "square": square}
    return explore(controls, panes, notes, about, drag=drag)


def can_move(record: Record | None) -> bool:
    """Whether a record of the experiment `occlusion` has images for `occlusion`; older ones have not."""
    return record is not None and any(name.endswith(MOVED) for name in record.samples)


def plane(points: np.ndarray, frames: pd.DataFrame) -> HTML:
    """Turn the encoder of the paper's Fig. 4; nothing is computed in the page.

    Parameters
    ----------
    points
        Inputs (n, 2).
    frames
        From `theory.angle_frames`.
    """
    rows = frames.round(4)
    notes = [
        f"Loss {row.loss:.2f}; kept of x₁: {row.kept1:.0%}, kept of x₂: {row.kept2:.0%}" for row in frames.itertuples()
    ]
    controls = [Control("Angle from u₁", [f"{angle:g}°" for angle in frames.index])]
    drawn = [{"e": list(pair[:2]), "r": list(pair[2:])} for pair in rows[["e1", "e2", "r1", "r2"]].to_numpy().tolist()]
    about = "Inputs in the plane and their reconstructions from one number, for an angle of the encoder that you choose"
    parts = {"points": points.round(3).tolist(), "frames": drawn, "colours": COLOURS}
    return explorer(controls, notes, about, kind="plane", **parts)


def layer_label(record: Record, run: str, layer: str) -> str:
    """Name of a layer with its index, such as conv3 (-3)."""
    indices = LAYER_INDEX[run.split("/")[1]][record.manifest["configuration"]["index_map"]]
    return next((f"{name} ({index})" for index, name in indices.items() if name == layer), layer)


def _images(record: Record, run: str, count: int) -> Control:
    classes = _classes(run)
    labels, predicted = (record.samples.get(f"{run}/{name}") for name in ("label", "predicted"))
    names = [classes[label] for label in labels[:count]]
    if predicted is not None:
        said = [classes[label] for label in predicted[:count]]
        names = [
            name if name == other else f"{name}, taken for {other}" for name, other in zip(names, said, strict=True)
        ]
    return Control("Image", [f"{place}. {name}" for place, name in enumerate(names, 1)], False, min(2, len(names) - 1))


def _classes(run: str) -> tuple[str, ...]:
    return DATASETS[run.split("/")[0]].classes


def _measured(record: Record, run: str, axis: str, rows: pd.DataFrame) -> pd.DataFrame:
    """What was measured of ClaDec in a run, averaged over seeds: a row per value of an axis, a column per metric."""
    dataset, architecture = run.split("/")
    chosen = (rows["dataset"] == dataset) & (rows["architecture"] == architecture) & (rows["method"] == "cladec")
    typed = rows[chosen].assign(value=rows["value"].astype(float), axis=rows[axis].astype(float))
    return typed.pivot_table(index="axis", columns="metric", values="value")


def _colour(name: str) -> str:
    colours = {"X": COLOURS["original"], "RefAE": COLOURS["refae"], "ClaDec": COLOURS["cladec"]}
    return colours.get(name.removeprefix("covered ").split(" of ")[0], "#8a8f98")


def _sprite(tiles: list[np.ndarray], columns: int = 16) -> tuple[str, int]:
    """All tiles in one picture, as a data URL, and how many stand in a row."""
    filled = tiles + [np.ones_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.concatenate(filled[at : at + columns], 1) for at in range(0, len(filled), columns)]
    return data_url(np.concatenate(rows)), columns


def _static(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return PNG + base64.b64encode(buffer.getvalue()).decode()
