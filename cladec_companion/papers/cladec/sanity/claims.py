"""B51, and what a referee asks beside it: claims Q1 to Q5 are ours, and the paper says nothing about them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cladec_companion.evidence import measurements, tables
from cladec_companion.evidence.claims import RUN, Claim, Comparison, Verdict, every_part, judge, unprinted
from cladec_companion.evidence.comparisons import ABOVE, AGAINST, BELOW, FOR
from cladec_companion.evidence.measurements import FALLING, MARK, Place, evidence_of, where
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.limits import TRAINED as LEARNT
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
    reaches,
)
from cladec_companion.records.record import Record
from cladec_core.data import DATASETS

ATTACKED = {
    "attack_cladec": ("cladec", "attack_change"), "attack_cladec_error": ("cladec", "attack_change_error"),
    "attack_gradcam": ("gradcam", "attack_change"), "attack_gradcam_error": ("gradcam", "attack_change_error"),
}  # fmt: skip
SIMILAR = {f"like_{method}": (method, "rank_correlation") for method in (CLADEC, DIFFERENCE, GRADCAM)}
ALIKE = {f"ssim_{method}": (method, "ssim") for method in (CLADEC, DIFFERENCE, GRADCAM)}
ERRORS = {f"{name}_error": (method, f"{metric}_error") for name, (method, metric) in (SIMILAR | ALIKE).items()}
NUMBERS = {
    **printed_tables.COLUMNS,
    "acc_classifier": ("classifier", "accuracy"),
    "acc_true": ("classifier", "accuracy_train"),
    "acc_own": ("classifier", "accuracy_own"),
    **ATTACKED,
    **SIMILAR,
    **ALIKE,
    **ERRORS,
}
MARKS = FALLING | {MARK + DIFFERENCE: (DIFFERENCE, "still_falling")}
OURS = "a question of ours; the paper says nothing about it"
NAMES = {CLADEC: "image of ClaDec", DIFFERENCE: "image of RefAE less ClaDec's", GRADCAM: "map of GradCAM"}


@dataclass(frozen=True)
class Evidence(measurements.Evidence):
    """The numbers of each check of each layer; the third level of the summary is its name, such as `conv3 trained`."""

    def checks(self, name: str) -> Iterator[tuple[Place, Place]]:
        """Where a check was made, and the trained classifier of the same layer."""
        if self.runs is None:
            return
        for dataset, architecture, cell in self.runs.index.droplevel("seed").unique():
            layer, _, check = str(cell).partition(" ")
            if check == name:
                yield (dataset, architecture, cell), (dataset, architecture, f"{layer} {TRAINED}")


def printed() -> Evidence:
    """The paper prints no number about these claims."""
    return Evidence(pd.DataFrame())


def evidence(record: Record) -> Evidence:
    """What the claims need from a record."""
    named = record.rows["layer"] + " " + record.rows["check"]
    steps = record.rows["randomised"].astype(int)
    cells = named.where(steps == 0, named + " " + steps.astype(str))
    rows = record.rows.assign(cell=cells, value=record.rows["value"].astype(float))
    runs = tables.columns_of(rows, NUMBERS | MARKS, [*RUN, "cell", "seed"])
    found = evidence_of(record, runs, NUMBERS, printed_tables.DIFFERENCES)
    return Evidence(found.summary, record, runs, NUMBERS, printed_tables.known)


@unprinted("anticipated by the paper, which tests nothing of it")
def b51(evidence: Evidence) -> Verdict:
    """Under attacks that leave the prediction as it is, X̂ changes by a smaller share of its variety than GradCAM."""
    found = []
    for cell, _ in evidence.checks(ATTACK):
        terms = {(*cell, "attack_cladec"): 1.0, (*cell, "attack_gradcam"): -1.0}
        if evidence.has(*terms):
            found.append(evidence.contrast(where(cell[:2], str(cell[2])), terms, BELOW))
    return judge(
        found, "X̂ changes less",
        lacking="equal codes give equal X̂ by construction; attacks at a fixed prediction would decide the rest",
    )  # fmt: skip


@unprinted(OURS)
def labels(evidence: Evidence) -> Verdict:
    """Evaluation accuracy from ClaDec is higher for the classifier of true labels than for that of shuffled ones."""
    found = []
    for cell, trained in evidence.checks(SHUFFLED):
        terms = {(*trained, "acc_cladec"): 1.0, (*cell, "acc_cladec"): -1.0}
        if evidence.has(*terms):
            one = evidence.contrast(where(cell[:2], _layer(cell)), terms, ABOVE)
            own = (*cell, "acc_own")
            if evidence.has(own):
                right = f"{evidence.summary.loc[own, 'mean']:.0%} of its own labels right{_by_chance(cell[0])}"
                learnt = f"the classifier of shuffled labels has {right}"
                one = one.with_caveat("; ".join(filter(None, (one.caveat, learnt))))
            found.append(one)
    return judge(found, "true labels give more", lacking="needs the trained classifier beside the shuffled one")


def _by_chance(dataset: str) -> str:
    """What a guess among the classes of a data set would have right; nothing of a folder, whose classes are its own."""
    count = len(DATASETS[dataset].classes) if dataset in DATASETS else 0
    return f", of which {count} classes give {1 / count:.0%} by chance" if count else ""


def _follows(evidence: Evidence, method: str) -> Verdict:
    """Whether explanations of random weights are less like those of the trained ones than another seed's are."""
    found = []
    for again, _ in evidence.checks(AGAIN):
        name = f"like_{method}"
        last = _last(evidence, again)
        terms = {(*again, name): 1.0, (*again[:2], last, name): -1.0}
        if last and evidence.has(*terms):
            found.append(evidence.contrast(where(again[:2], _layer(again)), terms, ABOVE))
    return judge(
        found, f"{NAMES[method]} less alike than from another seed",
        lacking="needs a cascade down to the layer that is explained, and another seed of the classifier",
    )  # fmt: skip


