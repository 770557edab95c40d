"""A comparison: an effect with its 95 % interval, and whether it speaks for a statement, against it, or for neither.

A statement is a region that the effect is claimed to lie in, such as above 0. A comparison is *for* the statement if
the whole interval lies in the region, *against* it if none of it does, and *open* otherwise. Both readings are
one-sided tests at 2.5 %, so a comparison without any effect is read as for or against in at most 5 % of cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import special, stats

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2
FOR, AGAINST, OPEN = "for", "against", "open"
Region = tuple[float, float]
ABOVE, BELOW = (0.0, np.inf), (-np.inf, 0.0)
MOST_RUNS = 100  # more than anyone will run: beyond them nothing is said to decide


@dataclass(frozen=True)
class Comparison:
    """An effect with its interval, beside the region that is claimed for it.

    Attributes
    ----------
    what
        Where the effect is: data set, network, layer...
    effect, low, high
        The effect and its 95 % interval, in the unit of what is compared.
    n
        How many independent values are behind it.
    claimed
        The open region in which the statement says that the effect lies.
    p_for, p_against
        One-sided p-values: how often chance alone would speak as clearly for the statement, or against it.
    by
        How the interval was made.
    needed
        How many of what n counts would bring the nearest end of the region outside of the interval if effect and spread
        stayed as they are; None where more would not help.
    of
        What n counts: seeds, images, classes...
    obstacle
        Why the numbers may not be read at all; the comparison is then open.
    too_short
        Whether that obstacle is the length of a training.
    caveat
        What a reader has to know beside it.
    """

    what: str
    effect: float
    low: float
    high: float
    n: int
    claimed: Region
    p_for: float
    p_against: float
    by: str
    needed: int | None = None
    of: str = "seeds"
    obstacle: str = ""
    too_short: bool = False
    caveat: str = ""

    @property
    def reading(self) -> str:
        """`for`, `against` or `open`."""
        if self.obstacle:
            return OPEN
        return FOR if self.p_for <= TAIL else AGAINST if self.p_against <= TAIL else OPEN

    @property
    def text(self) -> str:
        """The effect with its interval, as a reader sees it: three digits of the largest of the three numbers."""
        shown = [value for value in (self.effect, self.low, self.high) if np.isfinite(value)]
        largest = max(map(abs, shown), default=0.0)
        decimals = 3 if largest == 0 else max(0, 2 - int(np.floor(np.log10(largest))))
        if len(shown) < 3:
            return f"{self.effect:z.{decimals}f}" if shown else "not measured"
        effect, low, high = (f"{value:z.{decimals}f}" for value in shown)
        return f"{effect} exactly" if self.low == self.high else f"{effect} ({low} to {high})"

    def barred(self, obstacle: str, *, too_short: bool = False) -> "Comparison":
        """The same numbers, which may not be read."""
        return replace(self, obstacle=obstacle, too_short=too_short)

    def with_caveat(self, caveat: str) -> "Comparison":
        """The same numbers, and what a reader has to know beside them."""
        return replace(self, caveat=caveat)


NOT_CONVERGED = "not converged"  # begins what keeps such a comparison open; trainings follow after a colon
# A measure at its end, such as an accuracy of 1 on both sides: nothing was seen that could differ.
SATURATED = "every run gives exactly the limit, so the measure cannot tell"


def measured(
    what: str, effect: float, error: float, freedom: float, n: int, claimed: Region = ABOVE, *,
    by: str, of: str = "seeds", rounding: float = 0.0,
) -> Comparison:  # fmt: skip
    """Compare an estimate whose error follows a t-distribution.

    Parameters
    ----------
    effect, error, freedom
        Estimate, its standard error, and degrees of freedom (infinite for a normal distribution).
    rounding
        How far the effect may be off because its parts were printed rounded; it widens the interval on both sides.
    """
    reach = _quantile(freedom) * error + rounding
    lower, upper = claimed
    inside = max(_tail(effect - rounding - lower, error, freedom), _tail(upper - effect - rounding, error, freedom))
    outside = min(
        _tail(lower - effect - rounding, error, freedom, closed=True),
        _tail(effect - rounding - upper, error, freedom, closed=True),
    )
    needed = _needed(min(abs(effect - lower), abs(effect - upper)) - rounding, error * np.sqrt(n))
    found = Comparison(what, effect, effect - reach, effect + reach, n, claimed, inside, outside, by, needed, of)
    return found.barred(SATURATED) if error == 0 and effect in claimed else found


def _tail(distance: float, error: float, freedom: float, *, closed: bool = False) -> float:
    """One-sided p-value of a distance; without any error it is certain, and 0 counts if the region is closed."""
    if np.isnan(error) or np.isnan(distance):
        return 1.0
    if error == 0:
        return 0.0 if distance > 0 or (closed and distance == 0) else 1.0
    # Of scipy.special: `stats.t` would take most of the time of a ledger.
    return float(special.ndtr(-distance / error) if np.isinf(freedom) else special.stdtr(freedom, -distance / error))


@lru_cache(maxsize=4096)
def _quantile(freedom: float) -> float:
    """How many standard errors the 95 % interval reaches to either side."""
    return float(stats.t.ppf(1 - TAIL, freedom))


def _needed(distance: float, spread: float) -> int | None:
    """The fewest values whose mean has an interval narrower than a distance, given the spread of single ones."""
    enough = (n for n in range(2, MOST_RUNS + 1) if _quantile(n - 1) * spread / np.sqrt(n) < distance)
    return next(enough, None)


def certain(what: str, effect: float, agrees: bool, by: str) -> Comparison:
    """Compare what no chance is in: arithmetic, or a number that is as it is."""
    return Comparison(what, effect, effect, effect, 1, (np.nan, np.nan), float(not agrees), float(agrees), by)


def sample(what: str, values: Sequence[float], claimed: Region = ABOVE, *, of: str = "seeds") -> Comparison:
    """Compare the mean of independent values, one per `of`, by Student's t."""
    array = np.asarray(values, dtype=float)
    n = len(array)
    if n < 2:
        mean = float(array.mean()) if n else np.nan
        return measured(what, mean, np.nan, 1, n, claimed, by="one value", of=of).barred(f"needs two {of}")
    return measured(what, array.mean(), array.std(ddof=1) / np.sqrt(n), n - 1, n, claimed, by=f"t over {of}", of=of)


