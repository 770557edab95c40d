"""Claims B38-B49, about occlusions (section 6.6, Tables 7 and 8)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import (
    MOST,
    SOME,
    Comparison,
    Verdict,
    claims_of,
    every_part,
    judge,
    not_applicable,
    undecided,
    unprinted,
)
from cladec_companion.evidence.comparisons import ABOVE, BELOW, Region, certain, spread_ratio
from cladec_companion.evidence.measurements import MARK, Entry, Evidence, evidence_of, where
from cladec_companion.evidence.thresholds import STRONG, Threshold
from cladec_companion.evidence.trends import trends
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.records.record import Record

SMALL = Threshold(
    "small (ΔAcc)", 0.05, "the largest of Tables 7 and 8 are six times as large", "2026-11-21", after_data=True
)
VERY_LARGE = Threshold("very large (an sd)", 2.0, "times the sd of the other data sets, pooled", "2026-11-21")

METHODS = {"cladec": "cladec", "cladec whole": "whole", "gradcam": "gradcam"}
ENDS = ("max", "min", "min_shared")
COLUMNS = {
    "cladec_max": "ClaDec max", "cladec_min": "ClaDec min", "cladec_d": "ClaDec ΔAcc",
    "gradcam_max": "GradCAM max", "gradcam_min": "GradCAM min", "gradcam_d": "GradCAM ΔAcc",
}  # fmt: skip
VARIANTS = {
    "cladec_d": "ClaDec, in the square", "whole_d": "ClaDec, whole image",
    "gradcam_d": "GradCAM, two draws", "gradcam_shared": "GradCAM, one draw",
}  # fmt: skip


MEASURED = {
    **{f"{name}_{end}": (method, f"acc_{end}") for method, name in METHODS.items() for end in ENDS},
    "contrast": ("cladec", "contrast_correlation"), "contrast_error": ("cladec", "contrast_correlation_error"),
    "ties": ("gradcam", "ties"),
}  # fmt: skip
GAPS = {f"{name}_d": (method, printed_tables.DELTA) for method, name in METHODS.items()}


def evidence(record: Record) -> Evidence:
    """What the claims need from a record of the experiment `occlusion`: Tables 7 and 8 with the variants.

    Differences are taken within each seed before averaging. Both accuracies are of the same images, so that the error
    of their difference over images is recorded (`delta_error`), not computed from two shares.
    """
    rows = tables.numbered(record)
    errors = {f"{name}_d_error": (method, "delta_error") for method, name in METHODS.items()}
    marks = {MARK + method: (method, "still_falling") for method in ("cladec", "cladec whole")}
    wide = tables.columns_of(rows[rows["squares"] == 1], MEASURED | errors | marks, [*tables.KEYS, "seed"])
    for name in METHODS.values():
        wide[f"{name}_d"] = wide[f"{name}_min"] - wide[f"{name}_max"]
        wide[f"{name}_shared"] = wide.pop(f"{name}_min_shared") - wide[f"{name}_max"]
    return evidence_of(record, wide, MEASURED | GAPS, known=printed_tables.known)


def summary(record: Record) -> pd.DataFrame:
    """Tables 7 and 8, with the variants: mean, sd, n by dataset, architecture, index, metric."""
    return evidence(record).summary


def printed() -> Evidence:
    """The same from the printed Tables 7 and 8."""
    differences = {f"{method}_d": (f"{method}_min", f"{method}_max") for method in ("cladec", "gradcam")}
    return Evidence(printed_tables.by_layer("table7", "table8", differences))


def _gap(evidence: Evidence, cell: tuple[str, str, float], method: str, weight: float = 1.0) -> dict[Entry, float]:
    """ΔAcc of a cell as terms of a contrast: of its two accuracies in print, whose difference has no sd of its own."""
    if evidence.record is not None:
        return {(*cell, f"{method}_d"): weight}
    return {(*cell, f"{method}_min"): weight, (*cell, f"{method}_max"): -weight}


def _gaps(evidence: Evidence, method: str, claimed: Region, chosen: Callable[[str, str, float], bool]) -> list:
    """ΔAcc of the chosen cells against a region."""
    return [
        evidence.contrast(where(cell[:2], f"{cell[2]}"), _gap(evidence, cell, method), claimed)
        for cell in evidence.cells(f"{method}_d").index if chosen(*cell)
    ]  # fmt: skip


def _lower_resnet(dataset: str, architecture: str, index: float) -> bool:
    return architecture == "resnet10" and index < -1


def b38(evidence: Evidence) -> Verdict:
    """ΔAcc is above 0 in every cell but ResNet's lower layers, which the paper excepts."""
    found = _gaps(evidence, "cladec", ABOVE, lambda *cell: not _lower_resnet(*cell))
    excepted = sum(_lower_resnet(*cell) for cell in evidence.cells("cladec_d").index)
    left_out = f"; {excepted} cells of ResNet below layer -1, which the paper excepts, are left to B40"
    return judge(found, "ΔAcc > 0").plus(left_out if excepted else "")


