"""Claims of the paper, each decided by one rule: the same for printed numbers and for our records.

A claim is a list of comparisons (an effect with a 95 % interval: for, against or open) and a quantifier that says how
many of them have to be for it: every, nine in ten, most, some. It *holds* if the data show that at least so many are,
it *does not hold* if they show that too few can be, and stays *undecided* otherwise. To show takes more than to count,
since many comparisons are looked at: their p-values are combined as Benjamini and Heller (2008) do for "at least k of
m" (partial conjunction, with Simes' inequality), and each side is tested at 2.5 %. A claim about nothing but noise is
therefore decided in at most 5 % of cases, however many comparisons it has.

Two more states: *not comparable*, where training was too short for what is stated, and *not applicable*, where no
result could speak against a statement, or a picture comes without a number. Each chapter's module holds its claims.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from cladec_companion.evidence.comparisons import AGAINST, FOR, NOT_CONVERGED, OPEN, TAIL, Comparison
from cladec_companion.evidence.measurements import RUN, Entry, Evidence
from cladec_companion.evidence.thresholds import ALMOST_ALWAYS, Threshold
from cladec_companion.records.record import Record

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
NOT_COMPARABLE, NOT_APPLICABLE = "not comparable", "not applicable"
STATES = (HOLDS, FAILS, UNDECIDED, NOT_COMPARABLE, NOT_APPLICABLE)
SIGNIFICANT = 0.05
LISTED = 3  # comparisons that a verdict names one by one; of more it names the ends
NAMED = 2  # of more, open and opposite ones that it names, too, if they are so few
OBSTACLES = "open because of: "

__all__ = [
    "EVERY", "FAILS", "FAIR", "HOLDS", "MOST", "NINE_IN_TEN", "NOT_APPLICABLE", "NOT_COMPARABLE", "RUN", "SIGNIFICANT",
    "SOME", "STATES", "UNDECIDED", "Claim", "Comparison", "Entry", "Evidence", "Quantifier", "Verdict", "at_least",
    "by_construction", "claims_of", "corrected", "effects", "every_part", "fair_to_reference", "judge",
    "not_applicable", "not_comparable", "too_short", "undecided", "unprinted", "verdict_table",
]  # fmt: skip


@dataclass(frozen=True)
class Quantifier:
    """How many of m comparisons have to be for a claim."""

    name: str
    needed: Callable[[int], int]


EVERY = Quantifier("every", lambda m: m)
NINE_IN_TEN = Quantifier("nine in ten", lambda m: int(np.ceil(ALMOST_ALWAYS.value * m - 1e-9)))
MOST = Quantifier("most", lambda m: m // 2 + 1)
SOME = Quantifier("some", lambda m: 1)


def at_least(count: int) -> Quantifier:
    """So many, however many there are."""
    return Quantifier(f"at least {count}", lambda m: count)


@dataclass(frozen=True)
class Verdict:
    """How a claim fares.

    Attributes
    ----------
    verdict
        One of `STATES`.
    evidence
        What it was decided from, in a sentence, and what would decide it.
    comparisons
        The effects with their intervals.
    p
        Two-sided p-value of the claim, for the correction over all claims; NaN where nothing was tested.
    named
        Of a claim that says several things at once, the verdict on each by its name.
    quantifier
        How many of the comparisons it took; None where they were not counted.
    open_because
        What keeps it open, and so what would decide it; empty for a claim that is decided.
    """

    verdict: str
    evidence: str
    comparisons: tuple[Comparison, ...] = ()
    p: float = np.nan
    named: Mapping[str, "Verdict"] = field(default_factory=dict)
    quantifier: Quantifier | None = None
    open_because: str = ""

    @property
    def parts(self) -> tuple["Verdict", ...]:
        """The verdicts on the parts of a claim that says several things at once."""
        return tuple(self.named.values())

    @property
    def n(self) -> int:
        """Fewest independent values behind any of its comparisons; 0 without one."""
        return min((comparison.n for comparison in self.comparisons), default=0)

    @property
    def missing(self) -> str:
        """What keeps an open claim open, and so what would decide it: of its open parts, without long lists."""
        if self.open_because:
            return re.sub(r" ?\([^()]{60,}\)", "", self.open_because).strip()
        waiting = {name: part.missing for name, part in self.named.items() if part.verdict not in (HOLDS, FAILS)}
        return "; ".join(f"{name}: {told}" for name, told in waiting.items())

    def plus(self, more: str) -> "Verdict":
        """The same verdict with more behind it."""
        return replace(self, evidence=self.evidence + more)


@dataclass(frozen=True)
class Claim:
    """A checkable sentence of the paper.

    Attributes
    ----------
    key, section, text
        Number in our list, section of the paper, the claim in our words.
    decide
        Evidence (what it is, its chapter's module says) -> verdict.
    after_data
        What in its rule was settled when the results on which it decides had been seen already; empty if nothing.
    limits
        Every limit that its rule looks at. A test compares them with those that are read while it is decided.
    """

    key: str
    section: str
    text: str
    decide: Callable[[Any], Verdict]
    after_data: str = ""
    limits: tuple[Threshold, ...] = ()

    @property
    def test(self) -> str:
        """What `decide` looks at, in one line: its own description, and what was settled late in it."""
        line = (self.decide.__doc__ or "").strip().partition("\n")[0]
        return f"{line} (After the data were seen: {self.after_data}.)" if self.after_data else line


def undecided(why: str) -> Verdict:
    """No verdict, and what would bring one."""
    return Verdict(UNDECIDED, why, open_because=why)


def not_comparable(why: str) -> Verdict:
    """No verdict, since the run is too short for what is stated."""
    return Verdict(NOT_COMPARABLE, why, open_because=why)


def not_applicable(why: str) -> Verdict:
    """No verdict, since no result could speak against what is stated, or no number is stated."""
    return Verdict(NOT_APPLICABLE, why, open_because=why)


def by_construction(why: str, numbers: Iterable[Comparison]) -> Verdict:
    """No verdict, since what is stated follows from how a thing is made, with what a record has of it all the same."""
    found = [f"{value:.4g}" for value in sorted(comparison.effect for comparison in numbers)]
    cells = f" to {found[-1]} in {len(found)} cells" if len(found) > 1 else ""
    return not_applicable(f"true by construction: {why}" + (f"; measured: {found[0]}{cells}" if found else ""))


def claims_of(source: str, unprinted_because: str = "", limits: tuple[Threshold, ...] = ()) -> Callable[..., Claim]:
    """What makes the claims of one source.

    Parameters
    ----------
    source
        Section, or book.
    unprinted_because
        Why only a record can decide any of them (see `unprinted`); empty if print can decide some.
    limits
        What the rule of each of them looks at if nothing else is said.

    Returns
    -------
    Callable
        (key, text, decide, within="", limits=limits) -> claim, of a section of that book if one is named.
    """

    def claim(
        key: str, text: str, decide: Callable[[Any], Verdict], within: str = "", limits: tuple[Threshold, ...] = limits
    ) -> Claim:
        decided = unprinted(unprinted_because)(decide) if unprinted_because else decide
        section = ", ".join(part for part in (source, within) if part)
        return Claim(key, section, text, decided, limits=limits)

    return claim


def unprinted(why: str = "the paper shows pictures only") -> Callable[[Callable], Callable]:
    """Mark a claim about which the paper prints no number; only a record can decide it."""

    def mark(decide: Callable[[Any], Verdict]) -> Callable[[Any], Verdict]:
        @wraps(decide)
        def decided(evidence: Any) -> Verdict:
            return not_applicable(why) if evidence.record is None else decide(evidence)

        return decided

    return mark


PROTOCOL_EPOCHS = 64  # of every training in the paper, on all training images
FAIR = "that a reference trained for less than the paper's budget can win but not lose"  # said where it decides


def too_short(record: Record | None) -> str:
    """In what a record's trainings are shorter than the paper's; empty for printed numbers and for a full run."""
    if record is None:
        return ""
    found = record.manifest["configuration"]
    epochs = {found[name] for name in ("classifier_epochs", "decoder_epochs") if found.get(name, 64) < PROTOCOL_EPOCHS}
    said = [f"{min(epochs)} of {PROTOCOL_EPOCHS} epochs"] if epochs else []
    if found.get("train_limit"):
        said.append(f"{found['train_limit']:,} training images instead of all")
    return ", ".join(said)


def fair_to_reference(found: Comparison, record: Record | None, *, loses: bool) -> Comparison:
    """Bar a comparison that a reference loses after a shorter training than the paper's.

    Longer training could turn such a defeat, as the reference has an encoder to learn and ClaDec has not. That its loss
    no longer falls quickly (`training.still_falling`) does not exclude that: in short trainings a slow fall goes
    unnoticed. A reference that wins although its training was short wins all the more.
    """
    short = too_short(record)
    return found.barred(f"the reference loses after {short}", too_short=True) if short and loses else found


def partial_conjunction(p: Sequence[float], needed: int) -> float:
    """p-value of "at least `needed` of these hypotheses are false" (Benjamini and Heller 2008, with Simes' inequality).

    For all of them this is the largest p-value, for at least one Simes' combination.
    """
    ordered = np.sort(np.asarray(p, dtype=float))
    m = len(ordered)
    if not 1 <= needed <= m:
        return float(needed > m)  # more than there are cannot be, none at all are always
    ranks = np.arange(needed, m + 1)
    return float(min(1.0, ((m - needed + 1) / (ranks - needed + 1) * ordered[needed - 1 :]).min()))


def judge(
    comparisons: Iterable[Comparison], what: str, quantifier: Quantifier = EVERY, *,
    lacking: str = "needs cells that were not run",
) -> Verdict:  # fmt: skip
    """Decide a claim from its comparisons.

    Parameters
    ----------
    comparisons
        Each counts once.
    what
        What a comparison that is `for` shows, such as "ΔRec > 0".
    quantifier
        How many of them it takes.
    lacking
        What to say if there are none.
    """
    found = tuple(comparisons)
    if not found:
        return undecided(lacking)
    if all(comparison.obstacle and comparison.too_short for comparison in found):
        why = _joined(comparison.obstacle for comparison in found)
        return replace(not_comparable(why), comparisons=found, quantifier=quantifier)
    m, needed = len(found), quantifier.needed(len(found))
    p_for, p_against = ([1.0 if c.obstacle else getattr(c, side) for c in found] for side in ("p_for", "p_against"))
    holds, fails = partial_conjunction(p_for, needed), partial_conjunction(p_against, m - needed + 1)
    verdict = HOLDS if holds <= TAIL else FAILS if fails <= TAIL else UNDECIDED
    told, why = _told(found, what, needed), ""
    if verdict == UNDECIDED:
        why = _would_decide(found, needed)
        told += f"; {why}"
    return Verdict(
        verdict, told, found, min(1.0, 2 * min(holds, fails)), quantifier=quantifier,
        open_because=why.removeprefix(OBSTACLES),
    )  # fmt: skip


def _told(found: Sequence[Comparison], what: str, needed: int) -> str:
    """How many comparisons are for, against and open, the effects, and what has to be known about them."""
    m, counts = len(found), {kind: sum(c.reading == kind for c in found) for kind in (FOR, AGAINST, OPEN)}
    said = [f"{what} in {counts[FOR]} of {m}"]
    said += [f"{name} in {counts[kind]}" for kind, name in ((AGAINST, "the opposite"), (OPEN, "open")) if counts[kind]]
    if needed < m:
        said.append(f"{needed} would be enough")
    if m <= LISTED:
        shown = [f"{c.what}: {c.text}" if c.what else c.text for c in found]
    else:
        named = {"lowest": [min(found, key=lambda c: c.effect)], "highest": [max(found, key=lambda c: c.effect)]}
        ends = [c for one in named.values() for c in one]
        for kind, name in ((AGAINST, "opposite"), (OPEN, "open")):
            if counts[kind] <= NAMED:
                named[name] = [c for c in found if c.reading == kind and c not in ends]
        shown = [f"{name} {c.what}: {c.text}" for name, those in named.items() for c in those]
    caveats = _joined(c.caveat for c in found)
    return ", ".join(said) + f" ({'; '.join(shown)})" + (f"; {caveats}" if caveats else "")


def _joined(texts: Iterable[str]) -> str:
    """Each text once; trainings that had not converged are named in one list."""
    told: dict[str, dict[str, None]] = {}
    for text in filter(None, texts):
        head, colon, which = text.partition(": ")
        if head == NOT_CONVERGED and colon:
            told.setdefault(f"{head}: ", {}).update(dict.fromkeys(which.split(", ")))
        else:
            told.setdefault(text, {})
    return "; ".join(head + ", ".join(which) for head, which in told.items())


def _would_decide(found: Sequence[Comparison], needed: int) -> str:
    """What would settle a claim: fewer obstacles, or so many runs if effects and spreads stayed as they are."""
    obstacles = _joined(c.obstacle for c in found)
    if obstacles:
        return f"{OBSTACLES}{obstacles}"
    m = len(found)
    if sum(c.reading == FOR for c in found) >= needed:
        return f"enough of them are as claimed, one by one; over all {m} together, chance is not excluded"
    for runs in sorted({c.needed for c in found if c.reading == OPEN and c.needed}):
        settled = [c for c in found if c.reading != OPEN or (c.needed and c.needed <= runs)]
        agree = sum(c.reading == FOR or (c.reading == OPEN and _inside(c)) for c in settled)
        if agree >= needed or len(settled) - agree > m - needed:
            return f"about {runs} {found[0].of} would decide if the effects stayed as they are"
    if all(c.reading != OPEN for c in found):
        return "so few opposite ones among so many could be chance; more seeds would decide"
    return "the open effects are too near to the limit to be decided by more of the same"


def _inside(comparison: Comparison) -> bool:
    lower, upper = comparison.claimed
    return lower < comparison.effect < upper


def every_part(parts: Mapping[str, Verdict]) -> Verdict:
    """Decide a claim that says several things at once: it holds if each of them does, and fails with any of them.

    A part without a verdict of its own (not comparable, not applicable) leaves the whole undecided unless another
    part fails.
    """
    verdicts, each = {part.verdict for part in parts.values()}, dict(parts)
    told = "; ".join(f"{name}: {part.verdict}, {part.evidence}" for name, part in parts.items())
    comparisons = tuple(comparison for part in parts.values() for comparison in part.comparisons)
    p = [part.p for part in parts.values() if np.isfinite(part.p)]
    if FAILS in verdicts:
        failing = [part.p for part in parts.values() if part.verdict == FAILS]
        # The opposite of one part is enough, and each of them was tried.
        smallest = min(1.0, len(parts) * min(failing))
        if smallest <= SIGNIFICANT:
            return Verdict(FAILS, told, comparisons, smallest, each)
        why = f"one of {len(parts)} parts may fail by chance (p = {smallest:.2g}, corrected for their number)"
        return Verdict(UNDECIDED, f"{told}; {why}", comparisons, smallest, each, open_because=why)
    if len(verdicts) == 1:
        return Verdict(verdicts.pop(), told, comparisons, max(p, default=np.nan), each)
    return Verdict(UNDECIDED, told, comparisons, max(p, default=np.nan), each)


def effects(verdict: Verdict) -> pd.DataFrame:
    """The effects behind a verdict, one row each: effect, low, high, n, what n counts, reading, how, what to know."""
    rows = [
        {"what": c.what, "effect": c.effect, "low": c.low, "high": c.high, "n": c.n, "of": c.of, "reading": c.reading,
         "by": c.by, "note": _joined((c.obstacle, c.caveat))}
        for c in verdict.comparisons
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["what", "effect", "low", "high", "n", "of", "reading", "by", "note"])


def corrected(verdicts: Mapping[str, Verdict]) -> pd.DataFrame:
    """Holm's correction over all claims of one source, reported once: which verdicts survive it.

    Returns
    -------
    DataFrame
        By claim, of those that were tested: verdict, `p`, `p_holm` and `survives`.
    """
    tested = {key: verdict for key, verdict in verdicts.items() if np.isfinite(verdict.p)}
    p = [verdict.p for verdict in tested.values()]
    adjusted = multipletests(p, method="holm")[1] if p else []
    frame = pd.DataFrame(
        {"verdict": [verdict.verdict for verdict in tested.values()], "p": p, "p_holm": adjusted},
        index=pd.Index(list(tested), name="claim"),
    )
    decided = frame["verdict"].isin([HOLDS, FAILS])
    return frame.assign(survives=decided & (frame["p_holm"] <= SIGNIFICANT))


def verdict_table(claims: list[Claim], sources: dict[str, Any]) -> pd.DataFrame:
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
