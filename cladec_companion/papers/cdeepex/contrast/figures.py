"""Figures of the chapter `contrast`: what would have to change, by whom it was drawn, and the way there."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cladec_companion.evidence.claims import Evidence
from cladec_companion.evidence.explorer import Control, classes_of, explore
from cladec_companion.evidence.style import COLOURS, close_up, drawn, picture, show, unit
from cladec_companion.evidence.tables import DATASET_NAMES
from cladec_companion.papers.cdeepex.contrast.claims import AT, column
from cladec_companion.papers.cdeepex.contrast.experiment import (
    FREE,
    GENERATORS,
    KINDS,
    NETWORKS,
    OURS,
    PAIRS,
    PICTURED,
    UNBIASED,
)
from cladec_companion.papers.cdeepex.contrasts import METHODS
from cladec_companion.papers.cdeepex.scenes import EIGHT
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, runs_of

CHANGES = "RdBu_r"  # red is added, blue is taken away, as in the paper
FAINT = 0.25  # strength at which a change is drawn whose search did not meet its constraints
SAME = 2 / 255  # grey values by which two images differ at most that look the same
UNMET = "constraints\nnot met"
MOVING = "met,\nstill moving"
CLASSES = ("true class", "probe", "likeliest third")
LINES = (COLOURS["refae"], COLOURS["cladec"], COLOURS["original"])
Named = list[tuple[str, tuple[str, ...]]]  # what stands beside a row, and what is shown in it
SIDE = 64  # pixels of a picture to play with
NAMES = {name: title for name, (title, _, _) in METHODS.items()}
KIND_NAMES = {OURS: "with constraints (CDeepEx)", FREE: "without (xGEMs)"}


def _heading(record: Record, dataset: str) -> str:
    """Which run a figure shows; the classifier is the paper's own."""
    return f"{DATASET_NAMES.get(dataset, dataset)}, profile {record.manifest['profile']}"


def _change(axis: plt.Axes, images: RunImages, at: int, *name: str) -> None:
    """Draw a change; one whose search did not meet its constraints is faint, and says so, as one that still moves."""
    if name not in images:
        axis.axis("off")
        return
    met = _met(images, at, *name)
    change = unit(images[name][at][0]) - 128 / 255
    show(axis, 0.5 + change * (1.0 if met else FAINT), CHANGES)
    if not met:
        _say(axis, UNMET, 0.5)
    elif (*name, "converged") in images and not images[(*name, "converged")][at]:
        _say(axis, MOVING, 0.12)


def _met(images: RunImages, at: int, *name: str) -> bool:
    """Whether a search met its constraints; methods that explain one class have none."""
    return (*name, "met") not in images or bool(images[(*name, "met")][at])


def _say(axis: plt.Axes, text: str, height: float) -> None:
    axis.text(0.5, height, text, transform=axis.transAxes, ha="center", va="center", fontsize=5.5, color="#333333",
              bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5})  # fmt: skip


def _rows(
    images: RunImages, originals: np.ndarray, rows: Sequence[tuple[str, tuple[str, ...]]], title: str,
    columns: Sequence[str] = (),
) -> Figure:  # fmt: skip
    """A row of images, and below it a row of changes for each of some names."""
    count = len(originals)
    figure, axes = plt.subplots(
        len(rows) + 1, count, figsize=(0.95 * count + 1.9, 0.95 * (len(rows) + 1) + 0.4), squeeze=False
    )
    for at in range(count):
        show(axes[0, at], originals[at])
        for row, (_, name) in enumerate(rows, start=1):
            _change(axes[row, at], images, at, *name)
    for row, label in enumerate(("image", *(label for label, _ in rows))):
        axes[row, 0].axis("on")
        axes[row, 0].set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
    for axis, text in zip(axes[0], columns, strict=False):
        axis.set_title(text, fontsize=7)
    figure.suptitle(title, fontsize=8)
    close_up(figure, 0.02)
    return figure


def questions(images: RunImages) -> list[str]:
    """What is asked of each image that is shown: the class that the classifier sees, and the other one."""
    names = classes_of(images)
    pairs = zip(images.predicted, images["probe"], strict=True)
    return [f"{names[true]}, why not\n{names[probe]}?" for true, probe in pairs]


@drawn
def explanations(record: Record, run: tuple[str, str] | None = None) -> Figure:
    """X1 and X2: what each method would change, in the paper's colours."""
    images = RunImages.of(record, *(run or ()))
    rows: Named = [(f"{name} {kind}", ("change", name, kind)) for name in ("VAE", "WGAN") for kind in KINDS]
    rows += [(title, ("change", name)) for name, title in NAMES.items()]
    return _rows(images, images.original, rows, _heading(record, images.dataset), questions(images))


