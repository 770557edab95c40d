"""Claim B55, about the user study (section 6.7, Table 9): shares of answers, printed or counted, with intervals."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from cladec_companion.evidence.claims import FAILS, HOLDS, Claim, Verdict, at_least, every_part, judge, undecided
from cladec_companion.evidence.comparisons import Region, share
from cladec_companion.evidence.thresholds import Threshold
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.user_study.answers import codebook

OFTEN = Threshold("named often", 0.05, "share of the answers; a concept that fewer name is rare", "2026-11-21")
RICH = Threshold("a rich set", 5, "concepts, two more than the study's introduction names", "2026-11-21")
VALID = Threshold("98 % valid", 0.95, "share of the answers, below what is printed by its own error", "2026-11-21")

# The introduction of the paper's study names these three, and says so (section 6.7).
PRIMED = ("outer_or_overall_shape", "pattern_or_texture", "color_or_grey_tone")
# A share among some answers only: those that have the other code.
AMONG = {"shape_mentioned_as_preserved": "outer_or_overall_shape"}
# Codes that are not words once their underscores are spaces.
SPOKEN = {
    "artifacts_introduced_by_ai": "artefacts introduced by AI",
    "claimed_no_difference_though_clear": "claims no difference where one is clear",
    "objectively_false_claims": "claims what the pictures contradict",
    "only_differences_mentioned": "mentions differences only",
    "reconstruction_recognisable_original_not": "recognises the reconstruction, not the original",
    "reconstruction_sharper": "finds the reconstruction sharper",
    "valid": "valid: no error",
}


@dataclass(frozen=True)
class Evidence:
    """What the claim is decided from.

    Attributes
    ----------
    shares
        `kind`, `count`, `n`, `share`, `low`, `high` by code; the code `valid` counts answers without an error.
    know_cnn, people
        How many participants said that they know what a CNN is, and how many answered this question.
    writers
        How many participants wrote the answers.
    """

    shares: pd.DataFrame
    know_cnn: int
    people: int
    writers: int


def spoken(code: str) -> str:
    """A code in words, for tables and figures."""
    return SPOKEN.get(code, code.replace("_", " "))


def interval(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a share; (0, 1) where nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    found = binomtest(int(count), int(n)).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def with_intervals(counts: pd.DataFrame) -> pd.DataFrame:
    """Add `low` and `high` to rows of `count` and `n`."""
    limits = [interval(*pair) for pair in counts[["count", "n"]].itertuples(index=False)]
    return counts.assign(low=[low for low, _ in limits], high=[high for _, high in limits])


def published_shares() -> pd.DataFrame:
    """The printed shares. Counts follow from them and the number of answers, unless they are printed, too."""
    study = printed_tables.published()["user_study"]
    n = study["answers"]
    printed = study["concept_share_of_responses"] | study["validity"] | study["other"]
    rows = []
    for code, kind in [*codebook()["kind"].items(), ("valid", "valid")]:
        value = printed[code]
        if isinstance(value, str):  # "more than", among some of the answers only
            continue
        share = value["share"] if isinstance(value, dict) else value
        count = value["count"] if isinstance(value, dict) else round(share * n)
        rows.append({"code": code, "kind": kind, "count": count, "n": n, "share": share})
    return with_intervals(pd.DataFrame(rows).set_index("code"))


def counted(codes: pd.DataFrame) -> pd.DataFrame:
    """Shares of a coder's sheet (`read_codes`) in the form of `published_shares`."""
    kinds = codebook()["kind"]
    errors = kinds.index[kinds == "error"]
    marks = codes.assign(valid=~codes[errors].any(axis=1))
    rows = []
    for code in marks:
        among = marks[AMONG[code]] if code in AMONG else pd.Series(True, marks.index)
        count, n = int((marks[code] & among).sum()), int(among.sum())
        kind = "valid" if code == "valid" else kinds.get(code, "own")
        rows.append({"code": code, "kind": kind, "count": count, "n": n, "share": count / n if n else np.nan})
    return with_intervals(pd.DataFrame(rows).set_index("code"))


def printed() -> Evidence:
    """Section 6.7 and Table 9."""
    knows = printed_tables.published()["table9"]["knows_cnn"]  # YAML reads the keys yes and no as truth values
    people = printed_tables.published()["user_study"]["participants"]
    return Evidence(published_shares(), knows[True], sum(knows.values()), people)


