"""Claims of the paper, each decided by a function: the same one for printed numbers and for ours.

One module per chapter holds its claims. Counting rules: *always* means every cell, *almost always* at least 90 %
of them, *tends to* more than half.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd

from cladec_companion.evidence import tables
from cladec_companion.records.record import Record

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
ALMOST, MOST = 0.9, 0.501
SIGNIFICANT = 0.05
RUN = ["dataset", "architecture"]


@dataclass(frozen=True)
class Verdict:
    """How a claim fares: `holds`, `does not hold` or `undecided`, with the count or number behind it."""

    verdict: str
    evidence: str

    def plus(self, more: str) -> "Verdict":
        """The same verdict with more behind it."""
        return Verdict(self.verdict, self.evidence + more)


@dataclass(frozen=True)
class Evidence:
    """What a claim is decided from.

    Attributes
    ----------
    summary
        Mean, sd, n by dataset, architecture, a third level (the layer's index, α, epochs) and metric.
    record
        The rows behind it; None for the printed numbers.
    runs
        The metrics as columns, by dataset, architecture, third level and seed, where a claim pairs runs.
    """

    summary: pd.DataFrame
    record: Record | None = None
    runs: pd.DataFrame | None = None

    def cells(self, metric: str) -> pd.DataFrame:
        """Mean, sd and n per dataset, architecture and third level, rising; empty if nothing was measured."""
        chosen = self.summary[self.summary.index.get_level_values("metric") == metric]
        return chosen.droplevel("metric").sort_index()

    def chains(self, metric: str, least: int = 1) -> list[tuple[tuple[str, str], pd.DataFrame]]:
        """Cells of each dataset and architecture that has at least so many of them."""
        groups = self.cells(metric).groupby(level=RUN)
        return [(run, part.droplevel(RUN)) for run, part in groups if len(part) >= least]

    def measured(self, method: str, metric: str) -> pd.Series:
        """Means over seeds of a record's own measurement of layers, by dataset, architecture and index."""
        rows = tables.numbered(self.record)
        rows = rows[(rows["method"] == method) & (rows["metric"] == metric)]
        return rows.groupby(tables.KEYS)["value"].mean().sort_index()

    def share_noise(self, dataset: str, share: float) -> float:
        """Two standard errors of the difference of two shares of the test images: what a single run cannot tell."""
        images = tables.value_of(self.record, "classifier", "test_images")["mean"].groupby(level="dataset").first()
        return 2 * np.sqrt(2 * share * (1 - share) / images[dataset])


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

    @property
    def test(self) -> str:
        """What `decide` looks at, in one line: its own description."""
        return (self.decide.__doc__ or "").strip().partition("\n")[0]


def undecided(why: str) -> Verdict:
    """No verdict, and what would bring one."""
    return Verdict(UNDECIDED, why)


def unprinted(why: str = "the paper shows pictures only") -> Callable[[Callable], Callable]:
    """Mark a claim about which the paper prints no number; only a record can decide it."""

    def mark(decide: Callable[[Any], Verdict]) -> Callable[[Any], Verdict]:
        @wraps(decide)
        def decided(evidence: Any) -> Verdict:
            return undecided(why) if evidence.record is None else decide(evidence)

        return decided

    return mark


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
