"""What the figures of the chapter `heatmaps` show, from the record that they are drawn from."""

import pandas as pd

from cladec_companion.evidence import tables
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
    return {
        "fig-heatmaps-gallery": _gallery(record), "fig-heatmaps-flipping": _flipping(record),
        "fig-heatmaps-sanity": _sanity(record), "fig-heatmaps-ranks": _ranks(record),
    }  # fmt: skip


def _means(record: Record, metric: str) -> pd.Series:
    """Mean of a number over data sets and seeds by method, controls left out, the smallest first."""
    runs = evidence(record).runs
    assert runs is not None
    means = runs.astype(float).mean()
    asked = [name for name, method in METHODS.items() if method.kind != CONTROL]
    return means.reindex([column(name, metric) for name in asked]).set_axis(asked).dropna().sort_values()


def _ends(values: pd.Series) -> tuple[str, str]:
    """The methods with the smallest and the largest of sorted numbers, ties together; empty where there are no two."""
    if len(values) < 2:
        return "", ""
    shown = values.map("{:.2f}".format)
    first, last = (
        f"{tables.joined(METHODS[str(name)].title for name in shown.index[shown == end])} ({end})"
        for end in shown.iloc[[0, -1]]
    )
    return first, last


def _gallery(record: Record) -> str:
    least, most = _ends(_means(record, "roughness" + FEW))
    return least and (
        f"Of the methods that ask the network, neighbouring pixels differ least in the maps of {least} and most in "
        f"those of {most}."
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
    least, most = _ends(rows[rows["flipped"] == nearest].groupby("method")["value"].mean().sort_values())
    return least and (
        f"With the most relevant {nearest:.0%} of the pixels made grey, the class keeps the smallest probability by "
        f"the map of {least} and the largest by that of {most}."
    )


def _sanity(record: Record) -> str:
    least, most = _ends(_means(record, "class_similarity" + FEW))
    return least and (
        f"Of the methods that ask the network, {least} has the maps that are least alike for another class (size of "
        f"the correlation), and {most} those that are most alike."
    )


def _ranks(record: Record) -> str:
    order = overall(evidence(record))
    order = order[[METHODS[str(name)].kind != CONTROL for name in order.index]]
    if order.empty:
        return ""
    best, told = order.iloc[0], ""
    if "cladec" in order.index:
        place = f"{list(order.index).index('cladec') + 1} of {len(order)}"
        told = f"; {METHODS['cladec'].title}, which not every criterion can be asked of, comes {place}"
    interval = f", {best['low']:.1f} to {best['high']:.1f}" if best["n"] > 1 else ""
    return f"{METHODS[str(order.index[0])].title} has the best mean rank ({best['rank']:.1f}{interval}){told}."