def b39(evidence: Evidence) -> Verdict:
    """With the most relevant square hidden, accuracy falls from layer to layer towards the output in most networks."""
    found = trends(evidence, "cladec_max", BELOW, least=2)
    return judge(found, "accuracy falls per layer", MOST, lacking="needs two layers")


def b40(evidence: Evidence) -> Verdict:
    """In some cell below ResNet's top layer ΔAcc is small or negative."""
    found = _gaps(evidence, "cladec", (-np.inf, SMALL.value), _lower_resnet)
    return judge(found, f"ΔAcc < {SMALL.value}", SOME, lacking="needs a lower layer of ResNet")


def b41(evidence: Evidence) -> Verdict:
    """From lowest to top layer ΔAcc changes less on MNIST than on CIFAR-100, and its mean is larger than elsewhere."""
    chains = {run: list(part.index) for run, part in evidence.chains("cladec_d", 2)}
    found = []
    for run, layers in chains.items():
        others = [other for other in chains if other[1] == run[1] and other != run and chains[other] == layers]
        if run[0] != "mnist" or ("cifar100", run[1]) not in others:
            continue
        found.append(evidence.contrast(where(run, "change, less CIFAR-100's"), _changes(evidence, run, layers), BELOW))
        for other in others:
            weights: dict[Entry, float] = {}
            for index in layers:
                weights |= _gap(evidence, (*run, index), "cladec", 1 / len(layers))
                weights |= _gap(evidence, (*other, index), "cladec", -1 / len(layers))
            found.append(
                evidence.contrast(where(run, f"mean, less {tables.DATASET_NAMES[other[0]]}'s"), weights, ABOVE)
            )
    return judge(found, "as stated", lacking="needs two layers on MNIST and on CIFAR-100")


def _changes(evidence: Evidence, run: tuple[str, str], layers: list[float]) -> dict[Entry, float]:
    """The size of the change on MNIST less that on CIFAR-100; which way each goes is taken from the means."""
    weights: dict[Entry, float] = {}
    for own, factor in ((run, 1.0), (("cifar100", run[1]), -1.0)):
        means = evidence.cells("cladec_d")["mean"].loc[own]
        way = factor * (1.0 if means[layers[-1]] >= means[layers[0]] else -1.0)
        weights |= _gap(evidence, (*own, layers[-1]), "cladec", way)
        weights |= _gap(evidence, (*own, layers[0]), "cladec", -way)
    return weights


def b42(evidence: Evidence) -> Verdict:
    """ResNet's accuracy on MNIST is above VGG's without a hidden square, and below it with one, in every cell."""
    found = []
    for metric in ("cladec_max", "cladec_min", "gradcam_max", "gradcam_min"):
        for dataset, network, index in evidence.cells(metric).index:
            terms = {("mnist", "resnet10", index, metric): 1.0, ("mnist", "vgg11", index, metric): -1.0}
            if (dataset, network) == ("mnist", "resnet10") and evidence.has(*terms):
                found.append(evidence.contrast(f"{COLUMNS[metric]}, {index}", terms, BELOW))
    hidden = judge(found, "ResNet lower on occluded MNIST", lacking="needs both networks on MNIST")
    return every_part({"without a square": _clean(evidence), "with one": hidden})