def arithmetic() -> pd.DataFrame:
    """Does what section 6.7 and Table 9 print fit together? One row per sum, with both numbers and a verdict."""
    study, table = printed_tables.published()["user_study"], printed_tables.published()["table9"]
    validity, ages = study["validity"], [age for _, age in table["age"]]
    none = validity["claimed_no_difference_though_clear"]
    people = {name: sum(groups.values()) for name, groups in table.items() if name != "age"}
    people["age"] = sum(count for count, _ in table["age"])
    rows = [("answers: participants × pairs", study["answers"], study["participants"] * study["pairs_per_participant"])]
    rows += [
        (f"participants: {name.replace('_', ' ')}", study["participants"], total) for name, total in people.items()
    ]
    rows += [
        ("age groups: different ones", len(ages), len(set(ages))),
        ("share of answers that see no difference, from their count", none["share"], none["count"] / study["answers"]),
        (
            "share of incorrect answers",
            validity["incorrect_total"],
            none["share"] + validity["objectively_false_claims"],
        ),
        ("share of valid answers", validity["valid"], 1 - validity["incorrect_total"]),
    ]
    found = pd.DataFrame(rows, columns=["what", "printed", "computed"]).round(2)
    return found.assign(verdict=np.where(found["printed"] == found["computed"], HOLDS, FAILS)).set_index("what")


def evidence(codes: pd.DataFrame, people: pd.DataFrame) -> Evidence:
    """A study of one's own: a coder's sheet and the participants (`read_codes`, `read_answers`)."""
    knows = people["knows_cnn"].value_counts()
    know, do_not = int(knows.get("yes", 0)), int(knows.get("no", 0))
    return Evidence(counted(codes), know, know + do_not, codes.index.unique(0).size)


def one_answer_each(evidence: Evidence) -> Evidence:
    """The same shares as if the answers of each participant were a single one, so that their intervals are wider.

    This is the other extreme: all answers of a participant say the same.
    """
    shares = evidence.shares
    count = (shares["share"].fillna(0) * evidence.writers).round().astype(int)
    return replace(evidence, shares=with_intervals(shares.assign(count=count, n=evidence.writers)))


def unprimed(evidence: Evidence) -> Evidence:
    """The same shares without the concepts that the introduction of the paper's study names."""
    return replace(evidence, shares=evidence.shares.drop(list(PRIMED), errors="ignore"))


def b55(evidence: Evidence) -> Verdict:
    """Five concepts in more than 5 % of the answers each; more than 95 % of the answers valid; most know no CNN.

    Intervals take the answers of one participant for independent of each other. What the verdict would be with wider
    intervals, and without the concepts that participants had read of, stands beside it.
    """
    if not evidence.people:
        return undecided("no participant said whether they know what a CNN is")
    others = {
        "without the concepts that the paper's introduction names": unprimed(evidence),
        "with the wider intervals (one answer per participant)": one_answer_each(evidence),
    }
    told = [f"{name}: {_parts(other).verdict}" for name, other in others.items()]
    return _parts(evidence).plus(f"; {'; '.join(told)}")


def _parts(evidence: Evidence) -> Verdict:
    """Concepts, valid answers and participants, each judged."""

    def compared(code: str, row: pd.Series, claimed: Region) -> list:
        return [share(code, row["count"], row["n"], claimed, of="answers")] if row["n"] else []

    concepts = evidence.shares[evidence.shares["kind"] == "concept"]
    found = [part for code, row in concepts.iterrows() for part in compared(code, row, (OFTEN.value, 1.0))]
    frequent = concepts.index[concepts["share"] >= OFTEN.value]
    told = (
        f"; {len(frequent)} of {len(concepts)} in at least {OFTEN.value:.0%}, "
        f"{len(frequent.difference(PRIMED))} without those that the introduction names"
    )
    laymen = evidence.people - evidence.know_cnn
    without = share(f"{laymen} of {evidence.people}", laymen, evidence.people, (0.5, 1.0), of="participants")
    return every_part(
        {
            "concepts": judge(found, "named often", at_least(int(RICH.value))).plus(told),
            "answers": judge(compared("", evidence.shares.loc["valid"], (VALID.value, 1.0)), "valid ones"),
            "participants": judge([without], "most know no CNN"),
        }
    )


CLAIMS = [
    Claim(
        "B55",
        "6.7",
        "Non-experts name a rich set of concepts, and 98 % of their answers are valid",
        b55,
        limits=(OFTEN, RICH, VALID),
    )
]
