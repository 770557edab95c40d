"""The table of the chapter: methods by criteria, a rank with its interval, and when to use which method."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from cladec_companion.evidence.claims import Evidence
from cladec_companion.evidence.comparisons import ABOVE, sample
from cladec_companion.papers.xai.attribution import FILLS, METHODS
from cladec_companion.papers.xai.attribution.methods import CONTROL
from cladec_companion.papers.xai.heatmaps.claims import APPROXIMATES, column
from cladec_companion.papers.xai.heatmaps.experiment import FEW


@dataclass(frozen=True)
class Criterion:
    """What maps are judged by.

    Attributes
    ----------
    metric, heading
        Name in the record, of the number over the images that all methods explain, and in the table.
    more
        Whether more is better.
    praise, blame
        What to say of a method that is among the best or among the last by this criterion.
    ranked
        Whether it counts for the overall rank.
    poor
        The number from which on a method is blamed whatever its place; NaN where there is none.
    """

    metric: str
    heading: str
    more: bool
    praise: str
    blame: str
    ranked: bool = True
    poor: float = float("nan")


STEP = "step" + FEW
AREA = "area" + FEW  # the mean over all replacements: any one of them favours methods that have it as their baseline
SAME = APPROXIMATES.value
CRITERIA = (
    Criterion(AREA, "flipping", True, "finds what the score needs", "misses what the score needs"),
    Criterion(
        "area_refae" + FEW, "flipping, RefAE fills", True,
        "finds what the score needs where likely pixels take its place",
        "misses what the score needs where likely pixels take its place", ranked=False,
    ),
    Criterion("box" + FEW, "smallest box", False, "marks small boxes", "needs large boxes"),
    Criterion(
        "sensitivity" + FEW, "sensitivity-n", True, "orders sets of pixels as the output does",
        "orders sets of pixels otherwise than the output",
    ),
    Criterion(
        "class_similarity" + FEW, "other class", False, "depends on the class", "hardly depends on the class",
        poor=SAME,
    ),
    Criterion(
        "randomised" + FEW, "other weights", False, "depends on the weights", "hardly depends on the weights",
        poor=SAME,
    ),
    Criterion(STEP, "continuity", False, "changes evenly with the image", "jumps when the image changes"),
    Criterion("pointing" + FEW, "pointing", True, "points at the right part", "points at other parts"),
    Criterion("passes", "passes", False, "asks the network rarely", "asks the network often", ranked=False),
)  # fmt: skip
TOLD = 3  # places from either end that are told


def values(evidence: Evidence) -> pd.DataFrame:
    """Mean of each criterion over data sets and seeds: a row for each method, a column for each criterion's metric."""
    means = _numbers(evidence).mean()
    return pd.DataFrame(
        {one.metric: {name: means.get(column(name, one.metric)) for name in METHODS} for one in CRITERIA}, dtype=float
    ).dropna(how="all")


def _numbers(evidence: Evidence) -> pd.DataFrame:
    """The numbers of each run, with the mean area over all replacements.

    Maps that do not change with the image at all have no number for continuity. They would be the most continuous,
    although they show nothing of the image: noise of one seed, and DeconvNet on a network without pooling, whose maps
    use no activation.
    """
    assert evidence.runs is not None
    runs = evidence.runs.astype(float)
    found = {name: runs[name].where(runs[name] > 0) for name in map(str, runs) if name.endswith(f":{STEP}")}
    for method in METHODS:
        areas = [name for fill in FILLS if (name := column(method, f"area_{fill}{FEW}")) in runs]
        if len(areas) == len(FILLS):
            found[column(method, AREA)] = runs[areas].mean(axis=1)
    return runs.assign(**found)


def _same_for_every_image(evidence: Evidence) -> set[str]:
    """Methods, not controls, whose maps stay the same in all runs while the image changes."""
    assert evidence.runs is not None
    steps = {name: evidence.runs.get(column(name, STEP)) for name, method in METHODS.items() if method.kind != CONTROL}
    return {name for name, step in steps.items() if step is not None and (step.astype(float) == 0).all()}