def _last(evidence: Evidence, again: Place) -> str:
    """The check with the most random layers; empty if none comes down to the layer that is explained.

    What lies above it is nothing to ClaDec, whose images are then the same by construction.
    """
    start = f"{_layer(again)} {CASCADE} "
    cells = evidence.cells("like_gradcam").loc[again[:2]].index
    steps = [int(str(cell).removeprefix(start)) for cell in cells if str(cell).startswith(start)]
    return f"{start}{max(steps)}" if steps and reaches(again[1], _layer(again), max(steps)) else ""


def _layer(cell: Place) -> str:
    return str(cell[2]).partition(" ")[0]


@unprinted(OURS)
def cladec_follows(evidence: Evidence) -> Verdict:
    """With as many random layers as were asked for, X̂ is less like the trained one's than another seed's X̂ is."""
    return _follows(evidence, CLADEC)


@unprinted(OURS)
def difference_follows(evidence: Evidence) -> Verdict:
    """What ClaDec lacks of the RefAE's image, which the paper draws, is less alike than another seed's is."""
    return _follows(evidence, DIFFERENCE)


@unprinted(OURS)
def gradcam_follows(evidence: Evidence) -> Verdict:
    """With as many random layers, GradCAM's map is less like the trained one's than another seed's map is."""
    return _follows(evidence, GRADCAM)


@unprinted(OURS)
def pooling(evidence: Evidence) -> Verdict:
    """Trained at a rate at which it learns, max-pooling gives ΔRec and ΔAcc the signs that strides give them."""
    parts = {}
    for difference, pair in printed_tables.DIFFERENCES.items():
        found = [_sign(evidence, *cells, pair) for cells in evidence.checks(POOLED)]
        name = printed_tables.HEADINGS[difference]
        parts[name] = judge([one for one in found if one], f"{name} has the sign that it has with strides")
    return every_part(parts)


def _sign(evidence: Evidence, pooled: Place, strided: Place, pair: tuple[str, str]) -> Comparison | None:
    """One difference of the pooled network against the sign of the strided one's; None if one was not measured."""
    terms = [{(*cell, pair[0]): 1.0, (*cell, pair[1]): -1.0} for cell in (pooled, strided)]
    accuracy = [(*cell, "acc_classifier") for cell in (pooled, strided)]
    if not evidence.has(*terms[0], *terms[1], *accuracy):
        return None
    what = where(pooled[:2], _layer(pooled))
    usual = evidence.contrast(what, terms[1], ABOVE)
    found = evidence.contrast(what, terms[0], BELOW if usual.reading == AGAINST else ABOVE)
    if usual.reading not in (FOR, AGAINST):
        return found.barred("the strided network's has no clear sign")
    own, other = (float(evidence.summary.loc[cell, "mean"]) for cell in accuracy)
    learnt = own >= LEARNT.value * other
    return found if learnt else found.barred("its classifier has hardly learnt", too_short=True)