def welch(
    what: str, first: Sequence[float], second: Sequence[float], claimed: Region = ABOVE, *, of: str
) -> Comparison:
    """Compare the means of two independent samples, first minus second, by Welch's t."""
    parts = [np.asarray(part, dtype=float) for part in (first, second)]
    effect, n = parts[0].mean() - parts[1].mean(), min(map(len, parts))
    if n < 2:
        return measured(what, effect, np.nan, 1, n, claimed, by="one value", of=of).barred(
            f"needs two {of} of each kind"
        )
    variances = np.array([part.var(ddof=1) / len(part) for part in parts])
    freedom = satterthwaite(variances, np.array([len(part) - 1 for part in parts]))
    return measured(what, effect, np.sqrt(variances.sum()), freedom, n, claimed, by=f"Welch's t over {of}", of=of)


def satterthwaite(variances: np.ndarray, freedoms: np.ndarray) -> float:
    """Degrees of freedom of a sum of independent variances."""
    below = (variances**2 / freedoms).sum()
    return float(variances.sum() ** 2 / below) if below > 0 else np.inf


def share(what: str, count: int, n: int, claimed: Region, *, of: str) -> Comparison:
    """Compare a share of independent cases with a region inside of [0, 1], by Wilson's interval.

    Raises
    ------
    ValueError
        If nothing was counted.
    """
    if n < 1:
        raise ValueError(f"n is {n}; a share needs at least one case.")
    found = stats.binomtest(int(count), int(n)).proportion_ci(CONFIDENCE, method="wilson")
    value = count / n

    def tail(distance: float, bound: float) -> float:
        """Score test at a bound: its error is that of the bound, which is what makes Wilson's interval."""
        if not 0 < bound < 1:  # no share is beyond
            return 0.0
        return float(stats.norm.sf(distance / np.sqrt(bound * (1 - bound) / n)))

    lower, upper = claimed
    inside = max(tail(value - lower, lower), tail(upper - value, upper))
    outside = min(tail(lower - value, lower) if lower > 0 else 1.0, tail(value - upper, upper) if upper < 1 else 1.0)
    return Comparison(
        what, value, found.low, found.high, n, claimed, inside, outside, f"Wilson's interval over {of}", of=of
    )


def spread_ratio(
    what: str, variance: float, freedom: float, other: float, other_freedom: float, claimed: Region
) -> Comparison:
    """Compare a standard deviation with another, as their ratio, by the F-distribution of the variances."""
    ratio = np.sqrt(variance / other)
    low, high = (ratio / np.sqrt(stats.f.ppf(level, freedom, other_freedom)) for level in (1 - TAIL, TAIL))
    lower, upper = claimed

    def tail(bound: float, above: bool) -> float:
        if bound <= 0 or not np.isfinite(bound):
            return 0.0 if above == (bound <= 0) else 1.0
        test = stats.f.sf if above else stats.f.cdf
        return float(test((ratio / bound) ** 2, freedom, other_freedom))

    inside = max(tail(lower, True), tail(upper, False) if np.isfinite(upper) else 0.0)
    outside = min(tail(lower, False) if lower > 0 else 1.0, tail(upper, True) if np.isfinite(upper) else 1.0)
    n = int(freedom) + 1
    return Comparison(what, ratio, low, high, n, claimed, inside, outside, "F over seeds")
