"""What was found: the verdicts of the best records in plain sentences, for a page of its own and below each title.

Nothing here is typed in: which claim stands under which heading, its effect, its interval and its budget follow from
the records, and change with them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cladec_companion.book import provenance
from cladec_companion.book.ledger import judged
from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, UNDECIDED, Claim, Verdict, corrected
from cladec_companion.evidence.comparisons import AGAINST, FOR
from cladec_companion.papers import CHAPTERS, PAPERS
from cladec_companion.papers.chapter import Chapter
from cladec_companion.records.record import Record

Chapters = Mapping[str, Chapter]
Drawn = Mapping[str, tuple[str, str]]
LEANING = 3  # open claims that a chapter's answer tells of
TOLD = 4  # claims of one state that a chapter's answer names
PICTURES = 10  # of the page, so that it stays light; the others are linked
SHOWN = 4  # results of a paper under a heading of the page; the ledger has all
HEADINGS = {HOLDS: "Held", FAILS: "Did not hold"}
LARGE = "MNIST, Fashion-MNIST or CIFAR-100"  # data sets of the profiles that decide; the others train on small digits
READINGS = {HOLDS: FOR, FAILS: AGAINST}


@dataclass(frozen=True)
class Finding:
    """A claim with its verdict from the best record of its chapter."""

    chapter: Chapter
    claim: Claim
    verdict: Verdict
    record: Record
    survives: bool = False


def findings(chapters: Chapters, records: list[Record]) -> list[Finding]:
    """Every claim of the chapters that have a record; which verdicts survive Holm's correction over all of them."""
    found = list(_findings(chapters, records))
    kept = corrected({one.claim.key: one.verdict for one in found})["survives"]
    return [
        Finding(one.chapter, one.claim, one.verdict, one.record, bool(kept.get(one.claim.key, False))) for one in found
    ]


def _findings(chapters: Chapters, records: list[Record]) -> Iterator[Finding]:
    for chapter in chapters.values():
        record = provenance.best(chapter.name, records)
        if record is None:
            continue
        for _, claim, _, verdicts in judged({chapter.name: chapter}, records):
            yield Finding(chapter, claim, verdicts[provenance.name(record)][1], record)


def page(chapters: Chapters, records: list[Record], drawn: Drawn | None = None) -> str:
    """The results of all chapters: what held, what did not, and what would decide the rest.

    Parameters
    ----------
    chapters, records
        The chapters by name, and the records that decide.
    drawn
        Figures whose pictures lie beside the page -> their alternative texts and captions. Each is shown once, by the
        first result that it shows.
    """
    found = findings(chapters, records)
    if not found:
        return "No record yet."
    parts, seen = [_summary(found, chapters)], set[str]()
    for state, heading in HEADINGS.items():
        own = sorted((one for one in found if one.verdict.verdict == state), key=_strength)
        parts.append(f"## {heading}")
        papers = [(paper.title, [one for one in own if one.chapter in paper.chapters]) for paper in PAPERS]
        told = [(title, results) for title, results in papers if results]
        for title, results in told:
            parts.append(f"### {title[0].upper()}{title[1:]}")
            parts.append("\n".join(_items(results[:SHOWN], drawn or {}, seen)))
            if len(results) > SHOWN:
                parts.append(f"The [ledger](claims.md) has {len(results) - SHOWN} more.")
        if not told:
            parts.append("Nothing, so far.")
    parts += list(_ours(chapters, records))
    still_open = [one for one in found if one.verdict.verdict == UNDECIDED]
    rows = [
        {"claim": f"{_card(one)}: {one.claim.text}", "what keeps it open": one.verdict.missing} for one in still_open
    ]
    parts += ["## Still open in our runs", tables.markdown(pd.DataFrame(rows)) if rows else "Nothing is open."]
    return "\n\n".join(parts)


def _strength(one: Finding) -> tuple[bool, float]:
    """Surviving verdicts first, then by p-value; those without one last."""
    return not one.survives, float(np.nan_to_num(one.verdict.p, nan=1.0))


def _summary(found: list[Finding], chapters: Chapters) -> str:
    """What is known of each paper's claims, and of how many nothing is known yet."""
    keys = {one.claim.key for one in found}
    every = {claim.key for chapter in chapters.values() for module in chapter.all_claims for claim in module.CLAIMS}
    lines = []
    for paper in PAPERS:
        own = [one for one in found if one.chapter in paper.chapters]
        if own:
            lines.append(f"- **{paper.title}**: {_counted(own)}.")
    survivors = sum(one.survives for one in found)
    records = {provenance.title(one.record): None for one in found}
    counted = (
        f"Of {len(every)} claims, {len(every - keys)} have no run on {LARGE} yet. {survivors} verdicts would "
        "stand even if chance had to be excluded for all claims at once (Holm's correction). More seeds or a longer "
        "training may decide what is *undecided*; what is *not comparable* rests on too short a training, or lacks "
        "what a fair comparison needs. Where a result has one seed, the width of its interval is borrowed from runs "
        "that were repeated."
    )
    return "\n\n".join(
        [*_in_short(found), "\n".join(lines), counted, f"The verdicts rest on these records: {'; '.join(records)}."]
    )


