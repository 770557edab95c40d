"""Figures of the chapter `srae`: contributions, maps of every method, what x-features stand for, one to play with."""

from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from cladec_companion.evidence import tables
from cladec_companion.evidence.explorer import Control, explore
from cladec_companion.evidence.lines import heading
from cladec_companion.evidence.style import COLOURS, close_up, drawn, picture, show, unit
from cladec_companion.papers.srae.baselines import CAE, LASSO, NN, SAE, SRAE
from cladec_companion.papers.srae.concepts.claims import GAMMAS, Evidence, titled
from cladec_companion.papers.srae.decoding import STEPS
from cladec_companion.papers.srae.domain import GARMENTS
from cladec_companion.papers.srae.mosaic import CLASSES
from cladec_companion.papers.srae.printed import name
from cladec_companion.papers.srae.samples import EXAMPLES
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, runs_of
from cladec_core.data import DATASETS

ORDER = (SRAE, NN, SAE, CAE, LASSO)
ROWS = {LASSO: "Lasso (units)", "logit": "logit (one map)"}  # whose maps are of no x-features
FURTHER = {
    "split": "split", "carried": "carried", "pull_away": "pull-away term", "without_mass": "without mass",
}  # fmt: skip
POSITIVE, NEGATIVE = COLOURS["cladec"], COLOURS["refae"]


def class_names(dataset: str) -> tuple[str, ...]:
    """Names of what is told apart: pairs of digits in mosaics."""
    return DATASETS[dataset].classes if dataset == GARMENTS else CLASSES


@dataclass(frozen=True)
class Target:
    """What a record keeps of one target of its first run.

    Attributes
    ----------
    record
        Of the chapter.
    images
        The run's arrays.
    number
        The class.
    """

    record: Record
    images: RunImages
    number: int

    @classmethod
    def of(cls, record: Record, number: int | None = None) -> "Target":
        """A target of mosaics, or of garments in a record without mosaics; by default the first that has images."""
        return cls.every(record)[0] if number is None else replace(cls.every(record)[0], number=number)

    @classmethod
    def every(cls, record: Record) -> "list[Target]":
        """The first target with images of each run, mosaics before garments."""
        found = []
        for run in sorted(runs_of(record), key=lambda run: run[0] == GARMENTS):
            images = RunImages.of(record, *run)
            kept = sorted({int(parts[0]) for parts in images.names if parts[0].isdecimal()})
            found += [cls(record, images, kept[0])] if kept else []
        return found

    def __getitem__(self, what: str) -> np.ndarray:
        return self.images[(str(self.number), *what.split("/"))]

    def __contains__(self, what: str) -> bool:
        return (str(self.number), *what.split("/")) in self.images

    @property
    def title(self) -> str:
        """Which run and which class is shown."""
        named = class_names(self.images.dataset)[self.number]
        return f"{heading(self.record, self.images.run)}, class {named!r}"


@drawn
def contributions(record: Record) -> Figure:
    """The contributions of SRAE's and of NN's x-features to the logit of each image that is shown."""
    target = Target.of(record)
    originals = target["original"]
    figure, axes = plt.subplots(3, len(originals), figsize=(1.8 * len(originals), 4.6), height_ratios=[1.1, 1, 1])
    for column, image in enumerate(originals):
        show(axes[0, column], image)
        axes[0, column].set_title(f"logit {target['logits'][column, target.number]:.1f}", fontsize=8)
        for row, method in enumerate((SRAE, NN), start=1):
            values = target[f"contributions/{method}"][column]
            axis = axes[row, column]
            colours = [POSITIVE if value >= 0 else NEGATIVE for value in values]
            axis.barh(range(1, len(values) + 1), values, color=colours)
            axis.set(ylim=(len(values) + 0.6, 0.4), yticks=range(1, len(values) + 1))
            axis.tick_params(labelsize=7)
            if column == 0:
                axis.set_ylabel(f"{method}\nx-feature")
    for row in axes[1:]:
        low, high = min(axis.get_xlim()[0] for axis in row), max(axis.get_xlim()[1] for axis in row)
        for axis in row:
            axis.set_xlim(low, high)
    axes[2, 0].set_xlabel("contribution to the logit", loc="left")
    figure.suptitle(target.title, fontsize=8)
    return figure


@drawn
def maps(record: Record, image: int = 0) -> Figure:
    """Of one image the map of every x-feature by every method; the logit's own map below."""
    target = Target.of(record)
    methods = [method for method in ORDER if f"maps/{method}" in target]
    n = max(len(target[f"maps/{method}"][image]) for method in methods)
    figure, axes = plt.subplots(len(methods) + 1, n + 1, figsize=(1.05 * (n + 1) + 0.6, 1.08 * (len(methods) + 1)))
    for axis in axes.flat:
        axis.axis("off")
    original = target["original"][image]
    for row, method in enumerate([*methods, "logit"]):
        axes[row, 0].axis("on")
        show(axes[row, 0], original)
        axes[row, 0].set_ylabel(ROWS.get(method, method), rotation=0, ha="right", va="center", labelpad=6)
        for column, found in enumerate(target[f"maps/{method}"][image], start=1):
            axes[row, column].axis("on")
            show(axes[row, column], found, cmap="Oranges")
            if row == 0:
                axes[row, column].set_title(f"x-feature {column}", fontsize=7.5)
    figure.suptitle(target.title, fontsize=8)
    close_up(figure, 0.02)
    return figure