def rates(record: Record) -> pd.DataFrame:
    """How accurate max-pooling is at each rate that was tried, on training and on test images; means over seeds."""
    rows = record.rows[record.rows["method"].str.startswith("classifier at rate")]
    rows = rows.assign(rate=rows["method"].str.removeprefix("classifier at rate ").astype(float))
    wide = rows.pivot_table(index=[*RUN, "rate"], columns="metric", values="value").sort_index(ascending=False)
    names = {"accuracy_train": "training images", "accuracy": "test images"}
    wide = wide.reindex(columns=list(names)).rename(columns=names).rename_axis(columns=None)
    index = tables.DATASET_NAMES | tables.ARCHITECTURE_NAMES
    return wide.rename(index=index, level=0).rename(index=index, level=1).round(3)


def learnt(record: Record) -> pd.DataFrame:
    """What each classifier has learnt, and what ClaDec and the RefAE keep of the images: means over seeds.

    Returns
    -------
    DataFrame
        By data set, network, layer and check: accuracy of the classifier on test images, and on training images with
        the labels that it was trained on; both losses (standardised mean), both evaluation accuracies.
    """
    rows = record.rows[record.rows["check"].isin([TRAINED, SHUFFLED, POOLED])]
    columns = {name: NUMBERS[name] for name in ("acc_classifier", "acc_own", "acc_true")} | printed_tables.COLUMNS
    keys = [*RUN, "layer", "check"]
    means = tables.columns_of(rows, columns, [*keys, "seed"]).groupby(level=keys, sort=False).mean()
    means["acc_own"] = means["acc_own"].fillna(means["acc_true"])
    names = {"acc_classifier": "Acc of C", "acc_own": "on its own labels", **printed_tables.HEADINGS}
    table = (
        means.drop(columns="acc_true")
        .rename(columns=names)
        .rename(index=tables.DATASET_NAMES | tables.ARCHITECTURE_NAMES)
    )
    return table.rename_axis(columns=None).map(lambda value: "–" if np.isnan(value) else f"{value:.3f}")


def similarities(record: Record, metric: str = "rank_correlation") -> pd.DataFrame:
    """How alike explanations are to the trained classifier's, by layer and number of random layers: means over seeds.

    Parameters
    ----------
    metric
        `rank_correlation` or `ssim`.

    Returns
    -------
    DataFrame
        Indexed by data set, network, layer and number of random layers; columns `cladec`, `difference`, `gradcam`.
    """
    rows = record.rows[(record.rows["check"] == CASCADE) & (record.rows["metric"] == metric)]
    table = rows.pivot_table(index=[*RUN, "layer", "randomised"], columns="method", values="value")
    table = table[[CLADEC, DIFFERENCE, GRADCAM]].rename_axis(columns=None)
    return table.rename(index=tables.DATASET_NAMES | tables.ARCHITECTURE_NAMES)


def attacked(record: Record) -> pd.DataFrame:
    """How far an attack moves what is shown, as a share of how far that of two images is apart; means over seeds."""
    rows = record.rows[record.rows["metric"] == "attack_change"]
    table = rows.pivot_table(index=[*RUN, "layer"], columns="method", values="value")
    names = {"input": "image", "layer": "code", CLADEC: NAMES[CLADEC], GRADCAM: NAMES[GRADCAM]}
    table = table.reindex(columns=list(names)).rename(columns=names).rename_axis(columns=None)
    return table.rename(index=tables.DATASET_NAMES | tables.ARCHITECTURE_NAMES).round(3)


CLAIMS = [
    Claim(
        "B51",
        "2",
        "Explanations should be less sensitive to perturbations that leave the predicted class as it is (the "
        "paper's [17]; its [22] is not tested)",
        b51,
    ),
    Claim(
        "Q1",
        "ours",
        "Reconstructions of a classifier with true labels serve classification better than those of one with shuffled "
        "labels",
        labels,
    ),
    Claim("Q2", "ours", "ClaDec's images follow the weights", cladec_follows),
    Claim("Q3", "ours", "What ClaDec lacks of the reference follows the weights", difference_follows),
    Claim("Q4", "ours", "GradCAM's maps follow the weights", gradcam_follows),
    Claim("Q5", "ours", "Max-pooling that learns gives the same signs as strides", pooling, limits=(LEARNT,)),
]
