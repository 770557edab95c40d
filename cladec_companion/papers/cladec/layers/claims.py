"""Claims B1-B15, about layers (sections 6 and 6.1, Tables 2 and 3, and the conference paper's Table 1)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from cladec_companion.evidence import measurements, tables
from cladec_companion.evidence.claims import (
    FAIR,
    MOST,
    NINE_IN_TEN,
    Claim,
    Comparison,
    Verdict,
    every_part,
    fair_to_reference,
    judge,
    not_comparable,
    too_short,
    undecided,
    unprinted,
)
from cladec_companion.evidence.comparisons import ABOVE, BELOW, Region, sample
from cladec_companion.evidence.measurements import FALLING, evidence_of, where
from cladec_companion.evidence.thresholds import ALMOST_ALWAYS, Threshold
from cladec_companion.evidence.trends import ends, trend, trends
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.limits import OMITTED
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, common, runs_of

CONSTANT = Threshold(
    "fairly constant",
    0.01,
    "change of an accuracy over all layers below the last: a point, over twice the largest seed-to-seed sd printed",
    "2026-11-21",
    after_data=True,
)
KEPT = Threshold(
    "kept",
    0.9,
    "share of the RefAE's overlap of silhouettes: nine tenths of what the decoder could do",
    "2026-11-21",
    after_data=True,
)

HEADINGS = printed_tables.HEADINGS
BASELINES = {"mnist": 0.99, "fashion_mnist": 0.92, "cifar100": 0.45}
EXCEPTED = ("cifar100", "resnet10", -5)  # "once ... lower for ClaDec": section 6.1 names this cell's data set itself
MEASURED = {
    "distance": ("cladec", "distance_to_refae"),
    "drift": ("cladec", "judge_drift"), "drift_error": ("cladec", "judge_drift_error"),
    "drift_refae": ("refae", "judge_drift"),
    "tone_cladec": ("cladec", "grey_tone"), "tone_refae": ("refae", "grey_tone"),
    "texture_cladec": ("cladec", "texture"), "texture_refae": ("refae", "texture"),
    "shape_cladec": ("cladec", "shape"), "shape_refae": ("refae", "shape"),
    "within_cladec": ("cladec", "within_class_share"), "within_refae": ("refae", "within_class_share"),
}  # fmt: skip
DELTA_REC, DELTA_ACC = {"rec_cladec": 1.0, "rec_refae": -1.0}, {"acc_cladec": 1.0, "acc_refae": -1.0}
LOSSES = {"rec_cladec": "ClaDec", "rec_refae": "RefAE"}


@dataclass(frozen=True)
class Evidence(measurements.Evidence):
    """Tables 2 and 3, or a record; printed numbers come with what other tables say of the same claims.

    Attributes
    ----------
    conference
        The conference paper's Table 1.
    networks_compared
        Tables 4 and 5 at α = 0, the last convolution of both networks, in the form of Tables 2 and 3.
    """

    conference: measurements.Evidence = field(default_factory=lambda: measurements.Evidence(pd.DataFrame()))
    networks_compared: measurements.Evidence = field(default_factory=lambda: measurements.Evidence(pd.DataFrame()))


def printed() -> Evidence:
    """Tables 2 and 3, with the conference paper's Table 1 and the last rows of Tables 4 and 5."""
    published = printed_tables.published()
    first = [(("fashion_mnist", "vgg5", index), values) for index, values in published["conference_table1"].items()]
    last = [
        (("fashion_mnist", network, -2), {"rec_cladec": published[table][0.0]["rec_loss"]})
        for table, network in (("table4", "vgg11"), ("table5", "resnet10"))
    ]
    return Evidence(
        printed_tables.layers(),
        conference=measurements.Evidence(tables.published_summary(first, tables.KEYS)),
        networks_compared=measurements.Evidence(tables.published_summary(last, tables.KEYS)),
    )


def evidence(record: Record) -> Evidence:
    """What a record of the experiment `layers` measured."""
    columns = {**printed_tables.COLUMNS, **MEASURED}
    runs = tables.columns_of(tables.numbered(record), columns | FALLING, [*tables.KEYS, "seed"])
    found = evidence_of(record, runs, columns, printed_tables.DIFFERENCES)
    return Evidence(found.summary, record, runs, columns, printed_tables.known)


