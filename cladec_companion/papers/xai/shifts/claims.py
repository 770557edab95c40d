"""Claims L24-L35: which explanations stay when the function does (chapter 14 and section 13.3.3)."""

from collections.abc import Callable, Sequence

import pandas as pd

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import Claim, Comparison, Evidence, Verdict, judge, unprinted
from cladec_companion.evidence.comparisons import Region
from cladec_companion.evidence.measurements import evidence_of, where
from cladec_companion.evidence.thresholds import UNMOVED
from cladec_companion.papers.xai.shifts.experiment import SPLIT, TITLES
from cladec_companion.papers.xai.shifts.networks import SHIFTS
from cladec_companion.records.record import Record

STAYS: Region = (float("-inf"), UNMOVED.value)
MOVES: Region = (UNMOVED.value, float("inf"))
PICTURES = ("chequered", "figure")


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


def _changes(evidence: Evidence, methods: Sequence[str], changes: Sequence[str], claimed: Region) -> list[Comparison]:
    return [
        evidence.contrast(where((cell[0], ""), f"{TITLES[name]}, {cell[2]}"), {(*cell, name): 1.0}, claimed)
        for name in methods for cell in evidence.cells(name).index if cell[2] in changes
    ]  # fmt: skip


@unprinted()
def l24(evidence: Evidence) -> Verdict:
    """The gradient moves by less than 1 % of its length under each of three shifts."""
    return judge(_changes(evidence, ["gradient"], SHIFTS, STAYS), "moves by less than 1 %")


@unprinted()
def l25(evidence: Evidence) -> Verdict:
    """Guided Backprop and PatternNet move by less than 1 % of their length under each of three shifts."""
    return judge(_changes(evidence, ["guided_backprop", "patternnet"], SHIFTS, STAYS), "moves by less than 1 %")


@unprinted()
def l26(evidence: Evidence) -> Verdict:
    """Gradient × input moves by more than 1 % of its length under each of three shifts."""
    return judge(_changes(evidence, ["gradient_x_input"], SHIFTS, MOVES), "moves by more than 1 %")


@unprinted()
def l27(evidence: Evidence) -> Verdict:
    """From an image of zeros, integrated gradients move by more than 1 % of their length under each of three shifts."""
    return judge(_changes(evidence, ["integrated_gradients_zero"], SHIFTS, MOVES), "moves by more than 1 %")


@unprinted()
def l28(evidence: Evidence) -> Verdict:
    """From a black image, integrated gradients move by less than 1 % of their length under the constant shift."""
    return judge(_changes(evidence, ["integrated_gradients_black"], ["constant"], STAYS), "moves by less than 1 %")


@unprinted()
def l29(evidence: Evidence) -> Verdict:
    """From a black image (one value), integrated gradients move by more than 1 % under each shift that is a picture."""
    return judge(_changes(evidence, ["integrated_gradients_black"], PICTURES, MOVES), "moves by more than 1 %")


@unprinted()
def l30(evidence: Evidence) -> Verdict:
    """LRP-ε moves by more than 1 % of its length under each of three shifts."""
    return judge(_changes(evidence, ["lrp_epsilon"], SHIFTS, MOVES), "moves by more than 1 %")


@unprinted()
def l31(evidence: Evidence) -> Verdict:
    """PatternAttribution moves by less than 1 % of its length under each of three shifts."""
    return judge(_changes(evidence, ["patternattribution"], SHIFTS, STAYS), "moves by less than 1 %")


@unprinted()
def l32(evidence: Evidence) -> Verdict:
    """SmoothGrad of the gradient moves by less than 1 % of its length under each of three shifts, as the gradient."""
    return judge(_changes(evidence, ["smoothgrad"], SHIFTS, STAYS), "moves by less than 1 %")


@unprinted()
def l33(evidence: Evidence) -> Verdict:
    """Gradient × input moves by less than 1 % of its length when neurons are split."""
    return judge(_changes(evidence, ["gradient_x_input"], [SPLIT], STAYS), "moves by less than 1 %")


@unprinted()
def l34(evidence: Evidence) -> Verdict:
    """LRP-γ moves by more than 1 % of its length when neurons are split."""
    return judge(_changes(evidence, ["lrp_gamma"], [SPLIT], MOVES), "moves by more than 1 %")


@unprinted()
def l35(evidence: Evidence) -> Verdict:
    """ClaDec's images by the same decoder move by less than 1 % of their length under each of three shifts."""
    return judge(_changes(evidence, ["cladec"], SHIFTS, STAYS), "moves by less than 1 %").plus(
        "; equal codes make equal images"
    )


def _claim(key: str, section: str, text: str, decide: Callable[[Evidence], Verdict]) -> Claim:
    return Claim(key, f"XAI book, {section}", text, decide)


CLAIMS = [
    _claim("L24", "14.3.2", "The gradient does not change with a shift of the input that the network takes back", l24),
    _claim("L25", "14.3.2", "Signal methods, Guided Backprop and PatternNet, do not change with it", l25),
    _claim("L26", "14.3.3", "Gradient × input changes with it", l26),
    _claim("L27", "14.3.3", "Integrated gradients from an image of zeros change with it", l27),
    _claim("L28", "14.3.3", "Integrated gradients from a black image do not change with a constant shift", l28),
    _claim("L29", "14.3.3", "Integrated gradients from a black image change with a shift that is a picture", l29),
    _claim("L30", "14.3.3", "LRP-ε changes with a shift of the input", l30),
    _claim("L31", "14.3.3", "PatternAttribution does not change with it", l31),
    _claim("L32", "14.3.4", "SmoothGrad inherits what the method has that it averages", l32),
    _claim("L33", "13.3.3", "Gradient × input does not change when neurons are split", l33),
    _claim("L34", "13.3.3", "LRP-γ changes when neurons are split", l34),
    Claim("L35", "ClaDec, 2", "ClaDec is insensitive to a shift of the input", l35),
]
