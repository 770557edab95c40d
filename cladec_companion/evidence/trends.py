"""Trends along an axis (layers, α, epochs, sizes of subsets): one test each, and the tests between neighbours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from cladec_companion.evidence.comparisons import ABOVE, Comparison, Region
from cladec_companion.evidence.measurements import Entry, Evidence, where

LEAST = 3  # values that make a trend


def slope(ranks: Sequence[float]) -> np.ndarray:
    """Weights that turn values at these ranks into the slope of the straight line through them."""
    centred = np.asarray(ranks, dtype=float) - np.mean(ranks)
    return centred / np.square(centred).sum()


def trend(
    evidence: Evidence, run: tuple[str, str], values: Sequence[float], metrics: Mapping[str, float],
    claimed: Region = ABOVE, *, log: bool = False, label: str = "",
) -> Comparison:  # fmt: skip
    """Compare the slope over ranks with a region: the mean change from one value along the axis to the next.

    Parameters
    ----------
    run
        Data set and architecture.
    values
        Along the axis, in the order of the ranks.
    metrics
        Columns and their signs, such as both losses for the trend of their difference.
    claimed, log
        As of `Evidence.contrast`: with `log`, the mean relative change.
    """
    weights: dict[Entry, float] = {
        (*run, value, metric): sign * weight
        for value, weight in zip(values, slope(range(len(values))), strict=True)
        for metric, sign in metrics.items()
    }
    return evidence.contrast(where(run, label), weights, claimed, log=log)


def trends(
    evidence: Evidence, metrics: Mapping[str, float] | str, claimed: Region = ABOVE, *, log: bool = False,
    least: int = LEAST, label: str = "",
) -> list[Comparison]:  # fmt: skip
    """One trend for each data set and architecture that has `least` or more values along the axis."""
    metrics = {metrics: 1.0} if isinstance(metrics, str) else metrics
    first = next(iter(metrics))
    found = []
    for run, chain in evidence.chains(first):
        values = [at for at in chain.index if evidence.has(*((*run, at, metric) for metric in metrics))]
        if len(values) >= least:
            found.append(trend(evidence, run, values, metrics, claimed, log=log, label=label))
    return found


def ends(evidence: Evidence, metrics: Mapping[str, float]) -> list[Comparison]:
    """The last value along the axis minus the first, for each data set and architecture with three or more."""
    found = []
    for run, chain in evidence.chains(next(iter(metrics)), LEAST):
        first, last = chain.index[0], chain.index[-1]
        weights = {
            (*run, at, metric): sign * way for at, way in ((last, 1), (first, -1)) for metric, sign in metrics.items()
        }
        if evidence.has(*weights):
            found.append(evidence.contrast(where(run), weights))
    return found


@dataclass(frozen=True)
class Step:
    """The change of a metric from one value along the axis to the next, with the p-values of two-sided t-tests.

    `welch` takes the runs for independent, `paired` pairs them by seed; NaN where they cannot be had.
    """

    run: tuple[str, str]
    before: float
    after: float
    change: float
    welch: float
    paired: float


def steps(evidence: Evidence, metric: str) -> list[Step]:
    """Compare a metric between neighbours along the axis, in every run that has them."""
    found = []
    for run, chain in evidence.chains(metric):
        for before, after in pairwise(chain.index):
            first, second = chain.loc[before], chain.loc[after]
            columns = [float(part[name]) for part in (first, second) for name in ("mean", "sd", "n")]
            welch = np.nan
            if min(first["n"], second["n"]) > 1:
                welch = stats.ttest_ind_from_stats(*columns, equal_var=False).pvalue
            change = second["mean"] - first["mean"]
            found.append(Step(run, before, after, change, welch, _paired(evidence, run, metric, before, after)))
    return found


def _paired(evidence: Evidence, run: tuple[str, str], metric: str, before: float, after: float) -> float:
    """Paired t-test by seed, for seeds that have both."""
    if evidence.runs is None:
        return np.nan
    wide = evidence.runs.loc[run, metric].unstack("seed").loc[[before, after]].dropna(axis=1)
    return stats.ttest_rel(*wide.to_numpy()).pvalue if wide.shape[1] > 1 else np.nan


def holm(p: Iterable[float]) -> np.ndarray:
    """Holm's correction for several tests; NaN stays and does not count as a test."""
    values = pd.Series(list(p), dtype=float)
    tested = values.notna()
    if tested.any():
        values[tested] = multipletests(values[tested], method="holm")[1]
    return values.to_numpy()
