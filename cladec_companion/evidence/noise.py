"""How far two seeds differ: what is known about the noise of a single run from all runs that were repeated.

A single run has no standard deviation of its own. Its noise is the seed-to-seed standard deviation of numbers of the
same kind, pooled over every committed record that has several seeds, and where there are too few, over what a paper
printed. What one record measured around the same classifiers (its layers, methods, values of α) tells about their seeds
once: the degrees of freedom are those of the seeds, not of the numbers.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import pandas as pd

from cladec_companion.evidence import tables
from cladec_companion.evidence.thresholds import REPEATED
from cladec_companion.records.record import RECORDED, Record, find_records

LOSS, CROSS_ENTROPY, ACCURACY = "reconstruction loss", "classification loss", "evaluation accuracy"
OWN_ACCURACY = "accuracy of the classifier"
RECORDS, PRINT = "records", "print"
Pair = tuple[str, str]  # method and metric of a number


@dataclass(frozen=True)
class Numbers:
    """What is known of the numbers that records hold, as far as their noise goes.

    Attributes
    ----------
    kinds
        Method and metric -> kind; any other number is a kind of its own.
    same
        Numbers that are of the kind of another and tell no more of it, such as a loss on another scale.
    shares
        Kinds of which every number is a share of the test images.
    differences
        Kind -> name of the metric that is the difference of two such numbers, and has their noise.
    relative
        Metrics without a scale of their own: their noise is a share of their size, as it is for losses.
    counts
        Metrics that count something, and have no noise.
    telling
        The rows of a record that tell of its noise.
    """

    kinds: Mapping[Pair, str]
    same: Mapping[Pair, str]
    shares: frozenset[str]
    relative: frozenset[str]
    counts: frozenset[str]
    differences: Mapping[str, str] = field(default_factory=dict)
    telling: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows

    def kind_of(self, method: str, metric: str) -> str:
        """What numbers are pooled with this one."""
        known = {**self.kinds, **self.same}
        return known.get((method, metric), metric if metric in self.differences.values() else f"{metric} of {method}")


# Of any chapter that trains ClaDec. One scale of loss stands for all: the others are multiples of it.
COMMON = Numbers(
    kinds={
        **{(method, "loss_standardised"): LOSS for method in ("cladec", "refae")},
        ("cladec", "loss_classifier"): CROSS_ENTROPY,
        **{(method, "accuracy"): ACCURACY for method in ("cladec", "refae")},
        ("classifier", "accuracy"): OWN_ACCURACY,
    },
    same={
        **{(method, f"loss_{scale}"): LOSS for method in ("cladec", "refae")
           for scale in ("raw_mean", "raw_sum", "norm")},
        ("cladec", "loss_classifier_train"): CROSS_ENTROPY, ("cladec", "accuracy_classifier"): ACCURACY,
    },
    shares=frozenset({ACCURACY, OWN_ACCURACY}),
    relative=frozenset({"loss_standardised", "loss_raw_sum"}),
    counts=frozenset({"test_images", "train_images", "units", "still_falling", "images"}),
)  # fmt: skip


@dataclass(frozen=True)
class Spread:
    """The seed-to-seed standard deviation of one kind of number.

    Attributes
    ----------
    sd
        Standard deviation, as a share of the number's size if `relative`.
    freedom
        Degrees of freedom behind it.
    """

    sd: float
    freedom: int
    relative: bool
    source: str

    def of(self, value: float) -> float:
        """The standard deviation of a number of this size."""
        return self.sd * abs(value) if self.relative else self.sd


@dataclass(frozen=True)
class Noise:
    """What is known, by kind and architecture; the architecture "" is all of them together."""

    spreads: dict[tuple[str, str], Spread]
    numbers: Numbers = COMMON

    def of(self, method: str, metric: str, architecture: str) -> Spread | None:
        """The spread of a number; None where no record and no table has several seeds of it."""
        kind = self.numbers.kind_of(method, metric)
        return self.spreads.get((kind, architecture)) or self.spreads.get((kind, ""))

    def is_share(self, method: str, metric: str) -> bool:
        """Whether a number is a share of the test images."""
        return self.numbers.kind_of(method, metric) in self.numbers.shares


def pooled(records: Iterable[Record], printed: pd.DataFrame | None = None, numbers: Numbers = COMMON) -> Noise:
    """Pool the deviations from the mean over seeds, weighted by their degrees of freedom.

    Numbers of one kind that a record has of one data set and network share their seeds and classifiers: their variances
    are averaged, and count as one number of so many seeds. Where fewer than `REPEATED` degrees of freedom are recorded,
    printed ones (of `spreads`) take their place.
    """
    parts = [*(_deviations(record, numbers) for record in records), *([] if printed is None else [printed])]
    if not parts:
        return Noise({}, numbers)
    found = pd.concat([_by_cluster(part).assign(part=place) for place, part in enumerate(parts)])
    both = pd.concat([found, found.assign(architecture="")])
    spreads: dict[tuple[str, str], Spread] = {}
    for source in (RECORDS, PRINT):
        for key, cells in both[both["source"] == source].groupby(["kind", "architecture"]):
            freedom = int(cells["freedom"].sum())
            if key not in spreads and (freedom >= REPEATED.value or source == PRINT):
                sd = float(np.sqrt((cells["variance"] * cells["freedom"]).sum() / freedom))
                spreads[key] = Spread(sd, freedom, bool(cells["relative"].iloc[0]), source)
    for (kind, architecture), spread in list(spreads.items()):
        if kind in numbers.differences:
            spreads[numbers.differences[kind], architecture] = replace(spread, sd=float(np.sqrt(2)) * spread.sd)
    return Noise(spreads, numbers)


def _by_cluster(found: pd.DataFrame) -> pd.DataFrame:
    """One row for each cluster of a part and each kind in it: the mean variance, and the freedom of its seeds."""
    keys = ["cluster", "kind", "architecture", "relative", "source"]
    groups = found.assign(weighted=found["variance"] * found["freedom"]).groupby(keys)
    sums = groups.agg(weighted=("weighted", "sum"), weight=("freedom", "sum"), freedom=("freedom", "max"))
    return sums.assign(variance=sums["weighted"] / sums["weight"])[["variance", "freedom"]].reset_index()


def _deviations(record: Record, numbers: Numbers) -> pd.DataFrame:
    """One row for each number of a record that several seeds measured: its kind, variance, degrees of freedom."""
    rows = numbers.telling(record.rows[~record.rows["metric"].isin(numbers.counts)])
    rows = rows[[pair not in numbers.same for pair in zip(rows["method"], rows["metric"], strict=True)]]
    cell = [name for name in rows.columns if name not in ("seed", "value")]
    found = rows.assign(value=rows["value"].astype(float)).groupby(cell)["value"].agg(["mean", "var", "count"])
    found = found[(found["count"] > 1)].reset_index()
    kinds = [numbers.kind_of(*pair) for pair in zip(found["method"], found["metric"], strict=True)]
    return spreads(found.assign(kind=kinds, cluster=found["dataset"]), RECORDS, numbers)


def spreads(found: pd.DataFrame, source: str, numbers: Numbers = COMMON) -> pd.DataFrame:
    """Variances in the form that `pooled` takes: as shares of the squared mean where a kind's noise is relative.

    Parameters
    ----------
    found
        One row for each number: "architecture", "cluster" (numbers of the same runs have the same one), "kind", "mean",
        "var" and "count" (runs); "metric" if recorded.
    source
        `RECORDS` or `PRINT`.
    numbers
        Says which metrics are relative.
    """
    metrics = found["metric"] if "metric" in found else found["kind"]
    relative = found["kind"].isin([LOSS, CROSS_ENTROPY]) | metrics.isin(numbers.relative)
    found = found.assign(relative=relative.astype(bool), freedom=found["count"] - 1, source=source)
    found = found[~found["relative"] | (found["mean"] > 0)]
    variance = np.where(found["relative"], found["var"] / found["mean"] ** 2, found["var"])
    columns = ["cluster", "kind", "architecture", "relative", "variance", "freedom", "source"]
    return found.assign(variance=variance)[columns]


@lru_cache(maxsize=1)
def recorded() -> Noise:
    """What the committed records know."""
    return pooled(find_records(RECORDED))


def table(noise: Noise) -> pd.DataFrame:
    """The noise of every kind that has a name, for a page of the book: in per cent of the number, or absolute.

    Any other number is a kind of its own; there are hundreds.
    """
    named = {*noise.numbers.kinds.values(), *noise.numbers.differences.values()}
    rows = [
        {
            "kind": kind, "classifier": tables.ARCHITECTURE_NAMES.get(architecture, "all"),
            "sd from seed to seed": f"{spread.sd:.1%}" if spread.relative else f"{spread.sd:.4f}",
            "degrees of freedom": spread.freedom, "from": spread.source,
        }
        for (kind, architecture), spread in sorted(noise.spreads.items())
        if spread.sd > 0 and kind in named
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index(["kind", "classifier"])