def _cells(evidence: Evidence, weights: dict[str, float], claimed: Region) -> list[tuple[Any, Comparison]]:
    """ClaDec less the RefAE, by `DELTA_REC` or `DELTA_ACC`, in every cell that has both, with the cell."""
    found = []
    for cell in evidence.cells(next(iter(weights))).index:
        if evidence.has(*((*cell, metric) for metric in weights)):
            terms = {(*cell, metric): weight for metric, weight in weights.items()}
            one = evidence.contrast(where(cell[:2], f"{cell[2]}"), terms, claimed)
            loses = one.effect < 0 if weights is DELTA_REC else one.effect > 0
            found.append((cell, fair_to_reference(one, evidence.record, loses=loses)))
    return found


def b1(evidence: Evidence) -> Verdict:
    """ΔRec is above 0 in every cell but the one that the paper excepts (ResNet-10, CIFAR-100, layer -5)."""
    return judge((c for cell, c in _cells(evidence, DELTA_REC, ABOVE) if cell != EXCEPTED), "ΔRec > 0")


def b2(evidence: Evidence) -> Verdict:
    """ΔAcc is above 0 in nine of ten cells below the last layer."""
    cells = (c for cell, c in _cells(evidence, DELTA_ACC, ABOVE) if cell[2] != -1)
    return judge(cells, "ΔAcc > 0 below the last layer", NINE_IN_TEN)


def b3(evidence: Evidence) -> Verdict:
    """ΔAcc is below 0 in most cells at layer -1."""
    return judge((c for cell, c in _cells(evidence, DELTA_ACC, BELOW) if cell[2] == -1), "ΔAcc < 0 at layer -1", MOST)


def b4(evidence: Evidence) -> Verdict:
    """The loss of each method rises with depth in every network: the mean relative change per layer is above 0."""
    found = [c for metric, name in LOSSES.items() for c in trends(evidence, metric, log=True, label=name)]
    return judge(found, "log loss rises per layer")


def b5(evidence: Evidence) -> Verdict:
    """From the lowest to the top layer ClaDec's loss rises by more than the RefAE's, in every network."""
    return judge(ends(evidence, DELTA_REC), "ClaDec's loss rises by more")


def b6(evidence: Evidence) -> Verdict:
    """ΔRec rises with depth in every network: its mean change per layer is above 0 (the cells of B5, all layers)."""
    return judge(trends(evidence, DELTA_REC), "ΔRec rises per layer")


def b7(evidence: Evidence) -> Verdict:
    """ResNet: the accuracy changes by less than 0.01 over the layers below the last, and is lower at the last."""
    limit, found = CONSTANT.value, []
    for run, chain in evidence.chains("acc_cladec", 3):
        below = [at for at in chain.index if at < -1]
        if run[1] != "resnet10" or -1 not in chain.index:
            continue
        over_all = trend(
            evidence, run, below, {"acc_cladec": len(below) - 1.0}, (-limit, limit), label="change below the last"
        )
        terms = {(*run, at, "acc_cladec"): 1 / len(below) for at in below} | {(*run, -1, "acc_cladec"): -1.0}
        found += [over_all, evidence.contrast(where(run, "drop at the last"), terms, ABOVE)]
    return judge(found, "fairly constant below the last layer and lower at it", lacking="needs three layers of ResNet")


def b8(evidence: Evidence) -> Verdict:
    """ResNet's loss is below VGG's in every cell of Tables 2 and 3, or of a record, of both methods."""
    verdict = judge(_networks(evidence), "ResNet's loss lower", lacking="needs both networks")
    return verdict.plus("".join(
        f"; not counted, as Tables 4 and 5 are an older set-up with losses of another scale: ResNet's less VGG's is "
        f"{beside.text} for {beside.what}" for beside in _networks(evidence.networks_compared)
    ))  # fmt: skip


def _networks(evidence: measurements.Evidence) -> list[Comparison]:
    """ResNet's loss less VGG's, of both methods, in every cell that has both."""
    found = []
    for metric, method in LOSSES.items():
        for dataset, network, at in evidence.cells(metric).index:
            terms = {(dataset, "resnet10", at, metric): 1.0, (dataset, "vgg11", at, metric): -1.0}
            if network == "resnet10" and evidence.has(*terms):
                found.append(evidence.contrast(f"{tables.DATASET_NAMES[dataset]}, {method}, {at}", terms, BELOW))
    return found


