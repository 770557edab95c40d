"""Which of its signs gives a cheating classifier away, in which layer; the paper makes no claim about it."""

from collections.abc import Callable

import pandas as pd

from cladec_companion.evidence.claims import RUN, count
from cladec_companion.papers.cladec.layers.experiment import CLASSIFIER
from cladec_companion.papers.cladec.your_own.experiment import BIASED, HONEST
from cladec_companion.records.record import Record

CLEARLY = 2  # times as much
HALF = 0.5  # of a marker; with more of it, it is there


def _points(*methods: str, others: bool = False) -> Callable[[pd.DataFrame], pd.Series]:
    """Whether the maps of all these methods have clearly more energy in the marker than its area."""
    columns = [(method, "share_others" if others else "share") for method in methods]
    return lambda runs: runs[columns].min(axis=1) > CLEARLY * runs["area", "share"]


def _keeps_the_marker(runs: pd.DataFrame) -> pd.Series:
    biased, honest = (runs[f"ClaDec, {name}", "drawn_others"] for name in (BIASED, HONEST))
    return (biased > HALF) & (honest < HALF)


def _changes_the_rest(runs: pd.DataFrame) -> pd.Series:
    biased, honest = (runs[f"ClaDec, {name}", "changed_others"] for name in (BIASED, HONEST))
    return biased > CLEARLY * honest


FINDINGS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "marked class: occlusion and LIME point at the marker": _points(f"occlusion, {BIASED}", f"LIME, {BIASED}"),
    "marked class: ClaDec's difference from the reference points at it": _points(f"ClaDec, {BIASED}"),
    "marked class: the difference of the two models points at it": _points("two models"),
    "marked class without the marker: the honest classifier's decoder draws one all the same": (
        lambda runs: runs[f"ClaDec, {HONEST}", "drawn_bare"] > HALF
    ),
    "other classes: ClaDec's difference from the reference points at it": _points(f"ClaDec, {BIASED}", others=True),
    "other classes: the difference of the two models points at it": _points("two models", others=True),
    "other classes: the biased classifier keeps the marker, the honest one does not": _keeps_the_marker,
    "other classes: the marker changes the rest of the picture, more than in the honest classifier": _changes_the_rest,
}


def by_run(record: Record) -> pd.DataFrame:
    """One row per layer and run; (method, metric) as columns, those that know no layer repeated for each."""
    wide = record.rows.pivot_table(index=["layer", *RUN, "seed"], columns=["method", "metric"], values="value")
    own = wide.drop(CLASSIFIER, level="layer").dropna(axis=1, how="all")
    common = wide.xs(CLASSIFIER, level="layer").dropna(axis=1, how="all")
    beside = common.reindex(own.index.droplevel("layer")).set_axis(own.index)
    return pd.concat([own, beside], axis=1)


def findings(record: Record) -> pd.DataFrame:
    """Whether each of `FINDINGS` is so in every run of a layer.

    "Points at" means a share of energy above twice the area, "more" more than twice as much; a marker of which more
    than half is drawn is there.
    """
    runs = by_run(record)
    rows = []
    for text, holds in FINDINGS.items():
        row = {"finding": text}
        for layer, hits in holds(runs).groupby(level="layer"):
            verdict = count(hits, "so")
            row[layer] = f"{verdict.verdict}: {verdict.evidence}"
        rows.append(row)
    return pd.DataFrame(rows).set_index("finding")
