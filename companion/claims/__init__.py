"""Claims of the paper, each decided by a function: the same one for printed numbers and for ours.

One module per chapter holds its claims. Counting rules: *always* means every cell, *almost always* at least 90 %
of them, *tends to* more than half.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
ALMOST, MOST = 0.9, 0.501


@dataclass(frozen=True)
class Verdict:
    """How a claim fares: `holds`, `does not hold` or `undecided`, with the count or number behind it."""

    verdict: str
    evidence: str


@dataclass(frozen=True)
class Claim:
    """A checkable sentence of the paper.

    Attributes
    ----------
    key, section, text
        Number in our list, section of the paper, the claim in our words.
    decide
        Evidence (what it is, its chapter's module says) -> verdict.
    """

    key: str
    section: str
    text: str
    decide: Callable[[Any], Verdict]


def undecided(why: str) -> Verdict:
    """No verdict, and what would bring one."""
    return Verdict(UNDECIDED, why)


def count(
    hits: Iterable[bool], what: str, share: float = 1.0, allowed: int = 0, clear: Iterable[bool] | None = None
) -> Verdict:
    """Decide from how many cells agree: at least `share` of them, or all but `allowed`.

    Cells that are not `clear` could fall either way; if that would change the verdict, there is none.
    """
    results = [bool(hit) for hit in hits]
    if not results:
        return undecided("needs cells that were not run")
    certain = [True] * len(results) if clear is None else [bool(item) for item in clear]

    def enough(agreeing: int) -> bool:
        return agreeing >= share * len(results) or len(results) - agreeing <= allowed

    evidence = f"{what} in {sum(results)} of {len(results)}"
    open_cells = certain.count(False)
    if open_cells:
        evidence += f", {open_cells} of them within the noise of a single run"
    sure = sum(hit and known for hit, known in zip(results, certain, strict=True))
    if enough(sure) != enough(sure + open_cells):
        return undecided(f"{evidence}; more seeds would decide")
    return Verdict(HOLDS if enough(sure) else FAILS, evidence)


def ledger(claims: list[Claim], sources: dict[str, Any]) -> pd.DataFrame:
    """One row per claim, a verdict with its evidence per source.

    Parameters
    ----------
    claims
        Of one chapter.
    sources
        Evidence by name, such as published, recorded, this run.
    """
    rows = []
    for claim in claims:
        row = {"claim": claim.key, "section": claim.section, "what the paper says": claim.text}
        for name, evidence in sources.items():
            verdict = claim.decide(evidence)
            row[name] = f"{verdict.verdict}: {verdict.evidence}"
        rows.append(row)
    return pd.DataFrame(rows).set_index("claim")