@unprinted()
def b9(evidence: Evidence) -> Verdict:
    """As a share of what their losses allow, images of the RefAE differ less between the networks, at every layer."""
    assert evidence.record is not None
    found = [
        sample(where((dataset, ""), f"{index}"), ours - theirs, of="images") for dataset, index, ours, theirs
        in _disagreements(evidence.record)
    ]  # fmt: skip
    return judge(found, "ClaDec's images differ more between the networks than RefAE's", lacking="needs both networks")


def _disagreements(record: Record) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
    """Data set, layer's index, and for each image that both networks show: how ClaDec's and RefAE's images disagree.

    The squared difference of two reconstructions is divided by the sum of their losses: 0 if both make the same error,
    1 if their errors have nothing to do with each other. Undivided, the method with the smaller losses would always
    win.
    """
    both = runs_of(record)
    for dataset in dict.fromkeys(name for name, _ in both):
        if not {(dataset, "vgg11"), (dataset, "resnet10")} <= set(both):
            continue
        pair = [RunImages.of(record, dataset, network) for network in ("vgg11", "resnet10")]
        at = common(*pair)
        layers = [{layer.index: layer.name for layer in images.layers("cladec")} for images in pair]
        for index in sorted(index for index in layers[0].keys() & layers[1].keys() if index is not None):
            shown = {
                method: [i.aligned(names[index], method)[a] for i, names, a in zip(pair, layers, at, strict=True)]
                for method in ("cladec", "refae")
            }
            original = pair[0].original[at[0]]
            ours, theirs = (_disagreement(original, *images) for images in shown.values())
            yield dataset, index, ours, theirs


