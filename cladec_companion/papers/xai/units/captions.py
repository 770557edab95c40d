"""What the figures of the chapter `units` show, from the record that they are drawn from."""

import pandas as pd

from cladec_companion.evidence import tables
from cladec_companion.evidence.tables import DATASET_NAMES
from cladec_companion.papers.xai.dissection import DETECTS
from cladec_companion.papers.xai.maximisation import PRIORS
from cladec_companion.papers.xai.units.activation_maximisation import CLASSES, GENERATORS, TITLES
from cladec_companion.papers.xai.units.claims import column, evidence, layers_of
from cladec_companion.papers.xai.units.network_dissection import CHANCE, OWN, TURNED
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages

WITH_PRIOR = tuple(name for name in PRIORS if name != "none")


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentences that its caption begins with."""
    return {
        "fig-units-wanted": _wanted(record), "fig-units-recognised": _recognised(record),
        "fig-units-detectors": _detectors(record), "fig-units-detected": _detected(record),
    }  # fmt: skip


def _means(record: Record, at: str) -> pd.Series:
    """Mean of each number over data sets and seeds."""
    runs = evidence(record).runs
    assert runs is not None
    if at not in runs.index.get_level_values("at"):
        return pd.Series(dtype=float)
    return runs.xs(at, level="at").astype(float).mean()


def _wanted(record: Record) -> str:
    means = _means(record, CLASSES)
    names = ("none", "highest"), ("none", "judged"), ("real", "judged")
    if any(pd.isna(means.get(column(*name))) for name in names):
        return ""
    own, judge, real = (means[column(*name)] for name in names)
    return (
        f"Without a prior, the network takes {own:.0%} of the images for the class, another network {judge:.0%}; "
        f"of the best test images the other network recognises {real:.0%}."
    )


def _recognised(record: Record) -> str:
    means = _means(record, CLASSES)
    alike = 1 - means.reindex([column(name, "unlike") for name in (*WITH_PRIOR, *GENERATORS)]).dropna()
    if alike.empty or column("none", "unlike") not in means:
        return ""
    titles = {column(name, "unlike"): f"“{TITLES[name]}”" for name in (*WITH_PRIOR, *GENERATORS)}
    titles[column("all", "unlike")] = "all priors together"
    shown, without = alike.map("{:.2f}".format), 1 - means[column("none", "unlike")]
    best = shown[alike.idxmax()]
    names = tables.joined(titles[str(name)] for name in shown.index[shown == best])
    return (
        f"Of the searches with a prior, the images of {names} resemble a real one most (correlation {best}); without a "
        f"prior the correlation is {without:.2f}."
    )


def _detectors(record: Record) -> str:
    images = next((RunImages.of(record, *run) for run in dict.fromkeys(_dissected(record))), None)
    if images is None or ("detectors", "iou") not in images:
        return ""
    scores = images["detectors", "iou"]
    return (
        f"The largest overlap is {scores.max():.2f}; {int((scores > DETECTS).sum())} of these {len(scores)} units pass "
        f"the limit of {DETECTS:g}."
    )


def _dissected(record: Record) -> list[tuple[str, str]]:
    return [key[:2] for key in evidence(record).cells(column(OWN, "unique")).index]


def _detected(record: Record) -> str:
    found, said = evidence(record), []
    for run in dict.fromkeys(_dissected(record)):
        last = (*run, layers_of(found, run)[-1])
        own, turned, chance = (found.cells(column(name, "unique")).loc[last, "mean"] for name in (OWN, TURNED, CHANCE))
        said.append(f"{own:.1f} on {DATASET_NAMES[run[0]]} ({turned:.1f} in a random basis, {chance:.1f} by chance)")
    return f"Concepts with a detector in the last convolution, on average: {', '.join(said)}." if said else ""