def _places(numbers: pd.Series, criterion: Criterion, ties: Literal["average", "min", "max"] = "average") -> pd.Series:
    """Ranks of methods by a criterion, 1 for the best; what looks equal in the table is equal."""
    return numbers.map(lambda value: float(f"{value:.3g}")).rank(ascending=not criterion.more, method=ties)


def ranks(evidence: Evidence) -> dict[tuple, pd.DataFrame]:
    """Rank of each method by each criterion (1 is the best) in each run: data set, architecture and seed -> table."""
    found = {}
    for (dataset, architecture, _, seed), row in _numbers(evidence).iterrows():
        table = {
            one.metric: _places(
                pd.Series({name: row.get(column(name, one.metric)) for name in METHODS}, dtype=float), one
            )
            for one in CRITERIA
        }
        found[dataset, architecture, seed] = pd.DataFrame(table)
    return found


def overall(evidence: Evidence) -> pd.DataFrame:
    """Mean rank over the criteria that count, with its 95 % interval over data sets and seeds, the best first.

    A control is ranked with the others. A method without a number by some criterion has the mean of its other ranks:
    one that explains images of one size only cannot point at a part of a mosaic, and ClaDec is not asked about other
    weights, for each of which its decoder would be trained anew.
    """
    counted = [one.metric for one in CRITERIA if one.ranked]
    scores = pd.DataFrame({run: table[counted].mean(axis=1) for run, table in ranks(evidence).items()})
    rows = {}
    for name, own in scores.iterrows():
        defined = own.dropna().to_list()
        if defined:
            mean = sample("", defined, ABOVE, of="runs")
            rows[name] = {"rank": mean.effect, "low": mean.low, "high": mean.high, "n": len(defined)}
    return pd.DataFrame.from_dict(rows, orient="index").sort_values("rank")


def table(evidence: Evidence) -> pd.DataFrame:
    """Methods by criteria: the mean, and in brackets the rank of the mean among the methods."""
    numbers, order = values(evidence), overall(evidence)
    rows = []
    for name, own in order.iterrows():
        interval = "" if pd.isna(own["low"]) else f" ({own['low']:.1f}–{own['high']:.1f})"  # short: a cell of a table
        cells = {"method": METHODS[str(name)].title, "mean rank": f"{own['rank']:.1f}{interval}"}
        for one in CRITERIA:
            place = _places(numbers[one.metric], one, "min")[name]
            value = numbers.loc[name, one.metric]
            cells[one.heading] = "–" if pd.isna(value) else f"{value:.3g} [{place:.0f}]"
        rows.append(cells)
    return pd.DataFrame(rows).set_index("method")


def which_when(evidence: Evidence) -> pd.DataFrame:
    """One sentence for each method: what it answers, and what it does best and worst here."""
    numbers, order = values(evidence), overall(evidence)
    same, rows = _same_for_every_image(evidence), []
    for name in order.index:
        method, praise, blame = METHODS[name], [], []
        if name in same:
            blame.append("has the same map for every image")
        for one in CRITERIA:
            value = numbers.loc[name, one.metric]
            if pd.isna(value) or (not one.ranked and method.kind == CONTROL):  # which asks no network at all
                continue
            best, worst = (_places(numbers[one.metric], one, ties)[name] for ties in ("min", "max"))
            if value >= one.poor or best > numbers[one.metric].count() - TOLD:
                blame.append(one.blame)
            elif worst <= TOLD:
                praise.append(one.praise)
        said = f"For {method.use}"
        said += f"; here it {_listed(praise)}" if praise else ""
        said += f"{', but' if praise else '; here it'} {_listed(blame)}" if blame else ""
        rows.append({"method": method.title, "section": method.source, "when": f"{said}."})
    return pd.DataFrame(rows).set_index("method")


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