def _disagreement(original: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    x, a, b = (part.astype(float).reshape(len(part), -1) for part in (original, first, second))
    return np.square(a - b).sum(1) / np.maximum(np.square(a - x).sum(1) + np.square(b - x).sum(1), 1e-12)


@unprinted()
def b10(evidence: Evidence) -> Verdict:
    """The mean squared difference of the two methods' images rises with depth in every network (Figs. 6, 8)."""
    return judge(trends(evidence, "distance", log=True), "log difference rises per layer")


@unprinted()
def b11(evidence: Evidence) -> Verdict:
    """One judge trained on originals sees the predicted class in more of them than in the originals, more per layer."""
    found = trends(evidence, "drift", label="per layer")
    for run, chain in evidence.chains("drift", 3):
        top = chain.index[-1]
        found.append(evidence.contrast(where(run, f"at {top}"), {(*run, top, "drift"): 1.0}, ABOVE))
    lacking = "needs a judge of another seed, trained on originals, and what it sees in the originals: not recorded yet"
    return judge(found, "more look like the predicted class", lacking=lacking).plus(_blurred(evidence))


def _blurred(evidence: Evidence) -> str:
    """What the judge, trained on sharp images, makes of the RefAE's: blurred as ClaDec's, without knowing a class."""
    told = [
        f"{chain['mean'].iloc[-1]:+.1%} in {where(run, f'at {chain.index[-1]}')}"
        for run, chain in evidence.chains("drift_refae")
    ]
    found = "; ".join(told) or "not recorded"
    return f"; as a control for blur, in the RefAE's images: {found}"


@unprinted()
def b12(evidence: Evidence) -> Verdict:
    """Bags, layer -1: both lose half the texture, ClaDec more grey tone than RefAE; it keeps 0.9 of RefAE's overlap."""
    found = []
    for network in evidence.cells("tone_cladec").index.get_level_values("architecture").unique():
        run = ("fashion_mnist", network)
        parts: list[tuple[str, dict[str, float], Region]] = [
            ("texture, ClaDec", {"texture_cladec": 1.0}, (-np.inf, OMITTED.value)),
            ("texture, RefAE", {"texture_refae": 1.0}, (-np.inf, OMITTED.value)),
            ("grey tone, ClaDec - RefAE", {"tone_cladec": 1.0, "tone_refae": -1.0}, BELOW),
            (f"overlap, ClaDec - {KEPT.value} RefAE", {"shape_cladec": 1.0, "shape_refae": -KEPT.value}, ABOVE),
        ]
        for label, weights, claimed in parts:
            terms = {(*run, -1, metric): weight for metric, weight in weights.items()}
            if evidence.has(*terms):
                found.append(evidence.contrast(where(("", network), label).lstrip(", "), terms, claimed))
    return judge(found, "texture, tone and shape as stated", lacking="Fig. 5 shows bags of Fashion-MNIST: not run")


@unprinted()
def b13(evidence: Evidence) -> Verdict:
    """The share of variance that lies within classes is below the RefAE's in most cells."""
    cells = _cells(evidence, {"within_cladec": 1.0, "within_refae": -1.0}, BELOW)
    return judge(
        (c for _, c in cells), "variance within classes a smaller share than RefAE's", MOST,
        lacking="needs the total variance of reconstructions beside that within classes: not recorded yet",
    )  # fmt: skip


def b14(evidence: Evidence) -> Verdict:
    """Accuracy on test images above the printed level of each data set, after the paper's training."""
    if evidence.record is None:
        last, _ = printed_tables.published()["table6"][64]["acc_classifier"]
        return undecided(
            f"Table 6, which must be of Fashion-MNIST, has {last}, but is an older set-up; the tables of this set-up "
            "do not print the accuracy of the classifiers"
        )
    short = too_short(evidence.record)
    if short:
        return not_comparable(f"{short}: an absolute level says nothing before training is over")
    rows = evidence.record.rows[evidence.record.rows["layer"] == "classifier"].assign(index=0)
    columns = {"accuracy": ("classifier", "accuracy")}
    wide = tables.columns_of(rows, columns, [*tables.KEYS, "seed"])
    found = evidence_of(evidence.record, wide, columns, known=evidence.known)
    parts = [
        found.contrast(where(run), {(*run, 0, "accuracy"): 1.0}, (BASELINES[run[0]], np.inf))
        for run, _ in found.chains("accuracy") if run[0] in BASELINES
    ]  # fmt: skip
    return judge(parts, "above the printed level")


def b15(evidence: Evidence) -> Verdict:
    """With depth the accuracy rises for ClaDec and falls for the RefAE; in print also in the conference's Table 1."""
    measured = _rises_and_falls(evidence)
    if evidence.record is not None:
        return measured
    return every_part({"conference's Table 1": _rises_and_falls(evidence.conference), "journal's tables": measured})


def _rises_and_falls(evidence: measurements.Evidence) -> Verdict:
    """Accuracy over layers towards the output."""
    found = [
        comparison for metric, method, claimed in (("acc_cladec", "ClaDec", ABOVE), ("acc_refae", "RefAE", BELOW))
        for comparison in trends(evidence, metric, claimed, label=method)
    ]  # fmt: skip
    return judge(found, "accuracy rises per layer for ClaDec, falls for RefAE,")


CLAIMS = [
    Claim("B1", "6.1", "RefAE reconstructs better than ClaDec at every layer, but for one cell", b1, after_data=FAIR),
    Claim(
        "B2",
        "6.1",
        "Evaluation accuracy is almost always higher for ClaDec, except at the last layer",
        b2,
        after_data=FAIR,
        limits=(ALMOST_ALWAYS,),
    ),
    Claim(
        "B3", "6.1", "At the very last layer RefAE tends to give the higher evaluation accuracy", b3, after_data=FAIR
    ),
    Claim("B4", "6.1", "The reconstruction loss increases with the number of encoder layers", b4),
    Claim("B5", "6.1", "This increase is significantly stronger for ClaDec than for RefAE, in absolute numbers", b5),
    Claim("B6", "6.1", "The difference between RefAE and ClaDec grows towards the output", b6),
    Claim(
        "B7",
        "6.1",
        "ResNet: ClaDec's evaluation accuracy is fairly constant and drops at the last layer",
        b7,
        limits=(CONSTANT,),
    ),
    Claim(
        "B8",
        "6.1",
        "ResNet's reconstruction losses are significantly lower than VGG's",
        b8,
        after_data="that Tables 4 and 5, an older set-up, are told and not counted",
    ),
    Claim("B9", "6.1", "RefAE's reconstructions agree between VGG and ResNet; ClaDec's vary more", b9),
    Claim("B10", "6.1", "The images of RefAE and ClaDec differ more with each layer", b10),
    Claim("B11", "6.1", "Misclassified samples turn gradually into another class", b11),
    Claim(
        "B12",
        "6.1",
        "Both methods lose texture; ClaDec also discards the grey tone, and keeps a typical shape",
        b12,
        limits=(OMITTED, KEPT),
    ),
    Claim("B13", "6.1", "ClaDec's reconstructions are more prototypical", b13),
    Claim(
        "B14",
        "6",
        "Classifiers reach more than 99 / 92 / 45 % accuracy",
        b14,
        after_data="that Table 6, an older set-up, is told and not counted",
    ),
    Claim("B15", "C 5.1", "Evaluation accuracy rises with depth for ClaDec and falls for RefAE", b15),
]