def _clean(evidence: Evidence) -> Verdict:
    """Whether ResNet is the better one on the images themselves."""
    if evidence.record is None:
        return undecided("these accuracies are not printed")
    columns, rows = {"accuracy": ("classifier", "accuracy")}, evidence.record.rows
    rows = rows[(rows["layer"] == "classifier") & (rows["squares"] == 0)].assign(index=0)
    wide = tables.columns_of(rows, columns, [*tables.KEYS, "seed"])
    clean = evidence_of(evidence.record, wide, columns, known=evidence.known)
    terms = {("mnist", "resnet10", 0, "accuracy"): 1.0, ("mnist", "vgg11", 0, "accuracy"): -1.0}
    found = [clean.contrast("", terms, ABOVE)] if clean.has(*terms) else []
    return judge(found, "ResNet's accuracy less VGG's above 0", lacking="needs both networks on MNIST")


def b43(evidence: Evidence) -> Verdict:
    """VGG: GradCAM's ΔAcc is above 0 at the lowest layer of every data set, and within 0.05 of 0 at the top."""
    found, between = [], set()
    for run, chain in evidence.chains("gradcam_d", 2):
        if run[1] != "vgg11":
            continue
        for index, claimed in ((chain.index[0], ABOVE), (chain.index[-1], (-SMALL.value, SMALL.value))):
            cell = (*run, index)
            found.append(evidence.contrast(where(run, f"{index}"), _gap(evidence, cell, "gradcam"), claimed))
        between |= {f"{index}" for index in chain.index[1:-1]}
    left_out = f"; not judged: layers between the two ({', '.join(sorted(between))}), which the sentence does not name"
    return judge(found, "as stated", lacking="needs two layers of VGG").plus(left_out if between else "")


def b44(evidence: Evidence) -> Verdict:
    """In print, ΔAcc is exactly 0; a 1x1 map, enlarged, is constant, so that in a record it is 0 up to the draw."""
    top = [cell for cell in evidence.cells("gradcam_d").index if cell[1:] == ("vgg11", -1)]
    gaps = evidence.cells("gradcam_d")["mean"].reindex(top)
    if evidence.record is not None:
        ties = evidence.cells("ties")["mean"].reindex(top)
        shown = f"; all squares tie in {int((ties == 1).sum())} of {len(ties)}, |ΔAcc| up to {gaps.abs().max():.3f}"
        return not_applicable("a map of one value ranks nothing, whatever the classifier" + shown * bool(top))
    found = [certain(where(cell[:2]), gap, gap == 0, "arithmetic") for cell, gap in gaps.items()]
    return judge(found, "ΔAcc exactly 0").plus(": one draw for both, as two draws would differ by a little")


def b45(evidence: Evidence) -> Verdict:
    """ClaDec's ΔAcc is larger than GradCAM's in most cells and on average, and more so for VGG than for ResNet."""
    found: list[Comparison] = []
    by_network: dict[str, list[dict[Entry, float]]] = {}
    for cell in evidence.cells("cladec_d").index:
        terms = _gap(evidence, cell, "cladec") | _gap(evidence, cell, "gradcam", -1.0)
        if evidence.has(*terms):
            found.append(evidence.contrast(where(cell[:2], f"{cell[2]}"), terms, ABOVE))
            by_network.setdefault(cell[1], []).append(terms)
    every = _mean([terms for own in by_network.values() for terms in own])
    vgg, resnet = (_mean(by_network.get(network, [])) for network in ("vgg11", "resnet10"))
    more = vgg | {cell: -weight for cell, weight in resnet.items()}
    return every_part({
        "in most cells": judge(found, "ClaDec's larger", MOST),
        "on average": judge([evidence.contrast("", every)] if every else [], "ClaDec's larger"),
        "particularly for VGG": judge(
            [evidence.contrast("VGG less ResNet", more)] if vgg and resnet else [], "ClaDec's lead larger",
            lacking="needs both networks",
        ),
    })  # fmt: skip


def _mean(contrasts: Sequence[Mapping[Entry, float]]) -> dict[Entry, float]:
    """The mean of contrasts that share no cell."""
    return {cell: weight / len(contrasts) for terms in contrasts for cell, weight in terms.items()}


