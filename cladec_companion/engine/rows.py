"""Rows of a record from what a cell has measured: numbers, or a value of each image with its mean and error."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from cladec_companion.engine.runner import Rows
from cladec_core.measures import intervals

Value = float | Tensor  # a number, or a value of each image or unit, (n,), NaN where there is none


def mean_and_error(values: Tensor, *, answers: bool = False) -> tuple[float, float] | None:
    """Mean of the values that are defined and its standard error; None if there are fewer than two.

    The spread of yes/no answers vanishes where all agree, but not what n of them leave open. The error of a share is
    therefore at least z / (n + z²), that with which an interval of z errors reaches as far from 0 or 1 as Wilson's
    interval [1]_ of n answers that all agree. This holds where a few disagree, too: else the error of 19 in 20 would be
    smaller than that of 20 in 20.

    Parameters
    ----------
    values
        (n,), NaN where there is none.
    answers
        Whether they are yes/no answers, 1 and 0.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
       Statistical Association 22, 1927, pages 209-212.
    """
    defined = values[~values.isnan()].double()
    count = len(defined)
    if count < 2:
        return None
    error = defined.std().item() / count**0.5
    if answers:
        error = max(error, intervals.of_share(0, count)[1] / intervals.Z)
    return defined.mean().item(), error


def summary(values: Mapping[str, Value], answers: Collection[str] = ()) -> dict[str, float]:
    """Numbers by name: of a value for each image its mean, and the mean's error under a name that ends in `_error`.

    Parameters
    ----------
    values
        By name; where fewer than two images have a value, there is neither mean nor error.
    answers
        Names of those that are yes/no answers (see `mean_and_error`).
    """
    found: dict[str, float] = {}
    for name, value in values.items():
        if not isinstance(value, Tensor):
            found[name] = value
        elif known := mean_and_error(value, answers=name in answers):
            found[name], found[f"{name}_error"] = known
    return found


def rows_of(values: Mapping[str, Mapping[str, Value]], answers: Collection[str] = (), **axes: Any) -> Rows:
    """Rows from values by method and metric, and what they have in common.

    Parameters
    ----------
    values, answers
        As of `summary`, for each method.
    **axes
        The other columns of all these rows, such as the layer.
    """
    return [
        axes | {"method": method, "metric": metric, "value": value}
        for method, measured in values.items()
        for metric, value in summary(measured, answers).items()
    ]