@drawn
def generators(record: Record, run: tuple[str, str] | None = None) -> Figure:
    """The same questions by four generators: the change, and the image with it, which is blank without an answer."""
    images = RunImages.of(record, *(run or ()))
    count = len(images.labels)
    figure, axes = plt.subplots(
        len(GENERATORS) + 1, 2 * count, figsize=(1.9 * count + 1.2, 0.95 * len(GENERATORS) + 1.5), squeeze=False
    )
    for axis in axes[0]:
        axis.axis("off")
    for at, question in enumerate(questions(images)):
        axes[0, 2 * at].axis("on")
        show(axes[0, 2 * at], images.original[at])
        axes[0, 2 * at].set_title(question, fontsize=7)
        for row, name in enumerate(GENERATORS, start=1):
            _change(axes[row, 2 * at], images, at, "change", name, OURS)
            if _met(images, at, "change", name, OURS):
                show(axes[row, 2 * at + 1], images["end", name, OURS][at])
            else:
                axes[row, 2 * at + 1].axis("off")
    for row, name in enumerate(GENERATORS, start=1):
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    figure.suptitle(_heading(record, images.dataset), fontsize=8)
    close_up(figure, 0.02)
    return figure


@drawn
def curves(record: Record) -> Figure:
    """Mean probabilities along the search, with and without constraints (Fig. 4b)."""
    runs = runs_of(record)
    figure, axes = plt.subplots(
        len(runs) * len(KINDS), len(PICTURED), figsize=(7.4, 1.9 * len(runs) * len(KINDS) + 0.5), squeeze=False,
        sharex=True, sharey=True,
    )  # fmt: skip
    for block, run in enumerate(runs):
        images = RunImages.of(record, *run)
        for row, kind in enumerate(KINDS, start=block * len(KINDS)):
            for axis, name in zip(axes[row], PICTURED, strict=True):
                for curve, label, colour in zip(unit(images["curve", name, kind]).T, CLASSES, LINES, strict=True):
                    axis.plot(curve, color=colour, lw=1.2, label=label)
                axis.set_title(f"{DATASET_NAMES[run[0]]}, {name}, {kind}", fontsize=7.5)
    axes[0, 0].set_ylim(0, 1)
    axes[-1, 1].set_xlabel("sets of multipliers", fontsize=8)
    figure.supylabel("mean probability", fontsize=8)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure


@drawn
def outcomes(evidence: Evidence) -> Figure:
    """Shares of images on which the classifier, and the judge, see the probe when an explanation is applied."""
    places = list(dict.fromkeys(key[:3] for key in evidence.summary.index))
    methods = [f"{name} {kind}" for name in GENERATORS for kind in KINDS] + list(METHODS)
    figure, axes = plt.subplots(1, len(places), figsize=(3.5 * len(places) + 1.2, 3.6), squeeze=False, sharey=True)
    for axis, place in zip(axes[0], places, strict=True):
        for metric, label, colour, shift in (
            ("flipped", "the classifier", COLOURS["cladec"], -0.18), ("judged", "the judge", COLOURS["refae"], 0.18)
        ):  # fmt: skip
            values = [_mean(evidence, place, name, metric) for name in methods]
            axis.barh(np.arange(len(methods)) + shift, values, height=0.34, color=colour, label=label)
        axis.set(xlim=(0, 1), title=DATASET_NAMES.get(place[0], place[0]), xlabel="share that see the probe")
    axes[0, 0].set_yticks(range(len(methods)), [NAMES.get(name, name) for name in methods], fontsize=7)
    axes[0, 0].invert_yaxis()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    return figure


def _mean(evidence: Evidence, place: tuple, method: str, metric: str) -> float:
    cell = (*place, column(method, metric))
    return float(evidence.summary.loc[cell, "mean"]) if evidence.has(cell) else float("nan")


