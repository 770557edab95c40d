"""What if the rule were another? A figure in which readers move its numbers and see which verdicts change.

The page holds the comparisons of every claim with their p-values, and `book/static/what_if.js` applies the rule of
`evidence.claims` to them. At the rule's own numbers it gives the verdicts of the ledger, which a test compares.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from cladec_companion.book import provenance
from cladec_companion.book.ledger import MARKS, SYMBOLS, judged
from cladec_companion.evidence.claims import SIGNIFICANT, STATES, Verdict
from cladec_companion.evidence.comparisons import CONFIDENCE, TAIL, Comparison
from cladec_companion.evidence.thresholds import ALMOST_ALWAYS
from cladec_companion.papers.chapter import Chapter
from cladec_companion.records.record import Record

PRINTED, OURS = "printed numbers", "our best records"
MOST_SHARE = 0.5  # more than so many of the comparisons
SHARES = tuple(round(0.05 * step, 2) for step in range(10, 21))
CONFIDENCES = (0.8, 0.9, CONFIDENCE, 0.98, 0.99, 0.999)


def verdicts(chapters: Mapping[str, Chapter], records: list[Record]) -> dict[str, dict[str, tuple[str, Verdict]]]:
    """By source and claim, the claim's text and its verdict: from print, and from the best record of its chapter."""
    found: dict[str, dict[str, tuple[str, Verdict]]] = {PRINTED: {}, OURS: {}}
    best = {name: provenance.best(name, records) for name in chapters}
    for chapter, claim, printed, ours in judged(chapters, records):
        found[PRINTED][claim.key] = claim.text, printed
        record = best[chapter.name]
        if record:
            found[OURS][claim.key] = claim.text, ours[provenance.name(record)][1]
    return found


def node(verdict: Verdict) -> dict[str, Any]:
    """What the script decides again: the parts of a verdict, or its comparisons and how many it takes, or neither."""
    told: dict[str, Any] = {"was": verdict.verdict}
    if verdict.parts:
        told["parts"] = [node(part) for part in verdict.parts]
    elif verdict.quantifier:
        name, m = verdict.quantifier.name, len(verdict.comparisons)
        fixed = name.startswith("at least ")
        told["takes"] = verdict.quantifier.needed(m) if fixed else name
        told["comparisons"] = [_comparison(one) for one in verdict.comparisons]
    elif np.isfinite(verdict.p):
        told["p"] = verdict.p
    return told


def _comparison(one: Comparison) -> list[Any]:
    """What, effect with interval, both p-values, and whether it may not be read: 1, or 2 if trainings are too short."""
    barred = (2 if one.too_short else 1) if one.obstacle else 0
    return [one.what, one.text, one.p_for, one.p_against, barred]


def rules() -> dict[str, Any]:
    """The values that a reader chooses from, each with the place of the rule's own."""
    levels = [
        {"name": f"{level:g} %", "tail": tail, "significant": significant}
        for level, tail, significant in (
            (100 * level, *((TAIL, SIGNIFICANT) if level == CONFIDENCE else ((1 - level) / 2, 1 - level)))
            for level in CONFIDENCES
        )
    ]
    return {
        "every": {"values": SHARES, "start": SHARES.index(1.0)},
        "most": {"values": SHARES, "start": SHARES.index(MOST_SHARE)},
        "nine": {"values": SHARES, "start": SHARES.index(ALMOST_ALWAYS.value)},
        "level": {"values": levels, "start": CONFIDENCES.index(CONFIDENCE)},
    }


def page(chapters: Mapping[str, Chapter], records: list[Record]) -> str:
    """The figure as HTML; without a script it says what is missing."""
    found = verdicts(chapters, records)
    data = {
        "rules": rules(), "states": STATES,
        "symbols": SYMBOLS, "marks": MARKS,
        "sources": {
            source: [{"key": key, "text": text} | node(verdict) for key, (text, verdict) in claims.items()]
            for source, claims in found.items()
        },
    }  # fmt: skip
    embedded = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    environment = Environment(loader=PackageLoader("cladec_companion.book", ""), autoescape=True, trim_blocks=True)
    return environment.get_template("what_if.html").render(sources=list(found), embedded=embedded) + "\n"