def _in_short(found: list[Finding]) -> Iterator[str]:
    """Results that survive Holm's correction, in a sentence for each state: two of ClaDec, one of each other paper."""
    for state, said in ((HOLDS, "What clearly held"), (FAILS, "What clearly did not hold")):
        told = []
        for paper in PAPERS:
            surest = [one for one in found if one.survives and one.verdict.verdict == state]
            own = [one for one in surest if one.chapter in paper.chapters]
            told += sorted(own, key=_strength)[: 2 if paper is PAPERS[0] else 1]
        if told:
            yield f"**{said}:** {'; '.join(f'{one.claim.text} ({_card(one)})' for one in told)}."


def _ours(chapters: Chapters, records: list[Record]) -> Iterator[str]:
    """Questions that no paper asks, chapter by chapter: what held and what did not."""
    for chapter in chapters.values():
        record = provenance.best(chapter.name, records)
        if chapter.findings is None or record is None:
            continue
        verdicts = chapter.findings.findings_of(record)
        lines = [
            f"- **{HEADINGS[state]}:** {'; '.join(text for text, one in verdicts.items() if one.verdict == state)}."
            for state in HEADINGS
            if any(one.verdict == state for one in verdicts.values())
        ]
        if lines:
            title = f"## Questions of ours: {provenance.spoken(chapter.name)}"
            see = f"{_basis(record)} See [](../notebooks/{chapter.name}.ipynb)."
            yield "\n\n".join(filter(None, [title, _background(chapter), "\n".join(lines), see]))


def _background(chapter: Chapter) -> str:
    """What a reader has to know before the answers to a chapter's questions of ours; empty where they need nothing."""
    return getattr(chapter.findings, "BACKGROUND", "")


def _counted(found: list[Finding]) -> str:
    counts = pd.Series([one.verdict.verdict for one in found]).value_counts()
    return ", ".join(f"{state}: {count}" for state, count in counts.items())


def _items(found: list[Finding], drawn: Drawn, seen: set[str]) -> Iterator[str]:
    """The results of a heading, each with the picture that shows it, unless the picture was `seen` before."""
    said = {key: quotation for paper in PAPERS for key, quotation in paper.quotations.items()}
    for one in found:
        figure = said[one.claim.key].figure if one.claim.key in said else ""
        yield _item(one) + (f" See {{numref}}`{figure}`." if figure in drawn else "")
        if figure in drawn and figure not in seen and len(seen) < PICTURES:
            seen.add(figure)
            alt, caption = drawn[figure]
            link = f":target: ../_images/{figure}.png"  # as wide as it was drawn: a phone shows it small
            yield f"\n  ```{{image}} generated/{figure}.png\n  :alt: {alt}\n  {link}\n  ```\n\n  {caption}\n"


def _item(one: Finding) -> str:
    """One result: the claim, its effect, on what it rests."""
    weak = "" if one.survives else " Alone it is decided, but not if chance has to be excluded for all claims at once."
    return f"- **{one.claim.text}** ({_card(one)}). {_effect(one.verdict)} {_basis(one.record)}{weak}"