@drawn
def biases(record: Record) -> Figure:
    """Sections 4.2 and 4.3: "why not an 8?", of classifiers that know 8s or not, and of one misled by a square."""
    images = RunImages.of(record)
    rows: Named = [
        (f"class known: {share:.0%}", ("rung", str(place))) for place, share in enumerate(_rungs(record, images))
    ]
    marked: Named = [(f"{name} {OURS}", ("square", name, OURS)) for name in ("VAE", "ClaDec")]
    marked.append((f"VAE {OURS},\nclassifier without squares", ("square", "VAE", UNBIASED)))
    marked += [(title, ("square", name)) for name, title in NAMES.items()]
    blocks = [block for block in (("ladder", rows), ("square", marked)) if (block[0], "image") in images]
    heights = [len(rows) + 1 for _, rows in blocks]
    count = max(len(images[name, "image"]) for name, _ in blocks)
    figure, axes = plt.subplots(
        max(heights), count * len(blocks), figsize=(0.9 * count * len(blocks) + 3.4, 0.9 * max(heights) + 0.5),
        squeeze=False,
    )  # fmt: skip
    for axis in axes.flat:
        axis.axis("off")
    for block, (name, rows) in enumerate(blocks):
        for at, original in enumerate(images[name, "image"]):
            line = axes[:, block * count + at]
            show(line[0], original)
            for axis, (label, parts) in zip(line[1:], rows, strict=False):
                axis.axis("on")
                _change(axis, images, at, *parts)
                if at == 0:
                    axis.axis("on")
                    axis.set(xticks=[], yticks=[])
                    axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
    kind = classes_of(images)[EIGHT]
    figure.suptitle(
        f"{_heading(record, images.dataset)}: why not {kind}? Left: a class that is learnt; right: a square"
    )
    close_up(figure, 0.02)
    return figure


def _rungs(record: Record, images: RunImages) -> list[float]:
    """What the classifiers of the ladder know of 8s in the run that is shown, in their order."""
    rows = record.rows
    of = rows[(rows["dataset"] == images.dataset) & (rows["layer"] == "ladder") & (rows["metric"] == "known")]
    first = of.sort_values("seed").drop_duplicates("method").sort_values("method")  # samples are of the first seed
    return [float(value) for value in first["value"]]


def with_networks(record: Record) -> list[RunImages]:
    """Runs with images of two networks; the last one is drawn."""
    every = [RunImages.of(record, *run) for run in runs_of(record)]
    return [images for images in every if ("network", "vgg5", _pair(0), "image") in images]


