"""Claims B16-B23, about the weight α of the classification loss (section 6.2, Tables 4 and 5)."""

from dataclasses import replace

import numpy as np
import pandas as pd

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import (
    Claim,
    Comparison,
    Verdict,
    every_part,
    judge,
    not_applicable,
    not_comparable,
    too_short,
    unprinted,
)
from cladec_companion.evidence.comparisons import ABOVE, BELOW, certain
from cladec_companion.evidence.measurements import FALLING, Entry, Evidence, evidence_of, where
from cladec_companion.evidence.tables import FLOOR, columns_of
from cladec_companion.evidence.thresholds import Threshold
from cladec_companion.evidence.trends import LEAST, trend, trends
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.limits import ABOUT
from cladec_companion.records.record import Record

SLIGHTLY = Threshold(
    "slightly above the minimum",
    0.01,
    "α over grey values, as the paper weighs it: a hundredth of its range",
    "2026-11-21",
)
STRONG_IMPACT = Threshold(
    "strong impact", 0.5, "share of what all larger weights bring together: at least half of it", "2026-11-21"
)
RECOGNISABLE = Threshold(
    "not recognisable", 0.3, "correlation of pixels: below a medium one by Cohen's convention", "2026-11-21"
)

KEYS = ["dataset", "architecture", "alpha"]
PRINTED = {
    "total_loss": "Total loss", "rec_loss": "Rec loss", "cls_loss": "Classifier loss", "acc_cladec": "Acc ClaDec",
}  # fmt: skip
EXTRA = {
    "cls_loss_train": "Classifier loss, training images", "acc_c": "Accuracy of C on X̂",
    "agreement": "Agreement with C", "variance": "Variance within a class", "correlation": "Pixel correlation",
}  # fmt: skip
COLUMNS = {
    "total_loss": ("cladec", "loss_total"), "rec_loss": ("cladec", "loss_raw_sum"),
    "cls_loss": ("cladec", "loss_classifier"), "acc_cladec": ("cladec", "accuracy"),
    "cls_loss_train": ("cladec", "loss_classifier_train"), "acc_c": ("cladec", "accuracy_classifier"),
    "agreement": ("cladec", "agreement"), "variance": ("cladec", "within_class_variance"),
    "correlation": ("cladec", "pixel_correlation"), "mean_image": (FLOOR, "loss_raw_sum"),
    "acc_classifier": ("classifier", "accuracy"),
}  # fmt: skip
FASHION = "fashion_mnist"
EXACT = 1e-9  # what binary numbers miss of decimal ones
WITH, WITHOUT = 0.90, 0.88  # the printed levels of accuracy
VARIANCE = 0.352**2  # of a grey value of Fashion-MNIST: by it the authors standardise, and so do we
GREY = 32 * 32 * VARIANCE  # loss of the best constant grey
OVER_GREY, OVER_STANDARDISED = "α over grey values", "α over standardised values"


def published_summary() -> pd.DataFrame:
    """Tables 4 and 5, and the conference paper's Table 2 (as vgg5) with its labels 1 - α turned into α (I1)."""
    cells = [
        ((FASHION, architecture, round(1 - label, 6) if architecture == "vgg5" else label), values)
        for table, architecture in (("table4", "vgg11"), ("table5", "resnet10"), ("conference_table2", "vgg5"))
        for label, values in printed_tables.published()[table].items()
    ]
    return tables.published_summary(cells, KEYS)


def printed() -> Evidence:
    """The journal's tables; the conference's is Table 4 again with more digits."""
    return Evidence(published_summary().drop("vgg5", level="architecture"))


def evidence(record: Record) -> Evidence:
    """What a record of the experiment `alpha` measured."""
    wide = columns_of(record.rows, COLUMNS | FALLING, [*KEYS, "seed"])
    return evidence_of(record, wide, COLUMNS, known=printed_tables.known)


