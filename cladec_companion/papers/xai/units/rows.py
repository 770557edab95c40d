"""Rows of the chapter's records: means over units with their errors, and which classes are looked at."""

from collections.abc import Mapping

import torch
from torch import Tensor

from cladec_companion.engine.runner import Rows
from cladec_companion.papers.xai.criteria.axioms import spread_of

Value = float | Tensor


def rows_of(at: str, method: str, values: Mapping[str, Value]) -> Rows:
    """Numbers of a method as rows; of a value for each unit or image the mean and its standard error.

    Parameters
    ----------
    at
        What the numbers are of, as the record's `layer`: classes, hidden units, a layer, epochs.
    """
    rows: Rows = []
    for metric, value in values.items():
        if isinstance(value, Tensor):
            mean, error = spread_of(value) or (None, None)
            found = {metric: mean, f"{metric}_error": error}
        else:
            found = {metric: value}
        rows += [
            {"layer": at, "method": method, "metric": name, "value": float(number)}
            for name, number in found.items() if number is not None and number == number
        ]  # fmt: skip
    return rows


def evenly(classes: int, count: int) -> Tensor:
    """So many classes, or all, at even distances: (count,)."""
    return torch.linspace(0, classes - 1, min(count, classes)).round().long()
