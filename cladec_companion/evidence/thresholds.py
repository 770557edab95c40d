"""What "slightly", "about" and "strongly" mean: limits that decide claims, each with its reason and its date.

The papers give no numbers for such words, so someone has to. A limit that was set when numbers on which it decides had
been seen already, printed ones or ours, says so. Here are those that claims of several papers share; a limit of one
paper is in that paper's folder, and one of a single chapter beside its claims.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Threshold:
    """A limit behind a word of the paper.

    Attributes
    ----------
    word
        What the paper says, or what the limit is called here.
    value
        The limit, in the unit of what it is compared with.
    reason, since
        Why this value, and the day on which it was set.
    after_data
        Whether numbers on which it decides had been seen by then, printed ones or ours.
    """

    word: str
    value: float
    reason: str
    since: str
    after_data: bool = False


ALMOST_ALWAYS = Threshold(
    "almost always", 0.9, "share of the cells; one exception in ten is the usual reading", "2026-11-21"
)
REPEATED = Threshold(
    "noise that the records know",
    4,
    "degrees of freedom; the runs behind a printed sd have as many. Seeds count once in a record, not once for each "
    "number that was measured with them",
    "2026-11-22",
    after_data=True,
)
STRONG = Threshold("strong (a correlation)", 0.5, "large by Cohen's convention", "2026-11-21")
RESEMBLES = Threshold(
    "similar, or heavily affected (maps)",
    0.5,
    "correlation of pixels: large by Cohen's convention, so that similar maps are above and affected ones below it",
    "2026-11-21",
)


def of(names: object) -> list[Threshold]:
    """The limits among the names of a module."""
    return [found for found in vars(names).values() if isinstance(found, Threshold)]


def table(limits: Mapping[Threshold, Iterable[str]]) -> pd.DataFrame:
    """Limits for a page of the book.

    Parameters
    ----------
    limits
        Each with the keys of the claims that it decides.
    """
    return pd.DataFrame(
        {
            "word": [one.word for one in limits],
            "limit": [f"{one.value:g}" for one in limits],
            "decides": [_listed(keys) or "a check of ours" for keys in limits.values()],
            "because": [one.reason for one in limits],
            "since": [one.since + (", after the numbers had been seen" if one.after_data else "") for one in limits],
        }
    ).set_index("word")


def _listed(keys: Iterable[str]) -> str:
    """Keys in order, with commas between; of three or more in a row, the ends: X1-X8, X10."""
    rows: list[list[str]] = []
    for key in sorted(keys, key=lambda key: (key[0], int(key[1:]))):
        if rows and (rows[-1][-1][0], int(rows[-1][-1][1:]) + 1) == (key[0], int(key[1:])):
            rows[-1].append(key)
        else:
            rows.append([key])
    return ", ".join(f"{row[0]}-{row[-1]}" if len(row) > 2 else ", ".join(row) for row in rows)
