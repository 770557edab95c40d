"""Claims L1-L23: what the book says of heat maps (chapters 1, 8, 9, 10 and 13), judged on our networks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pandas as pd

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import (
    MOST,
    SOME,
    Comparison,
    Evidence,
    Verdict,
    by_construction,
    claims_of,
    every_part,
    judge,
)
from cladec_companion.evidence.comparisons import ABOVE, BELOW, Region
from cladec_companion.evidence.measurements import evidence_of, where
from cladec_companion.evidence.thresholds import RESEMBLES, Threshold
from cladec_companion.papers.xai.attribution import METHODS
from cladec_companion.papers.xai.heatmaps.experiment import FEW
from cladec_companion.records.record import Record

ADDS_UP = Threshold(
    "adds up (attributions)",
    0.05,
    "share of the change of the output that is left over: what 32 steps of an integral may miss",
    "2026-11-21",
)
APPROXIMATES = Threshold(
    "a good approximation (maps)", 0.9, "correlation of pixels: four fifths of the variance", "2026-11-21"
)

AT = "maps"  # the third level of the evidence, which has no axis
NUMBERS = "the book shows pictures of other networks, and no number of these"
SUPPRESSED = ("box_0.8", "box_0.9", "box_0.95", "box_0.99")
RIVALS = ("gradient", "guided_backprop", "contrastive_excitation", "gradcam", "occlusion")  # of Figs. 8.4 and 8.8
BACKWARD = ("gradient", "deconvnet", "guided_backprop")  # of which section 8.5.2 speaks together
# What section 8.4.1 lists as gradient-based, or as changing the rules of backpropagation.
PROPAGATED = (
    *BACKWARD, "smoothgrad", "gradcam", "lrp_0", "lrp_epsilon", "lrp_gamma", "lrp_zb", "lrp_composite",
    "excitation_backprop", "contrastive_excitation",
)  # fmt: skip
SALIENCE = tuple(name for name, method in METHODS.items() if method.kind == "salience")
EXPLAIN = tuple(name for name, method in METHODS.items() if method.kind != "control")


def column(method: str, metric: str) -> str:
    """The column of a number in the evidence."""
    return f"{method}:{metric}"


def evidence(record: Record) -> Evidence:
    """What the claims need from a record of the experiment `heatmaps`: a column for each method and metric."""
    rows = record.rows
    rows = rows[(rows["flipped"].astype(float) == 0) & ~rows["metric"].str.startswith("curve_")]
    found = dict.fromkeys(zip(rows["method"], rows["metric"], strict=True))
    columns = {column(*pair): pair for pair in found}
    wide = tables.columns_of(rows.assign(at=AT), columns, ["dataset", "architecture", "at", "seed"])
    return evidence_of(record, wide, columns)


def printed() -> Evidence:
    """The book prints no number about these networks."""
    return Evidence(pd.DataFrame())


def _runs(evidence: Evidence, *columns: str) -> Iterator[tuple[str, str]]:
    """Data sets and architectures that have all of some columns."""
    if not evidence.summary.empty:
        for run in dict.fromkeys(key[:2] for key in evidence.summary.index):
            if evidence.has(*((*run, AT, name) for name in columns)):
                yield run


def _level(evidence: Evidence, methods: Iterable[str], metric: str, claimed: Region) -> list[Comparison]:
    """A number of some methods against a region, in every run."""
    return [
        evidence.contrast(where(run, METHODS[method].title), {(*run, AT, column(method, metric)): 1.0}, claimed)
        for method in methods for run in _runs(evidence, column(method, metric))
        if not _blind(evidence, run, method)
    ]  # fmt: skip


def _less(
    evidence: Evidence, first: str, others: Sequence[str], metric: str, claimed: Region = ABOVE
) -> list[Comparison]:
    """A number of one method less that of others, in every run.

    Both are of the same images: where only one of the two explains few of them, the other's number is of these, too.
    """
    found = []
    for other in others:
        alike = METHODS[first].slow == METHODS[other].slow or metric == "passes"
        pair = tuple(column(name, metric if alike else metric + FEW) for name in (first, other))
        for run in _runs(evidence, *pair):
            if _blind(evidence, run, first) or _blind(evidence, run, other):
                continue
            what = where(run, f"{METHODS[first].title} less {METHODS[other].title}")
            terms = {(*run, AT, pair[0]): 1.0, (*run, AT, pair[1]): -1.0}
            found.append(evidence.contrast(what, terms, claimed))
    return found


def _blind(evidence: Evidence, run: tuple[str, str], method: str) -> bool:
    """Whether maps of a method stay exactly the same while a square moves over the image: they explain no image.

    In a network without pooling DeconvNet's map depends on the weights and the class alone. A control, such as a random
    order, is not meant to explain one.
    """
    if METHODS[method].kind == "control":
        return False
    cell = (*run, AT, column(method, "step"))
    return evidence.has(cell) and bool(evidence.summary.loc[cell, "mean"] == 0)


def _left_out(evidence: Evidence, methods: Iterable[str]) -> str:
    """What the reader has to know of methods that are left out."""
    blind = [METHODS[one].title for one in methods if any(_blind(evidence, run, one) for run in _runs(evidence))]
    return f"; without {', '.join(blind)}, whose maps do not depend on the image in this network" if blind else ""


def _agreement(evidence: Evidence, method: str, other: str, claimed: Region) -> list[Comparison]:
    return _level(evidence, [method], f"agreement_{other}", claimed)


def l1(evidence: Evidence) -> Verdict:
    """What is left over of the change of the output, from grey and from black, is below 5 % in every run."""
    found = _level(
        evidence, ["integrated_gradients", "integrated_gradients_black"], "incomplete", _below(ADDS_UP.value)
    )
    return judge(found, "left over below 5 %")


def l2(evidence: Evidence) -> Verdict:
    """The multipliers of each unit are made to add up, so that nothing is left over of the change but rounding."""
    left = _level(evidence, ["deeplift"], "incomplete", BELOW)
    return by_construction("its rule shares out each unit's change without a rest", left)


def l3(evidence: Evidence) -> Verdict:
    """Without biases, the shares that LRP-0 and LRP-γ hand down from a unit add up to 1."""
    kept = _level(evidence, ["lrp_0", "lrp_gamma"], "kept_unbiased", ABOVE)
    return by_construction("without biases the shares that are handed down add up to 1", kept)


def l4(evidence: Evidence) -> Verdict:
    """In the network with all biases set to zero, LRP-ε keeps a smaller share of the output than LRP-0 in every run."""
    return judge(_less(evidence, "lrp_epsilon", ["lrp_0"], "kept_unbiased", BELOW), "less is kept")


def l5(evidence: Evidence) -> Verdict:
    """At a ReLU, LRP-0 hands down what the gradient times the activation is, biases or not (Eq. 13.2)."""
    found = _agreement(evidence, "lrp_0", "gradient_x_input", ABOVE)
    return by_construction("a proof of the book, for every network of ReLUs", found)


def l6(evidence: Evidence) -> Verdict:
    """Under a moving square, composite LRP takes smaller steps than gradient × input, with and without z-box."""
    methods = ["lrp_composite", "lrp_zb", "gradient_x_input"]
    found = _less(evidence, methods[0], methods[1:], "step", BELOW)
    uneven = [one.effect for one in _level(evidence, methods, "jump", ABOVE)]
    told = f"; the largest step is {min(uneven):.1f} to {max(uneven):.1f} times the mean one" if uneven else ""
    return judge(found, "smaller steps").plus(told)


def l7(evidence: Evidence) -> Verdict:
    """Sizes of relevance sum to a larger multiple of the output for LRP-0 with z-box than for composite LRP."""
    return judge(_less(evidence, "lrp_zb", ["lrp_composite"], "size_kept"), "larger scores")


def l8(evidence: Evidence) -> Verdict:
    """Maps of the predicted and of another class correlate by more than 0.5, for each of the methods in every run."""
    found = judge(_level(evidence, BACKWARD, "class_similarity", _above(RESEMBLES.value)), "alike for another class")
    return found.plus(_left_out(evidence, BACKWARD))


def l9(evidence: Evidence) -> Verdict:
    """Its maps of two classes correlate less than those of guided backprop, of DeconvNet and of the gradient."""
    found = judge(_less(evidence, "meaningful_perturbation", BACKWARD, "class_similarity", BELOW), "less alike")
    return found.plus(_left_out(evidence, BACKWARD))


def l10(evidence: Evidence) -> Verdict:
    """Its boxes are smaller than those of five other methods for each of four suppressions in every run."""
    found = [c for metric in SUPPRESSED for c in _less(evidence, "meaningful_perturbation", RIVALS, metric, BELOW)]
    return judge(found, "smaller boxes")


def l11(evidence: Evidence) -> Verdict:
    """For some methods of section 8.4.1, ranks of pixels correlate by more than 0.5 if all weights are redrawn."""
    found = _level(evidence, PROPAGATED, "randomised_3", _above(RESEMBLES.value))
    return judge(found, "alike for random weights", SOME)


def l12(evidence: Evidence) -> Verdict:
    """Maps by squares of 3 and of 12 pixels correlate by less than 0.5 in every run."""
    found = _agreement(evidence, "occlusion_small", "occlusion_large", _below(RESEMBLES.value))
    return judge(found, "correlation below 0.5")


def l13(evidence: Evidence) -> Verdict:
    """On mosaics, squares of 12 pixels point at the right tile more often than squares of 3 in every run."""
    return judge(_less(evidence, "occlusion_large", ["occlusion_small"], "pointing"), "points better")


def l14(evidence: Evidence) -> Verdict:
    """Integrated gradients from black and from grey correlate by less than 0.5 in every run."""
    found = _agreement(evidence, "integrated_gradients_black", "integrated_gradients", _below(RESEMBLES.value))
    return judge(found, "correlation below 0.5")


def l15(evidence: Evidence) -> Verdict:
    """Maps by DeepLIFT and by integrated gradients correlate by more than 0.9 in most runs."""
    found = _agreement(evidence, "deeplift", "integrated_gradients", _above(APPROXIMATES.value))
    return judge(found, "correlation above 0.9", MOST)


def l16(evidence: Evidence) -> Verdict:
    """Neighbouring pixels differ more, for three gradient-based methods, than for composite LRP in every run."""
    found = [
        c for method in ("gradient", "gradient_x_input", "integrated_gradients")
        for c in _less(evidence, method, ["lrp_composite"], "roughness")
    ]  # fmt: skip
    return judge(found, "rougher")


def l17(evidence: Evidence) -> Verdict:
    """Neighbouring pixels differ less for SmoothGrad than for the gradient in every run."""
    return judge(_less(evidence, "smoothgrad", ["gradient"], "roughness", BELOW), "smoother")


def l18(evidence: Evidence) -> Verdict:
    """Flipping pixels to the mean, composite LRP has a larger area than uniform LRP-0 and LRP-γ in every run."""
    return judge(_less(evidence, "lrp_composite", ["lrp_0", "lrp_gamma"], "area_mean"), "larger area")


def l19(evidence: Evidence) -> Verdict:
    """How often integrated gradients ask the network, less LIME, prediction differences and learnt masks: settings."""
    others = ["lime", "pda", "meaningful_perturbation"]
    found = _less(evidence, "integrated_gradients", others, "passes", BELOW)
    return by_construction("how often the network is asked is a setting of each method", found)


def l20(evidence: Evidence) -> Verdict:
    """Learnt masks correlate more with contrastive excitation backprop than with the other four methods of Fig. 8.4."""
    own, others = "agreement_contrastive_excitation", [name for name in RIVALS if name != "contrastive_excitation"]
    first = column("meaningful_perturbation", own)
    found = []
    for other in others:
        second = column("meaningful_perturbation", f"agreement_{other}")
        for run in _runs(evidence, first, second):
            terms = {(*run, AT, first): 1.0, (*run, AT, second): -1.0}
            found.append(evidence.contrast(where(run, f"less that with {METHODS[other].title}"), terms, ABOVE))
    return judge(found, "more alike")


def l21(evidence: Evidence) -> Verdict:
    """Occlusion has a larger area under pixel flipping than composite LRP, and points worse at tiles, in every run.

    Its squares are the smallest: pixels are flipped one by one.
    """
    flipping = judge(_less(evidence, "occlusion_small", ["lrp_composite"], "area_mean"), "larger area")
    pointing = judge(_less(evidence, "occlusion_small", ["lrp_composite"], "pointing", BELOW), "points worse")
    return every_part({"by pixel flipping": flipping, "by another criterion": pointing})


def l22(evidence: Evidence) -> Verdict:
    """Proved for every network that is not linear, whatever a record says of single sizes of subsets."""
    found = _level(evidence, SALIENCE, "sensitivity", ABOVE)
    return by_construction("a proof of the book, for every network that is not linear", found)


def l23(evidence: Evidence) -> Verdict:
    """Flipping pixels to the mean, most methods have a larger area than a random order."""
    found = [c for method in EXPLAIN for c in _less(evidence, method, ["random"], "area_mean")]
    return judge(found, "larger area", MOST)


def _above(limit: float) -> Region:
    return limit, float("inf")


def _below(limit: float) -> Region:
    return float("-inf"), limit


_claim = claims_of("XAI book", NUMBERS)
# What was settled when the numbers had been seen.
BLIND = "that DeconvNet is left out where its maps do not depend on the image"
AFTER_DATA = {
    "L8": BLIND,
    "L9": BLIND,
    "L11": f"which methods are asked, as only three of those that the section lists had been, and {BLIND}",
    "L19": "that numbers which are settings decide nothing",
    "L21": "the size of the squares, the smallest, as single pixels are flipped",
    "L23": BLIND,
}
_LISTED = [
    _claim(
        "L1", "Integrated gradients add up to the change of the output from the baseline", l1, "9.3", limits=(ADDS_UP,)
    ),
    _claim("L2", "DeepLIFT adds up to the same change by design", l2, "9.3"),
    _claim("L3", "Where biases are zero, gradient × input (then LRP-0) conserves the output", l3, "13.3.1"),
    _claim("L4", "LRP-ε loses relevance on its way", l4, "13.3.1"),
    _claim("L5", "On networks of ReLUs, LRP-0 is gradient × input", l5, "9.3, 13.2.3"),
    _claim("L6", "Explanations by LRP change more continuously than those by gradient × input", l6, "13.3.2"),
    _claim("L7", "Scores of gradient × input are larger than those of LRP", l7, "13.3.1"),
    _claim(
        "L8",
        "Gradient, DeconvNet and Guided Backprop look alike whichever class is explained",
        l8,
        "8.5.2",
        limits=(RESEMBLES,),
    ),
    _claim("L9", "Meaningful perturbation is selective for the class", l9, "8.5.2"),
    _claim("L10", "Meaningful perturbation finds the smallest boxes that suppress a class, on average", l10, "8.5.3"),
    _claim(
        "L11",
        "Some propagation-based maps look alike for networks with random weights",
        l11,
        "8.4.1",
        limits=(RESEMBLES,),
    ),
    _claim(
        "L12", "The size of the patch affects the result of occlusion significantly", l12, "9.4.3", limits=(RESEMBLES,)
    ),
    _claim("L13", "Only with larger patches does occlusion focus on the main subject", l13, "9.4.3"),
    _claim("L14", "Attributions are heavily affected by the choice of the baseline", l14, "9.2.3", limits=(RESEMBLES,)),
    _claim(
        "L15", "DeepLIFT is most often a good approximation of integrated gradients", l15, "9.3", limits=(APPROXIMATES,)
    ),
    _claim("L16", "Gradient-based maps vary from pixel to pixel", l16, "9.4.2"),
    _claim("L17", "SmoothGrad takes noise out of the gradient", l17, "8.4.1"),
    _claim("L18", "Composite LRP is more faithful than LRP-0 or LRP-γ at all layers", l18, "10.3"),
    _claim("L19", "Even integrated gradients are efficient beside methods without gradients", l19, "9.4.1"),
    _claim("L20", "Contrastive excitation backprop comes closest to learnt masks", l20, "8.5.1"),
    _claim("L21", "Occlusion does well when pixels are perturbed, and worse than LRP by other criteria", l21, "1.5"),
    _claim("L22", "No attribution of a non-linear model satisfies sensitivity-n for all n", l22, "9.2.4"),
    _claim("L23", "Perturbing what a map finds relevant should make the score fall more steeply", l23, "1.5"),
]
CLAIMS = [replace(claim, after_data=AFTER_DATA.get(claim.key, "")) for claim in _LISTED]