@drawn
def meanings(record: Record) -> Figure:
    """What each x-feature of SRAE stands for: where it responds most, and what a ClaDec decoder makes of it.

    One block for each run of the record: mosaics, then garments.
    """
    lines: list[tuple[str, list[np.ndarray]]] = []
    targets = Target.every(record)
    for target in targets:
        shown = zip(target["crops"], target["mean_crop"], target["decoded"], strict=True)
        lines += [
            (f"{class_names(target.images.dataset)[target.number]}:\nx-feature {place}", [*crops, mean, *decoded])
            for place, (crops, mean, decoded) in enumerate(shown, start=1)
        ]
    titles = [*(f"response {number}" for number in range(1, EXAMPLES + 1)), "mean response"]
    titles += [f"decoded, {step:+.0f} sd" if step else "decoded, mean" for step in STEPS]
    figure, axes = plt.subplots(
        len(lines), len(titles), figsize=(1.02 * len(titles) + 0.9, 1.02 * len(lines) + 0.5), squeeze=False
    )
    for line, (label, images) in zip(axes, lines, strict=True):
        for axis, image in zip(line, images, strict=True):
            show(axis, image)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=7)
    figure.suptitle("; ".join(target.title for target in targets), fontsize=8)
    close_up(figure, 0.02)
    return figure


@drawn
def places(sources: dict[str, Evidence]) -> Figure:
    """Faithfulness against orthogonality, and locality, of each method: printed and measured."""
    found = [(source, evidence, place) for source, evidence in sources.items() for place in evidence.places]
    figure, axes = plt.subplots(len(found), 2, figsize=(8.4, 2.0 * len(found)), squeeze=False)
    for (left, right), (source, evidence, place) in zip(axes, found, strict=True):
        for method in (*ORDER, "logit", "Z"):
            values = [_mean(evidence, place, method, metric) for metric in ("f_reg", "o1", "locality")]
            colour = COLOURS["cladec"] if method == SRAE else COLOURS["original"]
            if np.isfinite(values[:2]).all():
                left.plot(values[0], values[1], "o", color=colour)
                beside = (4, -9) if method == SRAE else (4, 3)  # SRAE and SAE lie close to each other
                left.annotate(method, values[:2], xytext=beside, textcoords="offset points", fontsize=7)
            if np.isfinite(values[2]):
                right.barh(method, values[2], color=colour)
        left.set_xscale("log")
        left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        left.xaxis.set_minor_formatter(NullFormatter())
        left.margins(x=0.2, y=0.2)
        left.set(ylabel="O1 of the maps\n(0: uncorrelated)", title=f"{titled(place[0])}, {source}")
        chance = _mean(evidence, place, "chance", "locality")
        if np.isfinite(chance):
            right.axvline(chance, color="#8a8f98", ls="--", lw=1)
        right.invert_yaxis()
    axes[-1, 0].set_xlabel("error of the score, F_reg (test images)")
    axes[-1, 1].set_xlabel("locality (nats; dashed: chance)")
    return figure


def _mean(evidence: Evidence, place: tuple, method: str, metric: str) -> float:
    cell = (*place, name(method, metric))
    return float(evidence.summary.loc[cell, "mean"]) if evidence.has(cell) else float("nan")


def interactive(record: Record) -> HTML:
    """Remove an x-feature, and see what is left of the image and of the score.

    The figure begins with the x-feature that the score of an image owes most to.
    """
    target = Target.of(record)
    originals, left, logits = target["original"], target["removed"], target["removed_logits"]
    values, intercept = target[f"contributions/{SRAE}"], float(target["intercept"][0])
    classes, n = class_names(target.images.dataset), values.shape[1]
    notes = []
    for image in range(len(originals)):
        logit = target["logits"][image, target.number]
        for removed in range(n + 1):
            kept = values[image].sum() + intercept - (values[image, removed - 1] if removed else 0)
            seen = classes[int(logits[image, removed].argmax())]
            notes.append(
                f"The x-features that are left say {kept:.1f}; the logit is {logit:.1f}. "
                f"The classifier takes the picture of what they point at for {seen!r}."
            )
    first, feature = np.unravel_index(values[: len(originals)].argmax(), (len(originals), n))
    names = [f"{number}. {classes[target.number]}" for number in range(1, len(originals) + 1)]
    removed_ones = ["none of them", *(f"x-feature {number}" for number in range(1, n + 1))]
    controls = [
        Control("Image", names, slider=False, start=int(first)),
        Control("Without", removed_ones, start=int(feature) + 1),
    ]
    heat = [np.zeros_like(unit(target[f"maps/{SRAE}"][:, :1]))]
    heat += [unit(target[f"maps/{SRAE}"][:, [feature]]) for feature in range(n)]
    panes = {"X": picture(originals[:, None]), "what remains": picture(left), "removed": picture(np.stack(heat, 1))}
    about = "An image, what is left of it without one x-feature, and the map of that x-feature"
    return explore(controls, panes, notes, about)


