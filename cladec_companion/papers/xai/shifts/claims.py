"""Claims L24-L35: which explanations stay when the function does (chapter 14 and section 13.3.3)."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import Comparison, Evidence, Verdict, by_construction, claims_of, judge
from cladec_companion.evidence.comparisons import ABOVE, BELOW, Region
from cladec_companion.evidence.measurements import evidence_of, where
from cladec_companion.evidence.thresholds import Threshold
from cladec_companion.papers.xai.shifts.experiment import SPLIT, TITLES
from cladec_companion.papers.xai.shifts.networks import SHIFTS
from cladec_companion.records.record import Record

UNMOVED = Threshold(
    "unchanged, or changed (maps)",
    0.01,
    "distance as a share of the map's length: what nobody sees in a picture",
    "2026-11-21",
)

PICTURES = ("chequered", "figure")
PICTURED = "the book shows maps, and no number"
SENSITIVE = ("gradient_x_input", "integrated_gradients_zero", "lrp_epsilon", "smoothgrad_x_input")
SAME_WEIGHTS = "both networks have the same weights and the same active units"
# The book prints E[y] where ours has E+[y] (see `attribution.patterns`).
PATTERNS = "patterns are covariances, which no shift changes, as we take E+[y] for the E[y] in print"


def evidence(record: Record) -> Evidence:
    """What the claims need from a record of the experiment `shifts`: by change, how far each method's maps move."""
    columns = {name: (name, "change") for name in TITLES}
    errors = {f"{name}_error": (name, "change_error") for name in TITLES}
    rows = record.rows.assign(change=record.rows["layer"])
    wide = tables.columns_of(rows, columns | errors, ["dataset", "architecture", "change", "seed"])
    return evidence_of(record, wide, columns)


def printed() -> Evidence:
    """The book shows maps, and no number."""
    return Evidence(pd.DataFrame())


def _changes(
    evidence: Evidence, methods: Sequence[str], changes: Sequence[str], claimed: Region = ABOVE
) -> list[Comparison]:
    """How far the maps of each method move; nothing is claimed of what follows from how a method is made."""
    return [
        evidence.contrast(where((cell[0], ""), f"{TITLES[name]}, {cell[2]}"), {(*cell, name): 1.0}, claimed)
        for name in methods for cell in evidence.cells(name).index if cell[2] in changes
    ]  # fmt: skip


def _moves(evidence: Evidence, methods: Sequence[str], changes: Sequence[str]) -> Verdict:
    """Whether the maps of each method move."""
    claimed = (UNMOVED.value, float("inf"))
    return judge(_changes(evidence, methods, changes, claimed), "moves by more than 1 %")


def l24(evidence: Evidence) -> Verdict:
    """The gradient depends on weights and on which units are active: a shift that is taken back changes neither."""
    return by_construction(SAME_WEIGHTS, _changes(evidence, ["gradient"], SHIFTS))


def l25(evidence: Evidence) -> Verdict:
    """Guided Backprop and PatternNet depend on weights and patterns, which stay with E+[y]; not so with E[y]."""
    found = _changes(evidence, ["guided_backprop", "patternnet"], SHIFTS)
    return by_construction(f"{SAME_WEIGHTS}, and {PATTERNS}", found)


def l26(evidence: Evidence) -> Verdict:
    """Gradient × input moves by more than 1 % of its length under each of three shifts."""
    return _moves(evidence, ["gradient_x_input"], SHIFTS)


def l27(evidence: Evidence) -> Verdict:
    """From an image of zeros, integrated gradients move by more than 1 % of their length under each of three shifts."""
    return _moves(evidence, ["integrated_gradients_zero"], SHIFTS)


def l28(evidence: Evidence) -> Verdict:
    """The darkest pixel moves with a constant shift, so that the way from black to the image stays the same."""
    found = _changes(evidence, ["integrated_gradients_black"], ["constant"])
    return by_construction("black is the darkest pixel of the shifted images", found)


def l29(evidence: Evidence) -> Verdict:
    """From a black image (one value), integrated gradients move by more than 1 % under each shift that is a picture."""
    return _moves(evidence, ["integrated_gradients_black"], PICTURES)


def l30(evidence: Evidence) -> Verdict:
    """LRP-ε moves by more than 1 % of its length under each of three shifts."""
    return _moves(evidence, ["lrp_epsilon"], SHIFTS)


