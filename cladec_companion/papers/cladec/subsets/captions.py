"""What the figures of the chapter `subsets` show, from the record that they are drawn from."""

import pandas as pd

from cladec_companion.evidence.lines import first_run
from cladec_companion.papers.cladec.subsets.claims import LOSS, Evidence, improvement
from cladec_companion.records.record import Record
from cladec_core.data import DATASETS


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with."""
    run, found = first_run(record), Evidence(record)
    losses, seen = (dict(found.nested("cladec", metric))[run]["mean"] for metric in (LOSS, "accuracy"))
    everything, fewest = losses.index[-1], losses.index[0]
    seen_by_few, losses_of_few = (_of_fewest(found, metric, run, fewest) for metric in ("accuracy", LOSS))
    few = f"{'a single one' if fewest == 1 else f'{fewest} of them'} ({len(seen_by_few)} tried)"
    by_class = improvement(record).loc[run]
    part, whole = by_class.loc["disjoint"].groupby("class").mean(), by_class.loc["nested"].loc[everything]["accuracy"]
    whole, names = whole.groupby("class").mean(), DATASETS[run[0]].classes
    ends = [
        f"{part['accuracy'][label]:.0%} of the images of the class {names[int(label)]} ({whole[label]:.0%})"
        for label in (part["accuracy"].idxmax(), part["accuracy"].idxmin())
    ]
    probe = part["probe"].corr(part["accuracy"], method="spearman")
    close = losses.index[(losses - losses[everything]) / losses[everything] <= 0.1][0]
    return {
        "fig-subsets-nested": f"The classifier recognises {seen[everything]:.0%} of the reconstructions from all "
        f"{everything} channels, and {_range(seen_by_few, '.0%')} of those from {few}.",
        "fig-subsets-disjoint": f"On average over the subsets (in brackets: from all {everything} channels), the "
        f"classifier recognises {' and '.join(ends)}.",
        "fig-subsets-classes": f"Rank correlation of the probe's accuracy and the classifier's, over classes: "
        f"{probe:.2f} (this says which classes are easy, not whether subsets are specific).",
        "fig-subsets-size": f"With {close} of {everything} channels the loss is within a tenth of that of all of them; "
        f"with {few} it is {_range(losses_of_few / losses[everything], '.1f')} times as high.",
    }  # fmt: skip


def _of_fewest(found: Evidence, metric: str, run: tuple[str, str], fewest: int) -> pd.Series:
    """A number from every recorded choice of so few channels: the first ones are one choice of several."""
    rows = found.values("cladec", metric)
    rows = rows[(rows["dataset"] == run[0]) & (rows["architecture"] == run[1]) & (rows["size"] == fewest)]
    return rows.loc[rows["subset"] != "disjoint", "value"]  # of which the first is the first nested one again


def _range(values: pd.Series, digits: str) -> str:
    """Such as `10% to 30%`, or a single number."""
    return " to ".join(dict.fromkeys(f"{value:{digits}}" for value in (values.min(), values.max())))
