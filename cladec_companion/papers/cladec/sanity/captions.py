"""What the figures of the chapter `sanity` show, from the record that they are drawn from."""

import pandas as pd

from cladec_companion.evidence.lines import first_run
from cladec_companion.papers.cladec.sanity.claims import NAMES
from cladec_companion.papers.cladec.sanity.experiment import (
    AGAIN,
    ATTACK,
    CASCADE,
    CLADEC,
    DIFFERENCE,
    GRADCAM,
    POOLED,
    SHUFFLED,
    TRAINED,
)
from cladec_companion.papers.cladec.sanity.figures import layers
from cladec_companion.records.record import Record

SAME = 0.9999  # a rank correlation above this is of explanations that did not change
LEARNT = {TRAINED: "true labels", SHUFFLED: "shuffled labels", POOLED: "max-pooling"}


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentences that its caption begins with."""
    return {
        "fig-sanity-cascade": _cascade(record), "fig-sanity-similarity": _similarity(record),
        "fig-sanity-learnt": _learnt(record), "fig-sanity-attacks": _attacks(record),
    }  # fmt: skip


def _means(record: Record, check: str, metric: str) -> pd.Series:
    """Means over seeds of the run and the layer that are drawn: by number of random layers and method."""
    drawn = layers(record, check)
    rows = record.rows[(record.rows["check"] == check) & (record.rows["metric"] == metric)]
    run = first_run(record)
    rows = rows[(rows["dataset"] == run[0]) & (rows["architecture"] == run[1]) & rows["layer"].isin(drawn[:1])]
    values = rows.assign(value=rows["value"].astype(float), randomised=rows["randomised"].astype(int))
    return values.groupby(["randomised", "method"])["value"].mean()


def _cascade(record: Record) -> str:
    means = _means(record, CASCADE, "rank_correlation")
    if means.empty:
        return ""
    wide = means.unstack("method")
    changed = wide.index[wide[CLADEC] < SAME]
    if changed.empty:
        return ""
    first, last = changed[0], wide.index[-1]
    changed_to, begun, ended = wide.loc[first, CLADEC], wide.loc[wide.index[0], GRADCAM], wide.loc[last, GRADCAM]
    return (
        f"ClaDec's image first changes with {first} random layers, to a rank correlation of {changed_to:.2f} with the "
        f"trained classifier's; GradCAM's map has {begun:.2f} with {wide.index[0]} and {ended:.2f} with {last}."
    )


def _similarity(record: Record) -> str:
    means, again = _means(record, CASCADE, "rank_correlation"), _means(record, AGAIN, "rank_correlation")
    if means.empty or again.empty:
        return ""
    last = means.index.get_level_values("randomised").max()
    said = [
        f"{NAMES[method]} {means[last, method]:.2f} ({again[0, method]:.2f})"
        for method in (CLADEC, DIFFERENCE, GRADCAM)
    ]
    return f"Rank correlation with {last} random layers (and of another seed): {', '.join(said)}."


def _learnt(record: Record) -> str:
    accuracy = {check: _means(record, check, "accuracy").get((0, CLADEC)) for check in LEARNT}
    said = [f"{value:.1%} with {LEARNT[check]}" for check, value in accuracy.items() if value is not None]
    return f"Evaluation accuracy from ClaDec's images: {', '.join(said)}." if said else ""


def _attacks(record: Record) -> str:
    means = _means(record, ATTACK, "attack_change")
    if means.empty:
        return ""
    return (
        f"Of the distance between the explanations of two images, the attack moves ClaDec's image by "
        f"{means[0, CLADEC]:.0%} and GradCAM's map by {means[0, GRADCAM]:.0%}."
    )
