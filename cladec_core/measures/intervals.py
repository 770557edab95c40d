"""Intervals of 95 %: of a mean over images, of a share of images, and of a mean over seeds."""

import math
from collections.abc import Sequence

import numpy as np

LEVEL = 0.95
Z = 1.959963984540054  # the normal distribution's quantile for `LEVEL`
RESAMPLES = 2000
AT_ONCE = 2**22  # numbers that are drawn together
# Student's t for `LEVEL` and 1 to 10 degrees of freedom; the core is installed without a package that has the quantile.
STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


def over_images(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Interval of a mean over images, by the percentiles of a bootstrap.

    Parameters
    ----------
    values
        One per image, (n,); for a difference of two methods, that of each image.
    seed
        Of the resamples.

    Returns
    -------
    low, high
        NaN for fewer than two images.
    """
    count = len(values)
    if count < 2:
        return math.nan, math.nan
    numbers, means = np.random.default_rng(seed), np.empty(RESAMPLES)
    step = max(1, AT_ONCE // count)
    for start in range(0, RESAMPLES, step):
        part = means[start : start + step]
        part[:] = values[numbers.integers(count, size=(len(part), count))].mean(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def of_share(hits: int, count: int) -> tuple[float, float]:
    """Interval of a share of images by Wilson's score, which is of use for shares of 0 and 1, too.

    Parameters
    ----------
    hits, count
        So many of so many images.

    Returns
    -------
    low, high
        NaN without images.
    """
    if not count:
        return math.nan, math.nan
    share, weight = hits / count, Z**2 / count
    middle = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / count + weight / (4 * count)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Interval of a mean over independent runs, by Student's t.

    Parameters
    ----------
    values
        One per run.

    Returns
    -------
    low, high
        NaN for a single run.
    """
    count = len(values)
    if count < 2:
        return math.nan, math.nan
    half = student(count - 1) * float(np.std(values, ddof=1)) / math.sqrt(count)
    mean = float(np.mean(values))
    return mean - half, mean + half


def student(freedom: int) -> float:
    """Quantile of Student's t for `LEVEL`: from a table up to 10 degrees of freedom, then Fisher's expansion."""
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    first = (Z**3 + Z) / 4
    second = (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96
    third = (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384
    return Z + first / freedom + second / freedom**2 + third / freedom**3