def ranks(sources: dict[str, Evidence], metrics: dict[str, str]) -> pd.DataFrame:
    """Rank of each method in each row of the printed tables, 1 for the best, with the number beside it.

    Parameters
    ----------
    sources
        Evidence by name: published, recorded, this run.
    metrics
        Metric -> heading. For F_cls the largest number is the best, for all others the smallest.
    """
    rows = []
    for source, evidence in sources.items():
        for place in evidence.places:
            for metric, heading_ in metrics.items():
                cells = {method: (*place, name(method, metric)) for method in (*ORDER, "logit")}
                found = {method: evidence.summary.loc[cell] for method, cell in cells.items() if evidence.has(cell)}
                means = pd.Series({method: row["mean"] for method, row in found.items()}, dtype=float)
                order = means.rank(ascending=not metric.startswith("f_cls"))
                texts = {
                    method: f"{order[method]:g}. {tables.mean_sd(row['mean'], row['sd'])}"
                    for method, row in found.items()
                }
                count = int(min((row["n"] for row in found.values()), default=0))
                rows.append({"number": heading_, "data": titled(place[0]), "source": source, "n": count, **texts})
    table = pd.DataFrame(rows).fillna("–")
    return table.set_index(["number", "data", "source"]).sort_index(level="number", sort_remaining=False)


def further(record: Record) -> pd.DataFrame:
    """Numbers of the x-features that the paper does not have: a row for each data set and method."""
    rows = record.rows[record.rows["metric"].isin(FURTHER)]
    rows = rows[rows["features"] == record.manifest["configuration"]["features"]].astype({"value": float})
    table = rows.pivot_table("value", ["dataset", "method"], "metric").reindex(columns=list(FURTHER))
    table.index = pd.MultiIndex.from_tuples(
        [(titled(dataset), ROWS.get(method, method)) for dataset, method in table.index], names=["data", "method"]
    )
    return table.rename(columns=FURTHER).rename_axis(columns=None).map("{:.3f}".format).replace("nan", "–")


def masking(sources: dict[str, Evidence]) -> pd.DataFrame:
    """Accuracy on masked images, and the share of pixels that they show, by γ; Table 4 and ours.

    The last row of ours is what a classifier reaches that sees one and the same class in every masked image.
    """
    rows = []
    for source, evidence in sources.items():
        for place in evidence.places:
            for method in ("x-features", "logit", "logit, equal area"):
                found = {gamma: _mean(evidence, place, method, f"masked_{gamma}") for gamma in GAMMAS}
                areas = {gamma: _mean(evidence, place, method, f"area_{gamma}") for gamma in GAMMAS}
                if np.isfinite(list(found.values())).all():
                    shown = {
                        f"γ = {gamma} %": f"{value:.3f}" + (f" ({area:.0%})" if np.isfinite(area) else "")
                        for (gamma, value), area in zip(found.items(), areas.values(), strict=True)
                    }
                    rows.append({"data": titled(place[0]), "source": source, "shown by": method, **shown})
            if place in evidence.targets:
                share = f"{1 / evidence.targets[place].index.unique('target').size:.3f}"
                alone = {f"γ = {gamma} %": share for gamma in GAMMAS}
                rows.append({"data": titled(place[0]), "source": source, "shown by": "nothing: one class", **alone})
    return pd.DataFrame(rows).set_index(["data", "source", "shown by"])


def lasso_path(sources: dict[str, Evidence]) -> pd.DataFrame:
    """How many units Lasso needs: F_reg on test examples by the number of units, beside SRAE's."""
    from cladec_companion.papers.srae.printed import lasso_sizes

    rows = []
    for source, evidence in sources.items():
        for place in evidence.places:
            where = {"data": titled(place[0]), "source": source}
            if evidence.record is None:
                rows += [where | {"units": row["units"], "F_reg": row["f_reg"]} for row in lasso_sizes(place[0])]
            for column in evidence.columns if evidence.record is not None else ():
                method, _, metric = column.partition(" number of units")
                if not metric and column.endswith("number of units"):
                    units, error = (_mean(evidence, place, method, m) for m in ("number of units", "f_reg"))
                    rows.append(where | {"units": units, "F_reg": error})
            own = {"units": np.nan, "n": evidence.features, "F_reg": _mean(evidence, place, SRAE, "f_reg")}
            rows.append(where | own)
    table = pd.DataFrame(rows).sort_values(["data", "source", "units"]).round({"units": 1, "F_reg": 3})
    table["units"] = [
        f"SRAE, {n:g} x-features" if np.isnan(units) else f"{units:g}"
        for units, n in zip(table["units"], table.pop("n"), strict=True)
    ]
    return table.set_index(["data", "source", "units"])