def b46(evidence: Evidence) -> Verdict:
    """Two independent draws among the same squares differ by nothing on average, whatever the classifier."""
    shown = ""
    if evidence.record is not None:
        found = {name: tables.value_of(evidence.record, "random", name)["mean"] for name in ("acc_max", "acc_min")}
        gap = (found["acc_min"] - found["acc_max"]).abs()
        shown = f"; the control's |ΔAcc| is up to {gap.max():.3f}" if len(gap) else ""
    return not_applicable("true by construction" + shown)


def b47(evidence: Evidence) -> Verdict:
    """The sentence does not say what the changes are larger than."""
    gaps = evidence.cells("gradcam_d")
    chosen = gaps[gaps.index.get_level_values("architecture") == "resnet10"] if len(gaps) else gaps
    largest = chosen["mean"].groupby(level="dataset").max() if len(chosen) else {}
    listed = ", ".join(f"{tables.DATASET_NAMES[name]} {value:.3f}" for name, value in largest.items())
    return not_applicable(f"no number is compared; GradCAM's largest ΔAcc on ResNet: {listed or 'not run'}")


def b48(evidence: Evidence) -> Verdict:
    """ResNet: on MNIST, layer -1, the sd over seeds is more than twice that of the other data sets, both methods."""
    found = []
    for method in ("cladec", "gradcam"):
        cells = evidence.cells(f"{method}_min")
        cells = cells[cells["n"] > 2] if len(cells) else cells
        resnet = {cell: row for cell, row in cells.iterrows() if cell[1] == "resnet10" and row["sd"] > 0}
        own, others = resnet.get(("mnist", "resnet10", -1)), [r for cell, r in resnet.items() if cell[0] != "mnist"]
        if own is None or not others:
            continue
        freedom = np.array([row["n"] - 1 for row in others])
        pooled = float((np.array([row["sd"] ** 2 for row in others]) * freedom).sum() / freedom.sum())
        claimed = (VERY_LARGE.value, np.inf)
        found.append(
            spread_ratio(f"{method}, times", own["sd"] ** 2, own["n"] - 1, pooled, float(freedom.sum()), claimed)
        )
    return judge(found, "sd very large", lacking="needs three seeds of ResNet on MNIST and on another data set")


@unprinted()
def b49(evidence: Evidence) -> Verdict:
    """Spearman's correlation of relevance and contrast is strong at the lowest layer, and falls towards the output."""
    found = trends(evidence, "contrast", BELOW, least=2, label="change per layer")
    for run, chain in evidence.chains("contrast", 2):
        lowest = chain.index[0]
        terms = {(*run, lowest, "contrast"): 1.0}
        found.append(evidence.contrast(where(run, f"correlation at {lowest}"), terms, (STRONG.value, np.inf)))
    return judge(found, "as stated", lacking="needs two layers")


_claim = claims_of("6.6")
CLAIMS = [
    _claim("B38", "Occluding what is most relevant to ClaDec hurts more than occluding what is least relevant", b38),
    _claim("B39", "For the most relevant area, the impact tends to be larger for upper layers", b39),
    _claim("B40", "ResNet: the differences can be small for lower layers, or even negative", b40, limits=(SMALL,)),
    _claim("B41", "ΔAcc varies less across layers on MNIST than on CIFAR-100 and is largest on MNIST", b41),
    _claim("B42", "On MNIST, ResNet is better than VGG and more sensitive to occlusions", b42),
    _claim("B43", "VGG: GradCAM gives a significant difference only at lower layers", b43, limits=(SMALL,)),
    _claim("B44", "VGG, layer -1: GradCAM is uniform, so ΔAcc is zero", b44),
    _claim(
        "B45",
        "Covering the most, not the least, relevant square costs more accuracy by ClaDec's relevance than by GradCAM's",
        b45,
    ),
    _claim("B46", "Choosing areas at random gives a ΔAcc of zero", b46),
    _claim("B47", "ResNet: occluding GradCAM's most relevant areas changes more, except on MNIST", b47),
    _claim(
        "B48",
        "ResNet, MNIST, layer -1: very large standard deviations for the least relevant area",
        b48,
        limits=(VERY_LARGE,),
    ),
    _claim(
        "B49",
        "At low layers ClaDec's relevance follows the contrast to the filling grey, not the object",
        b49,
        limits=(STRONG,),
    ),
]
