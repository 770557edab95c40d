"""Pictures of the front page and of the page on reading: single explanations, large enough for a phone."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from cladec_companion.evidence.comparisons import NOT_CONVERGED
from cladec_companion.evidence.lines import unconverged
from cladec_companion.evidence.style import (
    COLOURS,
    LABELS,
    apart,
    close_up,
    data_url,
    picture,
    show,
    style,
)
from cladec_companion.papers.cladec import coat, front, vote
from cladec_companion.papers.cladec.cases import CASES, Case, explanation, found
from cladec_companion.records.files import RECORDED
from cladec_companion.records.record import Record, find_records, recorded
from cladec_core.data import DATASETS

EXPERIMENT, PROFILE = "layers", "laptop"  # of whose record the pictures are
PICTURE_DPI = 200
NAMES = {"refae": "RefAE", "cladec": "ClaDec", "difference": "difference"}


def write(folder: Path) -> None:
    """Draw the pictures of the front page and of the page on reading, from the committed record of `EXPERIMENT`."""
    shown = _committed()
    chosen = front.choose(shown, find_records(RECORDED))
    front_picture(shown, chosen.image).savefig(folder / "front.png", dpi=PICTURE_DPI)
    (folder / "front.md").write_text(front.figure(shown, chosen), encoding="utf-8")
    for name, case in CASES.items():
        case_picture(shown, case).savefig(folder / f"case-{name}.png", dpi=PICTURE_DPI)
    (folder / "vote.html").write_text(str(vote.figure(shown).data) + "\n", encoding="utf-8")
    series = coat.series(find_records(RECORDED))
    coat.static(series, coat.garments(series)[0]).savefig(folder / "coat.png", dpi=PICTURE_DPI)
    (folder / "coat.html").write_text(str(coat.figure(series).data) + "\n", encoding="utf-8")
    (folder / "coat.md").write_text(coat.told(series) + "\n", encoding="utf-8")


def _committed() -> Record:
    found = recorded(EXPERIMENT, PROFILE)
    assert found is not None
    return found


def scheme() -> str:
    """The method as SVG on 360 x 136: an image, a classifier, a decoder fed by one of its layers, the explanation.

    The image is that of the front page, and the explanation is made from the middle layer.
    """
    shown = _committed()
    images = explanation(shown, Case(front.choose(shown, find_records(RECORDED)).image, front.LAYERS[1]))
    drawn = [
        f'<image x="{x}" y="{y}" width="40" height="40" href="{data_url(picture(images[name]))}"/>'
        for name, x, y in (("original", 3, 20), ("cladec", 236, 76))
    ]
    return Path(__file__).with_name("scheme.svg").read_text(encoding="utf-8") + "".join(drawn)


def front_picture(record: Record, image: int) -> Figure:
    """The idea in one picture: an image beside what RefAE and ClaDec read back from three layers of it."""
    cases = [explanation(record, Case(image, layer)) for layer in front.LAYERS]
    with style():
        figure = plt.figure(figsize=(5.6, 3.75))
        grid = figure.add_gridspec(3, 4, width_ratios=[1.8, 1, 1, 1])
        axis = figure.add_subplot(grid[:2, 0])
        show(axis, cases[0]["original"])
        axis.set_title("the image", fontsize=12, color=COLOURS["original"])
        for row, (name, title) in enumerate(NAMES.items()):
            for column, images in enumerate(cases, start=1):
                axis = figure.add_subplot(grid[row, column])
                _framed(axis, images[name], COLOURS.get(name, "#cccccc"))
                if row == 0:
                    axis.set_title(front.COLUMNS[column - 1], fontsize=11)
                if column == 1:
                    axis.set_ylabel(title, color=COLOURS.get(name, "#222222"), fontsize=12, fontweight="bold")
        note = figure.add_subplot(grid[2, 0])
        note.axis("off")
        for height, method, text in ((0.62, "refae", "more in RefAE"), (0.28, "cladec", "more in ClaDec")):
            note.plot(0.04, height, "s", color=COLOURS[method], markersize=9)
            note.text(0.14, height, text, fontsize=11, va="center")
        note.set(xlim=(0, 1), ylim=(0, 1))
        close_up(figure, 0.02)
    plt.close(figure)
    return figure


def case_picture(record: Record, case: Case) -> Figure:
    """One explanation in a row; below it the class, and how far the images are apart (`apart`)."""
    images = explanation(record, case)
    (shown, at), classes = found(record, case), DATASETS[case.dataset].classes
    label, predicted = (classes[int(shown[name][at])] for name in ("label", "predicted"))
    below = {
        "original": label if label == predicted else f"{label}\n→ {predicted}",
        "refae": rf"{apart(images['original'], images['refae']):.0%} from $X$",
        "cladec": rf"{apart(images['original'], images['cladec']):.0%} from $X$",
        "difference": rf"{apart(images['refae'], images['cladec']):.0%} apart",
    }
    short = {name for at, name in unconverged(record, shown.dataset, shown.architecture) if at == case.layer}
    below |= {name: f"{below[name]}\n{NOT_CONVERGED}" for name in short}
    titles = LABELS | {"difference": r"$\hat X_R - \hat X_E$"}
    with style():
        figure, axes = plt.subplots(1, 4, figsize=(5.6, 2.15 if short or label != predicted else 1.95))
        for axis, (name, image) in zip(axes, images.items(), strict=True):
            _framed(axis, image, COLOURS.get(name, "#cccccc"))
            axis.set_title(titles[name], fontsize=12)
            axis.set_xlabel(below[name], fontsize=11)
        close_up(figure, 0.02)
    plt.close(figure)
    return figure


def _framed(axis: plt.Axes, image: np.ndarray, colour: str) -> None:
    show(axis, image)
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=1.8)