def equivalent_weights(record: Record) -> pd.DataFrame:
    """The α over grey values that weighs both losses as our α does over standardised values (reading C-8).

    Grey values have the variance σ², so (1-α) Σ standardised equals (1-α)/σ² Σ grey; for colour images σ² is an
    average over the channels.
    """
    losses = {"grey": ("cladec", "loss_raw_mean"), "standardised": ("cladec", "loss_standardised")}
    wide = columns_of(record.rows, losses, [*KEYS, "seed"]).groupby(level=KEYS).mean()
    alpha, variance = wide.index.get_level_values("alpha"), wide["grey"] / wide["standardised"]
    weights = alpha * variance / (alpha * variance + 1 - alpha)
    return weights.rename(OVER_GREY).to_frame().round(4)


def over_standardised(alpha: float) -> float:
    """Our α that weighs both losses of Fashion-MNIST as a printed one does, which weighs grey values (C-8)."""
    return round(alpha / (alpha + (1 - alpha) * VARIANCE), 5)


def in_our_scale(printed: Evidence) -> Evidence:
    """Printed numbers, each at the α over standardised values that weighs as its own does."""
    return replace(printed, summary=printed.summary.rename(index=over_standardised, level="alpha"))


def printed_table() -> pd.DataFrame:
    """What the paper and its conference version print, each row with the α that we would call it."""
    table = tables.side_by_side({"published": published_summary()}, PRINTED, axis="alpha")
    table.insert(0, OVER_STANDARDISED, [over_standardised(alpha) for alpha in table.index.get_level_values("alpha")])
    return table


def beside_printed(sources: dict[str, Evidence]) -> pd.DataFrame:
    """Our numbers with each α in both scales, and printed ones where both scales mean the same: at α = 0 and α = 1."""
    placed = {name: in_our_scale(part) if part.record is None else part for name, part in sources.items()}
    found = tables.side_by_side({name: part.summary for name, part in placed.items()}, PRINTED, axis="alpha")
    weights = pd.concat(equivalent_weights(part.record) for part in sources.values() if part.record is not None)
    weights = weights[~weights.index.duplicated()].rename(index=tables.DATASET_NAMES | tables.ARCHITECTURE_NAMES)
    over_grey = weights[OVER_GREY].reindex(found.index.droplevel("source"))
    found.insert(0, OVER_GREY, over_grey.to_numpy())
    return found


def b16(evidence: Evidence) -> Verdict:
    """The reconstruction loss rises with α in every network: the mean relative change from one α to the next."""
    found = judge(trends(evidence, "rec_loss", log=True), "log reconstruction loss rises per α")
    # At α = 1 nothing keeps the loss, and such an end alone can make a trend.
    without = [
        trend(evidence, run, [at for at in chain.index if at < 1], {"rec_loss": 1.0}, log=True)
        for run, chain in evidence.chains("rec_loss", LEAST + 1) if 1.0 in chain.index
    ]  # fmt: skip
    told = "; ".join(f"{one.what}: {one.text}" for one in without)
    return found.plus(f"; without α = 1 ({told})" if told else "")


def b17(evidence: Evidence) -> Verdict:
    """Accuracy at every α above 0 exceeds that at α = 0."""
    found = [
        evidence.contrast(where(run, f"α = {alpha:g}"), _gain(run, alpha), ABOVE)
        for run, chain in evidence.chains("acc_cladec") for alpha in chain.index if alpha > 0 and 0 in chain.index
    ]  # fmt: skip
    return judge(found, "accuracy above that at α = 0")


def _gain(run: tuple[str, str], alpha: float) -> dict[Entry, float]:
    """What an α brings in accuracy."""
    return {(*run, alpha, "acc_cladec"): 1.0, (*run, 0.0, "acc_cladec"): -1.0}


def b18(evidence: Evidence) -> Verdict:
    """On Fashion-MNIST, after the paper's training: above 0.90 at every α > 0, within 0.01 of 0.88 at α = 0."""
    short = too_short(evidence.record)
    if short:
        return not_comparable(f"{short}: an absolute level says nothing before training is over")
    found = []
    for run, chain in evidence.chains("acc_cladec"):
        for alpha in chain.index if run[0] == FASHION else []:
            claimed = (WITH, np.inf) if alpha > 0 else (WITHOUT - ABOUT.value, WITHOUT + ABOUT.value)
            what = where(("", run[1]), f"α = {alpha:g}").lstrip(", ")
            found.append(evidence.contrast(what, {(*run, alpha, "acc_cladec"): 1.0}, claimed))
    return judge(found, "the printed level", lacking="the sentence is about Fashion-MNIST, which was not run")


