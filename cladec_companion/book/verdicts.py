"""How verdicts changed: a file beside the committed records, to which every change is added with its reason."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from cladec_companion.records.files import RECORDED

HISTORY = RECORDED / "verdicts.csv"
NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Change:
    """A verdict of the best committed record that differs from the one before.

    Attributes
    ----------
    day
        Of the change, such as 2026-11-22.
    claim, verdict
        The claim's key; one of `claims.STATES`, or "not recorded".
    why
        A new record, or a rule that changed.
    """

    day: str
    claim: str
    verdict: str
    why: str


def history(path: Path | None = None) -> dict[str, list[Change]]:
    """Read the changes of each claim's verdict, the oldest first; by default from `HISTORY`."""
    path = path or HISTORY
    found = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            found[row["claim"]].append(Change(**row))
    return dict(found)


def changes(now: Mapping[str, str], before: Mapping[str, list[Change]], why: str = "") -> list[Change]:
    """List the verdicts, by claim, that are not the last ones of a history."""
    last = {key: known[-1].verdict for key, known in before.items()}
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    both = {key: now.get(key, NOT_RECORDED) for key in (*now, *(key for key in last if key not in now))}
    return [Change(day, key, verdict, why) for key, verdict in both.items() if last.get(key, NOT_RECORDED) != verdict]


def keep(new: Iterable[Change], path: Path | None = None) -> None:
    """Add changes to the history; by default to `HISTORY`."""
    path = path or HISTORY
    begun = path.exists()
    with path.open("a", encoding="utf-8", newline="") as lines:
        rows = csv.writer(lines, lineterminator="\n")
        if not begun:
            rows.writerow([field.name for field in fields(Change)])
        rows.writerows(map(astuple, new))


def told(known: Iterable[Change]) -> str:
    """A claim's history in a line."""
    return "; ".join(f"{change.verdict} ({change.day}: {change.why})" for change in known)
