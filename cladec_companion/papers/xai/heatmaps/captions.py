"""What the figures of the chapter `heatmaps` show, from the record that they are drawn from."""

import pandas as pd

from cladec_companion.evidence.lines import first_run
from cladec_companion.papers.xai.attribution import METHODS
from cladec_companion.papers.xai.attribution.methods import CONTROL
from cladec_companion.papers.xai.heatmaps.claims import column, evidence
from cladec_companion.papers.xai.heatmaps.experiment import FEW
from cladec_companion.papers.xai.heatmaps.figures import CHOSEN
from cladec_companion.papers.xai.heatmaps.ranking import overall
from cladec_companion.records.record import Record

TENTH = 0.1  # of the pixels


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentences that its caption begins with."""
    found = {
        "fig-heatmaps-gallery": _gallery(record), "fig-heatmaps-flipping": _flipping(record),
        "fig-heatmaps-sanity": _sanity(record), "fig-heatmaps-ranks": _ranks(record),
    }  # fmt: skip
    return {name: text for name, text in found.items() if text}


def _means(record: Record, metric: str) -> pd.Series:
    """Mean of a number over data sets and seeds by method, controls left out, the smallest first."""
    runs = evidence(record).runs
    assert runs is not None
    means = runs.astype(float).mean()
    asked = [name for name, method in METHODS.items() if method.kind != CONTROL]
    return means.reindex([column(name, metric) for name in asked]).set_axis(asked).dropna().sort_values()


def _titled(values: pd.Series, place: int) -> str:
    return f"{METHODS[values.index[place]].title} ({values.iloc[place]:.2f})"


def _gallery(record: Record) -> str:
    rough = _means(record, "roughness" + FEW)
    if len(rough) < 2:
        return ""
    return (
        f"Neighbouring pixels differ least in the maps of {_titled(rough, 0)} and most in those of "
        f"{_titled(rough, -1)}, over all recorded runs."
    )


def _flipping(record: Record) -> str:
    """Of the run and the methods that are drawn, where grey replaces a tenth of the pixels."""
    dataset, architecture = first_run(record)
    rows = record.rows[record.rows["metric"] == "curve_mean"].astype({"value": float, "flipped": float})
    rows = rows[(rows["dataset"] == dataset) & (rows["architecture"] == architecture) & rows["method"].isin(CHOSEN)]
    if rows.empty:
        return ""
    shares = rows["flipped"].unique()
    nearest = min(shares, key=lambda share: abs(share - TENTH))
    left = rows[rows["flipped"] == nearest].groupby("method")["value"].mean().sort_values()
    return (
        f"With the most relevant {nearest:.0%} of the pixels made grey, the class keeps the smallest probability by "
        f"the map of {_titled(left, 0)} and the largest by that of {_titled(left, -1)}."
    )


def _sanity(record: Record) -> str:
    alike = _means(record, "class_similarity" + FEW)
    if len(alike) < 2:
        return ""
    return (
        f"Of the methods that ask the network, {_titled(alike, 0)} has the maps that are least alike for another class "
        f"(size of the correlation), and {_titled(alike, -1)} those that are most alike."
    )


def _ranks(record: Record) -> str:
    order = overall(evidence(record))
    order = order[[METHODS[str(name)].kind != CONTROL for name in order.index]]
    if order.empty:
        return ""
    best, told = order.iloc[0], ""
    if "cladec" in order.index:
        told = f"; {METHODS['cladec'].title} comes {list(order.index).index('cladec') + 1} of {len(order)}"
    interval = f", {best['low']:.1f} to {best['high']:.1f}" if best["n"] > 1 else ""
    return f"{METHODS[str(order.index[0])].title} has the best mean rank ({best['rank']:.1f}{interval}){told}."