def b19(evidence: Evidence) -> Verdict:
    """A weight just above the minimum, read both ways, has an impact, and at least half of that of all larger ones.

    Eq. 1's way: a small α against α = 0, in accuracy; small over grey values, as the paper weighs. The way of the
    conference paper's labels, which are 1 - α: a little reconstruction loss against none (α = 1), in that loss.
    """
    chains = [(run, [float(alpha) for alpha in chain.index]) for run, chain in evidence.chains("acc_cladec")]
    small = [c for run, alphas in chains for c in _eq_1(evidence, run, alphas)]
    labels = [c for run, alphas in chains for c in _labels(evidence, run, alphas)]
    return every_part({
        "as Eq. 1 weighs": judge(
            small, "a strong impact",
            lacking=f"needs α = 0 and an α of at most {SLIGHTLY.value} over grey values",
        ),
        "as the conference paper's labels": judge(labels, "a strong impact", lacking="needs α = 1 and one just below"),
    })  # fmt: skip


def _eq_1(evidence: Evidence, run: tuple[str, str], alphas: list[float]) -> list[Comparison]:
    """The gain at the largest of the small α, and what it has beyond half of the mean gain of the larger ones."""
    over_grey = _over_grey(evidence, run)
    small = [alpha for alpha in alphas if 0 < over_grey.get(alpha, alpha) <= SLIGHTLY.value]
    larger = [alpha for alpha in alphas if small and max(small) < alpha < 1]
    if 0 not in alphas or not larger:
        return []
    weights = {(*run, max(small), "acc_cladec"): 1.0, (*run, 0.0, "acc_cladec"): STRONG_IMPACT.value - 1.0}
    weights |= {(*run, alpha, "acc_cladec"): -STRONG_IMPACT.value / len(larger) for alpha in larger}
    label = f"accuracy, α = {max(small):g}"
    return [
        evidence.contrast(where(run, f"{label}, gain"), _gain(run, max(small)), ABOVE),
        evidence.contrast(where(run, f"{label}, gain less half of the larger ones'"), weights, ABOVE),
    ]


def _over_grey(evidence: Evidence, run: tuple[str, str]) -> dict[float, float]:
    """Our α -> the α over grey values, where the record has both scales of the loss."""
    if evidence.record is None:
        return {}
    found = equivalent_weights(evidence.record)[OVER_GREY]
    return found.loc[run].dropna().to_dict() if run in found.index.droplevel("alpha") else {}


def _labels(evidence: Evidence, run: tuple[str, str], alphas: list[float]) -> list[Comparison]:
    """The fall of the loss from α = 1 to the next α, and what it has beyond half of that from α = 1 to α = 0."""
    below = [alpha for alpha in alphas if 1 - SLIGHTLY.value <= alpha < 1]
    if not {0.0, 1.0} <= set(alphas) or not below or not evidence.has((*run, 1.0, "rec_loss")):
        return []
    fall = {1.0: 1.0, max(below): -1.0}
    beyond = {1.0: 1 - STRONG_IMPACT.value, max(below): -1.0, 0.0: STRONG_IMPACT.value}
    label = f"reconstruction loss, 1 - α = {1 - max(below):.3g}"
    parts = {f"{label}, fall": fall, f"{label}, fall less half of the whole": beyond}
    return [
        evidence.contrast(where(run, name), {(*run, alpha, "rec_loss"): value for alpha, value in weights.items()})
        for name, weights in parts.items()
    ]