@drawn
def networks(record: Record) -> Figure:
    """Section 4.5: what two networks want to see changed for the same questions, with and without constraints."""
    images = with_networks(record)[-1]
    shown = [place for place in range(len(PAIRS)) if ("network", "vgg5", _pair(place), "image") in images]
    rows = [(name, kind) for name in NETWORKS for kind in KINDS]
    count = 3
    size = (0.9 * count * len(shown) + 2.2, 0.88 * (1 + len(rows)))
    figure, axes = plt.subplots(1 + len(rows), count * len(shown), figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    names = classes_of(images)
    for block, place in enumerate(shown):
        originals = images["network", "vgg5", _pair(place), "image"][:count]  # the same for all networks
        for at, original in enumerate(originals):
            column = axes[:, block * count + at]
            for axis in column:
                axis.axis("on")
            show(column[0], original)
            for axis, (name, kind) in zip(column[1:], rows, strict=True):
                _change(axis, images, at, "network", name, _pair(place), kind)
        pair = " to ".join(names[label] for label in PAIRS[place])
        axes[0, block * count].set_title(pair, fontsize=7, loc="left")
    for axis, (name, kind) in zip(axes[1:, 0], rows, strict=True):
        axis.axis("on")
        axis.set(xticks=[], yticks=[])
        axis.set_ylabel(f"{NETWORKS[name]}\n{kind}", rotation=0, ha="right", va="center", fontsize=7)
    figure.suptitle(_heading(record, images.dataset), fontsize=8)
    close_up(figure, 0.02)
    return figure


def _pair(place: int) -> str:
    return "{} to {}".format(*PAIRS[place])


def interactive(record: Record) -> HTML:
    """Walk from an image to the point where another class is as likely, and watch the probabilities.

    The figure begins at the end of the path whose image depends most on the constraints on other classes.
    """
    images = RunImages.of(record)
    labels = questions(images)
    count, kinds = len(labels), list(KINDS)
    paths = np.array([[images["path", name, kind] for kind in kinds] for name in PICTURED])
    likely = np.array([[unit(images["likely", name, kind]) for kind in kinds] for name in PICTURED])
    # (generators, kinds, images, frames, ...) -> (images, generators, kinds, frames, ...)
    paths, likely = np.moveaxis(paths, 2, 0), np.moveaxis(likely, 2, 0)
    frames = paths.shape[3]
    factor = max(1, SIDE // paths.shape[-1])
    changes = 0.5 + (unit(paths) - unit(paths[:, :, :, :1])) / 2
    tinted = colormaps[CHANGES](changes[..., 0, :, :])[..., :3]
    panes = {
        "image": _enlarged(picture(paths), factor), "what has changed": _enlarged(tinted, factor),
        "probabilities": np.array([
            _plot(likely[at, g, k], frame, factor * paths.shape[-1])
            for at in range(count) for g in range(len(PICTURED)) for k in range(len(kinds)) for frame in range(frames)
        ]).reshape(*likely.shape[:4], factor * paths.shape[-1], factor * paths.shape[-1], 3),
    }  # fmt: skip
    ends = picture(paths)[:, :, :, -1]
    apart = np.abs(ends[:, :, 0] - ends[:, :, 1]).reshape(count, len(PICTURED), -1).max(2)
    image, generator = np.unravel_index(apart.argmax(), apart.shape)
    notes = []
    for at in range(count):
        for g, name in enumerate(PICTURED):
            for k, kind in enumerate(kinds):
                met = _met(images, at, "change", name, kind)
                converged = bool(images["change", name, kind, "converged"][at])
                state = "" if converged else " The constraints were met, and the search was still moving."
                state = state if met else " The constraints were not met at the end: this is no answer."
                same = " Both searches end in the same image." if apart[at, g] < SAME else ""
                for frame in range(frames):
                    true, probe, third = likely[at, g, k, frame]
                    notes.append(
                        f"{name}, {kind}: true class {true:.0%} (blue), probe {probe:.0%} (orange), likeliest third "
                        f"class {third:.0%} (grey).{state}{same}"
                    )
    controls = [
        Control(
            "Image",
            [f"{at}. {label}".replace("\n", " ") for at, label in enumerate(labels, 1)],
            slider=False,
            start=int(image),
        ),
        Control("Generator", PICTURED, slider=False, start=int(generator)),
        Control("Search", [KIND_NAMES[kind] for kind in kinds], slider=False),
        Control("Along the path", [f"{frame / (frames - 1):.0%}" for frame in range(frames)], start=frames - 1),
    ]
    about = "An image on its way to another class, what has changed in it, and the classifier's probabilities"
    return explore(controls, panes, notes, about)


def _enlarged(images: np.ndarray, factor: int) -> np.ndarray:
    return images.repeat(factor, -3).repeat(factor, -2)


def _plot(likely: np.ndarray, frame: int, side: int) -> np.ndarray:
    """Three probabilities along a path as lines, with a mark at one place: RGB in [0, 1], (side, side, 3)."""
    drawing = np.ones((side, side, 3))
    at = np.linspace(0, len(likely) - 1, side - 4)
    mark = 2 + round(frame / (len(likely) - 1) * (side - 5))
    drawing[:, mark] = 0.8
    for curve, colour in zip(likely.T[::-1], LINES[::-1], strict=True):
        heights = np.rint((1 - np.interp(at, range(len(likely)), curve)) * (side - 5)).astype(int) + 2
        for before, after, place in zip(heights[:-1], heights[1:], range(2, side - 3), strict=True):
            drawing[min(before, after) : max(before, after) + 2, place] = to_rgb(colour)
        now = heights[min(mark - 2, len(heights) - 1)]
        drawing[max(0, now - 2) : now + 3, max(0, mark - 2) : mark + 3] = to_rgb(colour)
    return drawing


def numbers(evidence: Evidence) -> dict[str, str]:
    """Metrics of the table of a run, and what they are called."""
    names = {
        "missed": "generator misses", "met": "constraints met", "converged": "at rest, too",
        "intruded": "third class wins", "flipped": "classifier sees the probe", "judged": "judge sees it, too",
        "extent": "extent", "distance": "distance in z", "stationarity": "KKT gradient",
        "complementarity": "KKT slackness",
    }  # fmt: skip
    known = set(evidence.summary.index.get_level_values("metric"))
    return {name: title for name, title in names.items() if any(key.endswith(f":{name}") for key in known)}


def table(evidence: Evidence) -> "object":
    """Searches of `general` in numbers: a row for each generator and kind, in each data set."""
    import pandas as pd

    places = list(dict.fromkeys(key[:3] for key in evidence.summary.index))
    shown = numbers(evidence)
    methods = [f"{name} {kind}" for name in GENERATORS for kind in KINDS]
    rows = {
        (DATASET_NAMES.get(place[0], place[0]), method): [
            _mean(evidence, place, method, metric) for metric in shown
        ]
        for place in places for method in methods
    }  # fmt: skip
    found = pd.DataFrame.from_dict(rows, orient="index", columns=list(shown.values()))
    found.index = pd.MultiIndex.from_tuples(found.index, names=["data", "search"])
    return found.dropna(how="all").map("{:.2f}".format).replace("nan", "–")


__all__ = [
    "AT", "biases", "curves", "explanations", "generators", "interactive", "networks", "outcomes", "questions",
    "table",
]  # fmt: skip