def _effect(verdict: Verdict) -> str:
    """The comparison in the middle of those that say what the verdict says (the lower of two), with its interval."""
    part = _decisive(verdict)
    known = [c for c in part.comparisons if np.isfinite(c.low) and np.isfinite(c.high) and not c.obstacle]
    agreeing = [c for c in known if c.reading == READINGS.get(part.verdict)]
    if not agreeing:
        return ""
    middle = sorted(agreeing, key=lambda c: c.effect)[(len(agreeing) - 1) // 2]
    where = f"{middle.what}: " if middle.what else ""
    of, side = "", "clearly for" if part.verdict == HOLDS else "clearly against"
    if len(agreeing) < len(known):
        which = "the only one" if len(agreeing) == 1 else f"the middle one of {len(agreeing)}"
        of = f", {which} {side} the claim among {len(known)}"
    elif len(known) > 1:
        of = f", the middle one of {len(known)} comparisons"
    return f"{_measured(part)} ({where}{middle.text}{of})."


def _decisive(verdict: Verdict) -> Verdict:
    """Of a claim of several parts, each with effects of its own, the part on which its verdict hangs."""
    agreeing = [part for part in verdict.parts if part.verdict == verdict.verdict]
    if not agreeing:
        return verdict
    # A single part makes a claim fail, the clearest; for it to hold, the least clear has to hold as well.
    hangs = min if verdict.verdict == FAILS else max
    return _decisive(hangs(agreeing, key=lambda part: float(np.nan_to_num(part.p, nan=1.0))))


def _card(one: Finding) -> str:
    """A link to the claim's card in the ledger."""
    return f"[{one.claim.key}](claim-{one.claim.key.lower()})"


def _share(verdict: Verdict) -> float:
    """Share of an open claim's comparisons that are for it; 0 if any is against it."""
    readings = [comparison.reading for comparison in verdict.comparisons]
    if verdict.verdict != UNDECIDED or not readings or AGAINST in readings:
        return 0.0
    return readings.count(FOR) / len(readings)


def _measured(verdict: Verdict) -> str:
    """What was compared, and in how many cases it came out as claimed: the first words of the evidence."""
    text = _counts(verdict)
    return text[:1].upper() + text[1:]


def _counts(verdict: Verdict) -> str:
    return verdict.evidence.partition(",")[0].partition(" (")[0]


def _basis(record: Record) -> str:
    """On what networks a result rests."""
    known = record.manifest["configuration"]
    epochs = provenance.lengths(record)
    images = f" on {known['train_limit']:,} images" if known.get("train_limit") else ""
    trained = f"; its networks had {epochs}{images}" if epochs else ""
    return f"Record `{record.folder.parent.name}`: {provenance.seeds(record)}{trained}."


def answer(chapter: Chapter, records: list[Record]) -> str:
    """The chapter's answer in three sentences, from the best record.

    Parameters
    ----------
    chapter, records
        The chapter, and the records that decide.

    Returns
    -------
    str
        Empty for a chapter that claims nothing.
    """
    # A claim that this chapter tells of may be decided by the record of another one.
    told = _told(chapter, records, CHAPTERS)
    if not told:
        return _undecided(chapter)
    by_state = {state: [one for one in told if one.verdict.verdict == state] for state in (HOLDS, FAILS)}
    rest = [one for one in told if one.verdict.verdict not in by_state]
    leaning = sorted((one for one in rest if _share(one.verdict) > 0.5), key=lambda one: -_share(one.verdict))[:LEANING]
    sentences = [
        f"**{said}:** {_sentences(by_state[state])}."
        for state, said in ((HOLDS, "Held"), (FAILS, "Did not hold"))
        if by_state[state]
    ]
    if leaning:
        so_far = "; ".join(
            f"{one.text} ({': '.join(filter(None, [one.link, _counts(one.verdict)]))})" for one in leaning
        )
        sentences.append(f"**Open, though most comparisons are for it:** {so_far}.")
    if others := len(rest) - len(leaning):
        where = "[the ledger](../book/claims.md)" if chapter.judged_by or chapter.decided_elsewhere else "the page"
        more = " more" if sentences else ""
        sentences.append(f"**Not decided:** {others}{more}; {where} says what would decide each.")
    parts = filter(None, [_background(chapter), *sentences, _basis(told[0].record)])
    return ":::{admonition} The answer, from the records\n" + "\n\n".join(parts) + "\n:::"


@dataclass(frozen=True)
class _Told:
    """A sentence of an answer: its text, the link to its card (empty: it has none), its verdict, what decided it."""

    text: str
    link: str
    verdict: Verdict
    record: Record


def _told(chapter: Chapter, records: list[Record], chapters: Chapters) -> list[_Told]:
    """What a chapter has found: its own claims, those that it tells of, and its answers to questions of ours."""
    own = {claim.key for claim in chapter.claims.CLAIMS} if chapter.claims else set()
    elsewhere = {
        one.name: one
        for one in (chapters.values() if chapter.decided_elsewhere else ())
        if any(claim.key in chapter.decided_elsewhere for module in one.all_claims for claim in module.CLAIMS)
    }
    found = [
        one
        for one in _findings({chapter.name: chapter} | elsewhere, records)
        if one.claim.key in own | {*chapter.decided_elsewhere} and one.verdict.verdict != NOT_APPLICABLE
    ]
    told = [_Told(one.claim.text, _card(one), one.verdict, one.record) for one in found]
    record = provenance.best(chapter.name, records)
    if chapter.findings is not None and record is not None:
        verdicts = chapter.findings.findings_of(record)
        told += [_Told(text, "", verdict, record) for text, verdict in verdicts.items()]
    return told


def _sentences(found: list[_Told]) -> str:
    """The surest of some results, and how many there are besides."""
    surest = sorted(found, key=lambda one: float(np.nan_to_num(one.verdict.p, nan=1.0)))[:TOLD]
    said = [one.text + (f" ({one.link})" if one.link else "") for one in surest]
    return "; ".join(said) + (f"; and {len(found) - TOLD} more" if len(found) > TOLD else "")


def _undecided(chapter: Chapter) -> str:
    """What to say at the head of a chapter of which no real run is recorded."""
    if not chapter.claims:
        return ""
    why = chapter.unrecorded or (
        f"no run on {LARGE} is recorded; until there is one, the figures show the small digits of scikit-learn"
    )
    return f":::{{admonition}} The answer\nNothing is decided yet, as {why}.\n:::"