def l31(evidence: Evidence) -> Verdict:
    """PatternAttribution depends on weights and patterns, which stay with E+[y]; with E[y] they would not."""
    return by_construction(PATTERNS, _changes(evidence, ["patternattribution"], SHIFTS))


def l32(evidence: Evidence) -> Verdict:
    """SmoothGrad of gradient × input moves by more than 1 % of its length under each shift; the gradient's cannot."""
    return _moves(evidence, ["smoothgrad_x_input"], SHIFTS)


def l33(evidence: Evidence) -> Verdict:
    """Gradient × input depends on the function alone, which splitting keeps."""
    return by_construction("the gradient is that of the function", _changes(evidence, ["gradient_x_input"], [SPLIT]))


def l34(evidence: Evidence) -> Verdict:
    """LRP-γ moves by more than 1 % of its length when neurons are split."""
    return _moves(evidence, ["lrp_gamma"], [SPLIT])


def l35(evidence: Evidence) -> Verdict:
    """Images of decoders of shifted images move less than the maps of four methods that a shift changes.

    The paper cites chapter 14's first version for methods that are sensitive. How much further these decoders move than
    one that was only trained again, and which methods move less, is told beside the verdict.
    """
    found, further = [], []
    for run in evidence.cells("cladec_shifted").index:
        again = {(*run, "cladec_shifted"): 1.0, (*run, "cladec_again"): -1.0}
        if run[2] in SHIFTS and evidence.has(*again):
            further.append(evidence.contrast("", again).effect)
            for name in SENSITIVE:
                terms = {(*run, "cladec_shifted"): 1.0, (*run, name): -1.0}
                if evidence.has(*terms):
                    found.append(evidence.contrast(where((run[0], ""), f"{run[2]}, less {TITLES[name]}"), terms, BELOW))
    said = "; by the same decoder it cannot move, as equal codes make equal images"
    if further:
        said += f"; it moves {min(further):.1%} to {max(further):.1%} further than a decoder that is only trained again"
    if less := _less_than_cladec(evidence):
        said += f"; less than ClaDec, and not compared: {tables.joined(less)}"
    return judge(found, "moves less").plus(said)


def _less_than_cladec(evidence: Evidence) -> list[str]:
    """Heat maps that move less than the decoders of shifted images in every run and under every shift."""
    found = {name: evidence.cells(name)["mean"] for name in TITLES}
    at = [cell for cell in found["cladec_shifted"].index if cell[2] in SHIFTS]
    own = found["cladec_shifted"].reindex(at)
    return [
        TITLES[name]
        for name, moved in found.items()
        if not name.startswith("cladec") and at and (moved.reindex(at) < own).all()
    ]


_claim = claims_of("XAI book", PICTURED)
CLAIMS = [
    _claim("L24", "The gradient does not change with a shift of the input that the network takes back", l24, "14.3.2"),
    _claim(
        "L25", "Signal methods, Guided Backprop and PatternNet, do not change with a shift of the input", l25, "14.3.2"
    ),
    _claim("L26", "Gradient × input changes with a shift of the input", l26, "14.3.3", limits=(UNMOVED,)),
    _claim(
        "L27",
        "Integrated gradients from an image of zeros change with a shift of the input",
        l27,
        "14.3.3",
        limits=(UNMOVED,),
    ),
    _claim("L28", "Integrated gradients from a black image do not change with a constant shift", l28, "14.3.3"),
    _claim(
        "L29",
        "Integrated gradients from a black image change with a shift that is a picture",
        l29,
        "14.3.3",
        limits=(UNMOVED,),
    ),
    _claim("L30", "LRP-ε changes with a shift of the input", l30, "14.3.3", limits=(UNMOVED,)),
    _claim("L31", "PatternAttribution does not change with a shift of the input", l31, "14.3.3"),
    _claim(
        "L32",
        "SmoothGrad changes with a shift of the input if the method that it averages does",
        l32,
        "14.3.4",
        limits=(UNMOVED,),
    ),
    _claim("L33", "Gradient × input does not change when neurons are split", l33, "13.3.3"),
    _claim("L34", "LRP-γ changes when neurons are split", l34, "13.3.3", limits=(UNMOVED,)),
    replace(
        claims_of("ClaDec", "the paper expects it and measures nothing")(
            "L35", "ClaDec should be less sensitive to a shift of the input than methods that are", l35, "2"
        ),
        after_data="what is compared, as a decoder that is only trained again had been the rival",
    ),
]
