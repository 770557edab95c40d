"""What the figure of the chapter `controls` shows, from the record that it is drawn from."""

import pandas as pd

from cladec_companion.papers.cladec.controls.claims import KEYS, SCALED, runs
from cladec_companion.papers.cladec.controls.settings import BASELINE
from cladec_companion.papers.cladec.limits import TRAINED
from cladec_companion.papers.cladec.printed_tables import DIFFERENCES
from cladec_companion.records.record import Record

DECIMALS = {"d_rec": 1, "d_acc": 3}  # of a raw sum per image, and of an accuracy


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with; of the layer in the figure's first row."""
    means = runs(record).groupby(level=KEYS).mean()
    *run, layer, _ = means.index[0]
    controls = means.loc[(*run, layer)]
    learnt = controls["acc_classifier"] >= TRAINED.value * controls.loc[BASELINE, "acc_classifier"]
    found = [_range(controls.loc[learnt, metric].dropna(), metric) for metric in DIFFERENCES]
    if not all(found):
        return {}
    left_out = "".join(f" Not counted: {name}, whose classifier has not learnt." for name in controls.index[~learnt])
    return {"fig-controls-recorded": f"At {layer}, {'; '.join(found)}.{left_out}"}


def _range(values: pd.Series, metric: str) -> str:
    """Where a difference lies, at the baseline and under the other controls; empty without one of the two."""
    others, digits = values.drop(BASELINE, errors="ignore"), DECIMALS[metric]
    if others.empty or BASELINE not in values:
        return ""
    low, high = (f"{others[name]:.{digits}f} ({name})" for name in (others.idxmin(), others.idxmax()))
    return f"{SCALED[metric]} is {values[BASELINE]:.{digits}f} at the baseline and {low} to {high} under the controls"
