"""The ledger of all claims, and where our numbers and verdicts depart from the printed ones."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from string import ascii_letters, digits
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader

from cladec_companion.book import provenance, verdicts
from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import (
    FAILS,
    HOLDS,
    NOT_APPLICABLE,
    NOT_COMPARABLE,
    RUN,
    STATES,
    UNDECIDED,
    Claim,
    Verdict,
    corrected,
)
from cladec_companion.papers import PAPERS
from cladec_companion.papers.chapter import Chapter, Quotation
from cladec_companion.records.record import Record

# Classes of the style sheet; a state without one looks like an undecided claim.
MARKS = {state: state.replace(" ", "-") for state in STATES} | {FAILS: "fails"}
SYMBOLS = {HOLDS: "✓", FAILS: "✗", UNDECIDED: "?", NOT_COMPARABLE: "≁", NOT_APPLICABLE: "–"}
LOSSES = {"rec", "total", "cls"}  # how their metrics' names begin; all others are accuracies
OPEN_STATES = (UNDECIDED, NOT_COMPARABLE)
Judged = tuple[Chapter, Claim, Verdict, dict[str, tuple[int, Verdict]]]
Chapters = Mapping[str, Chapter]


def of(experiment: str, records: list[Record]) -> list[Record]:
    """The records of an experiment."""
    return [record for record in records if record.manifest["experiment"] == experiment]


def judged(chapters: Chapters, records: list[Record]) -> Iterator[Judged]:
    """Each claim with its chapter, its verdict from print, and n and its verdict from each record, by name."""
    for chapter in chapters.values():
        found = of(chapter.name, records)
        for module in chapter.all_claims:
            printed = module.printed()
            others = () if module is chapter.claims else (found,)
            evidence = [(provenance.name(one), provenance.runs(one), module.evidence(one, *others)) for one in found]
            for claim in module.CLAIMS:
                ours = {name: (runs, claim.decide(measured)) for name, runs, measured in evidence}
                yield chapter, claim, claim.decide(printed), ours


def ledger(chapters: Chapters, records: list[Record]) -> str:
    """Counts of the verdicts, a matrix of all claims (print beside the best record), and a card for each claim."""
    claims: dict[str, _Row] = {}
    found: dict[str, dict[str, Verdict]] = defaultdict(dict)  # source -> claim -> verdict
    chosen = {name: provenance.best(name, records) for name in chapters}
    said = {key: quotation for paper in PAPERS for key, quotation in paper.quotations.items()}
    known = verdicts.history()
    # The cards have all records; the table of counts has none of digits and none with changed parameters.
    real = (one for one in records if one.folder.parent.name in provenance.REAL)
    whole = {provenance.name(one) for one in real}
    for chapter, claim, printed, all_ours in judged(chapters, records):
        record = chosen[chapter.name]
        ours = all_ours.get(provenance.name(record)) if record else None
        claims[claim.key] = _Row(
            chapter, claim, printed, ours[1] if ours else None, all_ours, said.get(claim.key, Quotation()),
            known.get(claim.key, []),
        )  # fmt: skip
        found["printed numbers"][claim.key] = printed
        for name, (_, verdict) in all_ours.items():
            if name in whole:
                found[name][claim.key] = verdict
    counts = pd.DataFrame([_counts(source, decided, len(claims)) for source, decided in found.items()])
    letters = list(dict.fromkeys(key.rstrip(digits) for key in claims))  # claims of a paper are counted by a letter
    listed = sorted(claims, key=lambda key: (letters.index(key.rstrip(digits)), int(key.lstrip(ascii_letters))))
    cards = "\n\n".join(_card(claims[key]) for key in listed)
    return f"{tables.markdown(counts)}\n\n{_matrix(claims[key] for key in listed)}\n\n## Claim by claim\n\n{cards}"


@dataclass(frozen=True)
class _Row:
    """A claim in the matrix."""

    chapter: Chapter
    claim: Claim
    printed: Verdict
    ours: Verdict | None
    all_ours: dict[str, tuple[int, Verdict]]
    said: Quotation
    history: list[verdicts.Change]

    @property
    def shown(self) -> str:
        """Where a reader sees it: a figure, or else the numbers beside the verdict on the page that lists the claim."""
        if self.said.figure:
            return f"{{numref}}`{self.said.figure}`"
        listed = self.chapter.claims is not None and self.claim in self.chapter.claims.CLAIMS
        return f"[the verdicts of the chapter]({self.chapter.name}-verdicts), in numbers" if listed else ""

    @property
    def absent(self) -> str:
        """What stands where no record decides."""
        return self.chapter.unrecorded or "not recorded yet"

    def cells(self) -> dict[str, Any]:
        """The row of the matrix; a picture without a number is called what it is."""
        printed = self.printed.verdict
        pictures = printed == NOT_APPLICABLE and "pictures" in self.printed.evidence
        states = {printed, self.ours.verdict if self.ours else ""}
        return {
            "key": self.claim.key, "text": self.claim.text, "absent": self.absent, "printed": printed,
            "printed_word": "pictures only" if pictures else printed, "disagree": states == {HOLDS, FAILS},
            "ours": self.ours.verdict if self.ours else "",
        }  # fmt: skip


def _matrix(rows: Iterable[_Row]) -> str:
    """All claims by chapter: in plain words, the verdict of the printed numbers, that of our best record."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row.chapter.name].append(row.cells())
    paper_of = {chapter.name: paper.title for paper in PAPERS for chapter in paper.chapters}
    chapters = [
        {"name": name, "paper": paper_of.get(name, ""), "title": provenance.titled(name), "rows": own}
        for name, own in groups.items()
    ]
    papers = list(dict.fromkeys(chapter["paper"] for chapter in chapters))
    environment = Environment(loader=PackageLoader("cladec_companion.book", ""), autoescape=True, trim_blocks=True)
    template = environment.get_template("ledger.html")
    page = template.render(papers=papers, chapters=chapters, states=STATES, marks=MARKS, symbols=SYMBOLS)
    return "```{raw} html\n" + re.sub(r"\n\s*\n", "\n", page).strip() + "\n```"


