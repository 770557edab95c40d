"""What claims about a trend share: values along an axis (α, epochs), compared step by step and tested."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import SIGNIFICANT, Evidence, Verdict, count
from cladec_companion.records.record import Record

# Two standard errors of the difference of two single runs, as a share of the loss: in Tables 4 to 6 most standard
# deviations of a reconstruction loss are 1 to 4 % of its mean.
NOISE = 0.1
Pairs = Callable[[Sequence[float]], Iterable[tuple[float, float]]]


@dataclass(frozen=True)
class Step:
    """The change of a metric between two values along the axis.

    `noise` is what a single run's change must exceed to count (0 for several runs, whose sd speaks for itself); `welch`
    and `paired` are two-sided p-values, NaN where they cannot be had.
    """

    run: tuple[str, str]
    before: float
    after: float
    change: float
    noise: float
    welch: float
    paired: float

    @property
    def clear(self) -> bool:
        """Whether the sign of the change stands out."""
        return abs(self.change) > self.noise


def evidence_of(record: Record, runs: pd.DataFrame) -> Evidence:
    """Metrics of each run, in columns, by dataset, architecture, axis and seed, with their summary."""
    return Evidence(tables.summarise_runs(runs), record, runs)


def neighbours(values: Sequence[float]) -> Iterable[tuple[float, float]]:
    """Each value with the next."""
    return pairwise(values)


def ends(values: Sequence[float]) -> Iterable[tuple[float, float]]:
    """The first value with the last."""
    return [(values[0], values[-1])] if len(values) > 1 else []


def compare(evidence: Evidence, metric: str, pairs: Pairs = neighbours) -> list[Step]:
    """Compare a metric between pairs of values along the axis, in every run that has them."""
    steps = []
    for run, chain in evidence.chains(metric):
        for before, after in pairs(list(chain.index)):
            first, second = chain.loc[before], chain.loc[after]
            columns = [part[name] for part in (first, second) for name in ("mean", "sd", "n")]
            repeated = min(first["n"], second["n"]) > 1
            steps.append(
                Step(
                    run,
                    before,
                    after,
                    second["mean"] - first["mean"],
                    0.0 if repeated else noise(evidence, run, metric, max(abs(first["mean"]), abs(second["mean"]))),
                    stats.ttest_ind_from_stats(*columns, equal_var=False).pvalue if repeated else np.nan,
                    _paired(evidence, run, metric, before, after),
                )
            )
    return steps


def noise(evidence: Evidence, run: tuple[str, str], metric: str, size: float) -> float:
    """How far a single run's number may be off: two standard errors of a share, or a share of a loss."""
    if evidence.record is None or metric.split("_")[0] not in ("acc", "d"):
        return NOISE * size
    return evidence.share_noise(run[0], evidence.cells("acc_cladec").loc[run, "mean"].mean())


def _paired(evidence: Evidence, run: tuple[str, str], metric: str, before: float, after: float) -> float:
    """Paired t-test by seed, for seeds that have both."""
    if evidence.runs is None:
        return np.nan
    wide = evidence.runs.loc[run, metric].unstack("seed").loc[[before, after]].dropna(axis=1)
    return stats.ttest_rel(*wide.to_numpy()).pvalue if wide.shape[1] > 1 else np.nan


def holm(p: Iterable[float]) -> np.ndarray:
    """Holm's correction for several tests; NaN stays and does not count as a test."""
    values = np.array(list(p), dtype=float)
    order = np.argsort(values)[: np.isfinite(values).sum()]
    factors = len(order) - np.arange(len(order))
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return adjusted


def adjusted(steps: list[Step], test: str) -> np.ndarray:
    """p-values of a test (`welch` or `paired`), with Holm's correction over the steps of each run."""
    p = pd.DataFrame({"run": [str(step.run) for step in steps], "p": [getattr(step, test) for step in steps]})
    return p.groupby("run")["p"].transform(holm).to_numpy(dtype=float)


def significance(steps: list[Step]) -> str:
    """How many steps are significant, as the end of a sentence."""
    parts = []
    for test in ("welch", "paired"):
        p = adjusted(steps, test)
        if np.isfinite(p).any():
            parts.append(f"{int((p < SIGNIFICANT).sum())} of {int(np.isfinite(p).sum())} ({test.replace('w', 'W')})")
    return f"; p < {SIGNIFICANT} after Holm in {' and '.join(parts)}" if parts else "; one run each, so no test"


def trend(steps: list[Step], what: str, sign: int = 1) -> Verdict:
    """Whether every change has the sign."""
    found = count((sign * step.change > 0 for step in steps), what, clear=(step.clear for step in steps))
    return found.plus(significance(steps) if steps else "")
