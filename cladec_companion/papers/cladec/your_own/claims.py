"""Which of its signs gives a cheating classifier away, in which layer; the paper makes no claim about it."""

from collections.abc import Callable, Iterator

import pandas as pd

from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.evidence.claims import RUN, Comparison, Evidence, Verdict, judge
from cladec_companion.evidence.comparisons import ABOVE, BELOW, Region
from cladec_companion.evidence.measurements import MARK, evidence_of
from cladec_companion.evidence.thresholds import Threshold
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.your_own.experiment import BIASED, HONEST
from cladec_companion.records.record import Record

CLEARLY = Threshold("points at (your own)", 2.0, "times as much as its area, or as the other has", "2026-11-21")
HALF = Threshold("is there (your own)", 0.5, "share of a marker; with more of it, it is there", "2026-11-21")

Place = tuple[str, str, str]  # data set, architecture, layer
Finding = Callable[[Evidence, Place], list[Comparison]]


def _name(method: str, metric: str) -> str:
    """Column of a number."""
    return MARK + method if metric == "still_falling" else f"{method}: {metric}"


def _contrast(
    evidence: Evidence, place: Place, weights: dict[tuple[str, str], float], claimed: Region, limit: float = 0.0
) -> Comparison:
    terms = {(*place, _name(*number)): weight for number, weight in weights.items()}
    what = " and ".join(method for method, _ in weights) + (f" less {limit:.2f}" if limit else "")
    return evidence.contrast(what, terms, claimed, offset=-limit)


def _points(*methods: str, others: bool = False) -> Finding:
    """The maps of all these methods have clearly more energy in the marker than its area."""

    def compare(evidence: Evidence, place: Place) -> list[Comparison]:
        area = float(evidence.summary.loc[(*place, _name("area", "share")), "mean"])  # of the image: no noise
        metric = "share_others" if others else "share"
        return [_contrast(evidence, place, {(method, metric): 1.0}, ABOVE, CLEARLY.value * area) for method in methods]

    return compare


def _draws_one(evidence: Evidence, place: Place) -> list[Comparison]:
    return [_contrast(evidence, place, {(f"ClaDec, {HONEST}", "drawn_bare"): 1.0}, ABOVE, HALF.value)]


def _keeps_the_marker(evidence: Evidence, place: Place) -> list[Comparison]:
    return [
        _contrast(evidence, place, {(f"ClaDec, {name}", "drawn_others"): 1.0}, claimed, HALF.value)
        for name, claimed in ((BIASED, ABOVE), (HONEST, BELOW))
    ]


def _changes_the_rest(evidence: Evidence, place: Place) -> list[Comparison]:
    weights = {(f"ClaDec, {BIASED}", "changed_others"): 1.0, (f"ClaDec, {HONEST}", "changed_others"): -CLEARLY.value}
    return [_contrast(evidence, place, weights, ABOVE)]


# Stands before the answers, which the book also tells on another page and above the chapter's text.
BACKGROUND = (
    "One class carried a grey square in the biased classifier's training images; the honest classifier saw as many "
    "squares, on random images. The layers to which an answer applies are named in brackets."
)
WITHOUT_LAYER = "on the marked class, occlusion and LIME point at the square"  # their maps are of the whole network
FINDINGS: dict[str, Finding] = {
    WITHOUT_LAYER: _points(f"occlusion, {BIASED}", f"LIME, {BIASED}"),
    "on the marked class, ClaDec's difference from the reference points at the square": _points(f"ClaDec, {BIASED}"),
    "on the marked class, the difference of the two classifiers' ClaDec images points at the square": _points(
        "two models"
    ),
    "the honest classifier's decoder draws the square even on images of the marked class that have none": _draws_one,
    "on other classes, ClaDec's difference from the reference points at an added square": _points(
        f"ClaDec, {BIASED}", others=True
    ),
    "on other classes, the difference of the two classifiers' ClaDec images points at an added square": _points(
        "two models", others=True
    ),
    "on other classes, the biased classifier keeps an added square, the honest one does not": _keeps_the_marker,
    "on other classes, an added square changes the rest of the picture more for the biased classifier than for the "
    "honest one": _changes_the_rest,
}


def by_run(record: Record) -> pd.DataFrame:
    """One row per layer and run; (method, metric) as columns, those that know no layer repeated for each."""
    wide = record.rows.pivot_table(index=["layer", *RUN, "seed"], columns=["method", "metric"], values="value")
    own = wide.drop(CLASSIFIER, level="layer").dropna(axis=1, how="all")
    common = wide.xs(CLASSIFIER, level="layer").dropna(axis=1, how="all")
    beside = common.reindex(own.index.droplevel("layer")).set_axis(own.index)
    return pd.concat([own, beside], axis=1)


def evidence(record: Record) -> Evidence:
    """The numbers of each layer and run, by data set, architecture and layer."""
    wide = by_run(record).reorder_levels([*RUN, "layer", "seed"]).sort_index()
    columns = {_name(*number): number for number in wide.columns}
    return evidence_of(record, wide.set_axis(list(columns), axis=1), columns, known=printed_tables.known)


def findings(record: Record) -> pd.DataFrame:
    """A verdict on each of `FINDINGS` for each layer, by the rule of all claims.

    "Points at" means a share of energy above twice the area, "more" more than twice as much; a square of which more
    than half is drawn is there.
    """
    rows: dict[str, dict[str, str]] = {}
    for (text, layer), verdict in _judged(record):
        rows.setdefault(text, {})[layer] = f"{verdict.verdict}: {verdict.evidence}"
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("finding")


def findings_of(record: Record) -> dict[str, Verdict]:
    """Each finding with the layers that share its verdict, as a sentence -> one of these verdicts."""
    layers: dict[tuple[str, str], list[str]] = {}
    verdicts: dict[tuple[str, str], Verdict] = {}
    for (text, layer), verdict in _judged(record):
        layers.setdefault((text, verdict.verdict), []).append(layer)
        verdicts[text, verdict.verdict] = verdict
    return {
        text if text == WITHOUT_LAYER else f"{text} ({', '.join(layers[text, state])})": one
        for (text, state), one in verdicts.items()
    }


def _judged(record: Record) -> Iterator[tuple[tuple[str, str], Verdict]]:
    """Finding and layer, and the verdict on them."""
    found = evidence(record)
    assert found.runs is not None
    places = found.runs.index.droplevel("seed").unique()
    for text, compare in FINDINGS.items():
        for layer in places.unique("layer"):
            compared = [one for place in places if place[2] == layer for one in compare(found, place)]
            yield (text, layer), judge(compared, "so")
