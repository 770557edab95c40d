"""The two kinds of failure a user meets: a wrong request, and a run that could not go on."""

from collections.abc import Iterable
from difflib import get_close_matches


class UsageError(ValueError):
    """A value that cannot be used; the message names it and lists the valid ones (exit code 2)."""


class RunError(RuntimeError):
    """A run that could not be finished, for a reason the message names (exit code 1)."""


def one_of(kind: str, value: object, valid: Iterable[object]) -> None:
    """Refuse a value that is not among the valid ones.

    Parameters
    ----------
    kind
        What the value is, for the message ("dataset", "layer", ...).
    value
        The value that was asked for.
    valid
        The values that exist.

    Raises
    ------
    UsageError
        If `value` is not in `valid`; near matches are named first.
    """
    options = list(valid)
    if value in options:
        return
    near = get_close_matches(str(value), [str(option) for option in options], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"Unknown {kind} {value!r}; valid: {', '.join(str(option) for option in options)}.{hint}")