def b20(evidence: Evidence) -> Verdict:
    """At α = 1 images are worse than the mean image and hardly correlate with X; in print, worse than the best grey."""
    found, read = [], []
    for run, chain in evidence.chains("rec_loss"):
        if 1.0 not in chain.index:
            continue
        loss = {(*run, 1.0, "rec_loss"): 1.0}
        if evidence.record is None:
            found.append(evidence.contrast(where(run, "loss"), loss, (GREY, np.inf)))
            continue
        if evidence.has((*run, 1.0, "mean_image")):
            floor = float(evidence.summary.loc[(*run, 1.0, "mean_image"), "mean"])  # of the images alone: no noise
            found.append(evidence.contrast(where(run, "loss less the mean image's"), loss, ABOVE, offset=-floor))
        limit = (-RECOGNISABLE.value, RECOGNISABLE.value)
        found.append(evidence.contrast(where(run, "pixel correlation"), {(*run, 1.0, "correlation"): 1.0}, limit))
        read.append(f"{evidence.summary.loc[(*run, 1.0, 'acc_c'), 'mean']:.3f}")
    told = f"; C classifies {', '.join(read)} of them correctly" if read else ""
    return judge(found, "far from X").plus(told)


def b21(evidence: Evidence) -> Verdict:
    """The classifier's loss on test images falls with α in every network: its mean change from one α to the next."""
    return judge(trends(evidence, "cls_loss", BELOW), "classifier loss falls per α")


def b22(evidence: Evidence) -> Verdict:
    """In print, the total is Eq. 1 of the two losses beside it, within rounding; in a record it is computed so."""
    if evidence.record is not None:
        return not_applicable("the total is computed by Eq. 1")
    wide, rounding = (_losses(evidence.summary[name]).dropna() for name in ("mean", "rounding"))
    within, alone = tolerances(evidence.summary).reindex(wide.index), 0
    found = []
    for cell, row in wide.iterrows():
        dataset, network, alpha = cell
        first, second = (1 - alpha) * row["rec_loss"], alpha * row["cls_loss"]
        gap, of_second = row["total_loss"] - first - second, alpha * rounding.loc[cell, "cls_loss"]
        found.append(certain(where((dataset, network), f"α = {alpha:g}"), gap, abs(gap) <= within[cell], "arithmetic"))
        alone += abs(row["total_loss"] - first) <= within[cell] - of_second
    return judge(found, "the total fits Eq. 1").plus(f"; (1-α)·Rec alone fits in {alone} of {len(wide)}")


def tolerances(summary: pd.DataFrame) -> pd.Series:
    """By how much rounding alone lets a printed total differ from Eq. 1 of the two losses beside it."""
    rounding = _losses(summary["rounding"])
    alpha = rounding.index.get_level_values("alpha")
    weighted = (1 - alpha) * rounding["rec_loss"] + alpha * rounding["cls_loss"]
    return rounding["total_loss"] + weighted + EXACT


def _losses(numbers: pd.Series) -> pd.DataFrame:
    return numbers.unstack("metric").reindex(columns=["total_loss", "rec_loss", "cls_loss"])


@unprinted()
def b23(evidence: Evidence) -> Verdict:
    """The variance within a class falls with α as long as there are shapes (α < 1): the mean relative change."""
    found = []
    for run, chain in evidence.chains("variance"):
        alphas = [alpha for alpha in chain.index if alpha < 1]
        if len(alphas) > 2:
            found.append(trend(evidence, run, alphas, {"variance": 1.0}, BELOW, log=True))
    return judge(found, "log variance within a class falls per α")


CLAIMS = [
    Claim("B16", "6.2", "The reconstruction loss increases with α", b16),
    Claim("B17", "6.2", "Evaluation accuracy with α > 0 exceeds that with α = 0", b17),
    Claim("B18", "6.2", "α > 0 gives above 90 %, α = 0 about 88 % (Tables 4 and 5)", b18, limits=(ABOUT,)),
    Claim("B19", "6.2", "An α slightly above 0 already has a strong impact", b19, limits=(SLIGHTLY, STRONG_IMPACT)),
    Claim("B20", "6.2", "With α = 1 reconstructions are not recognisable for humans", b20, limits=(RECOGNISABLE,)),
    Claim("B21", "6.2", "The classifier loss decreases with α", b21),
    Claim("B22", "6.2", "The total loss is the weighted sum of Eq. 1", b22),
    Claim("B23", "6.2", "Shapes become more uniform as α grows", b23),
]