def _card(row: _Row) -> str:
    """One claim: in the words of the paper, its rule, its verdicts by the printed numbers and each of our records."""
    section = row.claim.section
    where = f"Section {section}" if section[0].isdigit() or section.startswith("C ") else section
    ours = [f"- *{name}*, n = {runs}: {_marked(verdict)}" for name, (runs, verdict) in row.all_ours.items()]
    return "\n".join([
        f"(claim-{row.claim.key.lower()})=",
        ":::{div} claim-card",
        f"**{row.claim.key}. {row.claim.text}.** ({where}; {_chapter(row.chapter.name)})",
        "",
        *_lines(row),
        f"- *printed numbers*: {_marked(row.printed)}",
        *(ours or [f"- *our records*: {row.absent}"]),
        ":::",
    ])  # fmt: skip


def _lines(row: _Row) -> Iterator[str]:
    """What a card says above the verdicts, each in a paragraph: quotation, rule, figure, what is missing, history."""
    told = {
        "The paper": f"“{row.said.quote}”" if row.said.quote else "",
        "Decided by": row.claim.test,
        "Shown in": row.shown,
        "What keeps our verdict open": row.ours.missing if row.ours and row.ours.verdict in OPEN_STATES else "",
        "Our verdict so far": verdicts.told(row.history),
    }
    for heading, text in told.items():
        if text:
            yield f"*{heading}:* {text}"
            yield ""


def _counts(source: str, decided: dict[str, Verdict], claims: int) -> dict[str, str | int]:
    """How many claims of a source are in which state, and how many are decided after Holm's correction over all."""
    states = pd.Series([verdict.verdict for verdict in decided.values()]).value_counts()
    counts = {state: int(states.get(state, 0)) for state in MARKS}
    surviving = int(corrected(decided)["survives"].sum())
    return {"verdicts from": source, **counts, "not recorded": claims - len(decided), "decided after Holm": surviving}


def _chapter(experiment: str) -> str:
    return f"[{provenance.spoken(experiment)}](../notebooks/{experiment}.ipynb)"


def _marked(verdict: Verdict) -> str:
    return f"[{verdict.verdict}]{{.verdict .{MARKS[verdict.verdict]}}}: {verdict.evidence}"


def differences(chapters: Chapters, records: list[Record]) -> str:
    """Where a record departs from the printed numbers, and in what it was made differently: the likely reasons."""
    parts = []
    for chapter in chapters.values():
        for record in of(chapter.name, records) if chapter.axis else []:
            claims = chapter.claims
            assert claims is not None
            printed, measured = chapter.printed_as_recorded(), claims.evidence(record)
            # Verdicts from other cells than the record's would not be comparable.
            same = printed.summary[printed.summary.index.isin(measured.summary.index)]
            if same.empty:
                continue
            printed = replace(printed, summary=same)
            quantities = chapter.columns
            table = deviations(printed.summary, measured.summary, quantities, provenance.shorter(record))
            turned = [
                f"{claim.key} ({first} in print, {second} here)"
                for claim in claims.CLAIMS
                for first, second in [(claim.decide(printed).verdict, claim.decide(measured).verdict)]
                if {first, second} == {HOLDS, FAILS}
            ]
            parts += [
                f"### {provenance.title(record)}",
                f"Different from the paper: {provenance.protocol(record)}. {chapter.reason}",
                tables.markdown(table),
                f"Claims with the opposite verdict from the same cells: {', '.join(turned) or 'none'}.",
            ]
    return "\n\n".join(parts) or "No record yet of what the paper prints."


def _reason(metric: str, difference: float, shorter: bool) -> str:
    """Losses above and accuracies below the printed ones are what shorter training leads to; nothing else is."""
    if metric.startswith("d_") or metric.endswith("_d"):
        return "that of its two parts"
    worse = difference > 0 if metric.partition("_")[0] in LOSSES else difference < 0
    return "shorter training" if worse and shorter else "another set-up or reading"


def deviations(
    printed: pd.DataFrame, measured: pd.DataFrame, quantities: dict[str, str], shorter: bool
) -> pd.DataFrame:
    """Measured minus printed means of each quantity: in how many cells, and how far.

    Parameters
    ----------
    printed, measured
        Summaries with the same index; cells that both have are compared.
    quantities
        Metric -> heading, of those to compare.
    shorter
        Whether the measured ones were trained for fewer epochs, or on fewer images.
    """
    both = printed.join(measured, how="inner", suffixes=("_printed", ""))
    both["difference"] = both["mean"] - both["mean_printed"]
    rows = []
    for (dataset, architecture, metric), part in both.groupby(level=[*RUN, "metric"], sort=False):
        if metric in quantities:
            far = part.loc[part["difference"].abs().idxmax()]
            rows.append(
                {
                    "data": tables.DATASET_NAMES[dataset], "classifier": tables.ARCHITECTURE_NAMES[architecture],
                    "quantity": quantities[metric], "cells": len(part),
                    "higher here": (part["difference"] > 0).sum(),
                    "mean difference": f"{part['difference'].mean():+.3f}",
                    "largest": f"{far['difference']:+.3f} at {far.name[2]:g}",
                    "likely reason": _reason(metric, part["difference"].mean(), shorter),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)
