"""What a notebook cell calls: run an experiment, and set it beside the record and the paper."""

import ast
import inspect
import os
from collections.abc import Callable
from textwrap import dedent
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from cladec_companion import papers
from cladec_companion.book import provenance as names
from cladec_companion.engine import runner
from cladec_companion.evidence import claims, tables
from cladec_companion.records.escape import markdown
from cladec_companion.records.record import Record, recorded
from cladec_companion.records.settings import Settings
from cladec_core.data import DATASETS

RECORDED_PROFILES = ("paper", "overnight", "laptop")  # the closest to the paper first
SHORT = 16  # characters; cells that need no width of their own
# Of a record whose cells do not name the classifier that they explain.
UNMARKED = " Recorded before each cell named its classifier: cells of one seed may explain different trainings of it."

__all__ = [
    "check", "class_names", "provenance", "run", "saved", "settings_for", "side_by_side", "source", "sources",
    "verdicts", "wrapped",
]  # fmt: skip


def settings_for(experiment: str, profile: str = "quick", **values: Any) -> Any:
    """Make a checked configuration from a notebook's parameters, in which None stands for the profile's value."""
    changes = {name: value for name, value in values.items() if value is not None}
    return papers.settings_for(experiment, profile, **changes)


def run(settings: Settings) -> Record:
    """Train what is missing, with progress bars, and return the record of this run."""
    chapter = papers.chapter(settings.experiment)
    return runner.run(chapter, settings, device=os.environ.get("CLADEC_DEVICE", "auto"))


def saved(experiment: str) -> Record | None:
    """The committed record that is closest to the paper's protocol, if there is one."""
    return next((found for profile in RECORDED_PROFILES if (found := recorded(experiment, profile))), None)


def class_names(dataset: str) -> tuple[str, ...]:
    """Class names of a data set, without reading it."""
    return DATASETS[dataset].classes


def source(*functions: Callable[..., Any]) -> Markdown:
    """Functions of the core as they are run, without their docstrings."""
    return Markdown("\n\n".join(f"```python\n{_code(function)}\n```" for function in functions))


def _code(function: Callable[..., Any]) -> str:
    """A function's source, comments included, without its docstring."""
    lines = dedent(inspect.getsource(function)).splitlines()
    body = ast.parse("\n".join(lines)).body[0].body  # type: ignore[attr-defined]  # of a function
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        del lines[body[0].lineno - 1 : body[0].end_lineno]
    return "\n".join(lines).rstrip()


def provenance(record: Record) -> Markdown:
    """One line that says what the numbers of a record were made with."""
    manifest = record.manifest
    run = manifest["runs"][-1]
    return Markdown(
        f"*Made with: profile `{manifest['profile']}`, {names.trained_on(record)}; {names.lengths(record)}; "
        f"{names.seeds(record)}; "
        f"{record.minutes:.1f} minutes on {names.device(run)}; torch {markdown(run['versions']['torch'])}; "
        f"commit `{run['commit']}`.{'' if record.fingerprinted else UNMARKED}*"
    )


def sources(chapter: ModuleType, record: Record, stored: Record | None) -> dict[str, Any]:
    """What every table compares: published, recorded (where there is one), this run.

    Parameters
    ----------
    chapter
        The chapter's module in `companion.claims`: it turns printed numbers and records into evidence.
    record, stored
        This run's record, and the committed one.
    """
    found = {"published": chapter.printed()}
    if stored is not None:
        found["recorded"] = chapter.evidence(stored)
    return found | {"this run": chapter.evidence(record)}


def side_by_side(evidence: dict[str, Any], *args: Any, **kwargs: Any) -> pd.DataFrame:
    """Published, recorded and this run under one another, mean ± sd and n (see `tables.side_by_side`)."""
    return tables.side_by_side({name: part.summary for name, part in evidence.items()}, *args, **kwargs)


def verdicts(chapter: ModuleType, evidence: dict[str, Any]) -> Styler:
    """A verdict per claim and source: one of `claims.STATES`, and what it rests on."""
    return wrapped(claims.verdict_table(chapter.CLAIMS, evidence))


def wrapped(table: pd.DataFrame) -> Styler:
    """A table of sentences, or of many short cells: lines wrap, and verdicts are coloured as well as named."""
    colours = dict.fromkeys(claims.STATES, "#8a8f98") | {claims.HOLDS: "#009e73", claims.FAILS: "#d55e00"}

    def mark(text: object) -> str:
        colour = colours.get(str(text).split(":")[0])
        return f"border-left: 4px solid {colour}" if colour else ""

    short = table.map(lambda cell: len(str(cell)) <= SHORT).all(axis=None)
    kinds = "dataframe wrapped compact" if short else "dataframe wrapped"
    if short:  # numbers stay in one line, and the table takes the width that they need
        table = table.map(lambda cell: str(cell).replace(" ", "\u00a0"))
    return table.reset_index().style.map(mark).hide(axis="index").set_table_attributes(f'class="{kinds}"')


def check(answer: Any, right: Any, tolerance: float = 1e-6) -> None:
    """Say whether an exercise is solved.

    Parameters
    ----------
    answer
        The reader's; None as long as the template is untouched.
    right
        What it should be. Numbers may be off by `tolerance`, everything else must be the same.
    tolerance
        Relative to the right number.
    """
    if answer is None:
        print("Not solved yet: put your own answer in the place of None, and run this cell again.")
    elif _same(answer, right, tolerance):
        print("Correct.")
    else:
        print(f"Not yet: {answer!r} is not the answer. Try again, or unfold the solution.")


def _same(answer: Any, right: Any, tolerance: float) -> bool:
    try:
        return np.shape(answer) == np.shape(right) and np.allclose(answer, right, rtol=tolerance, atol=1e-12)
    except (TypeError, ValueError):  # no numbers
        return np.array_equal(answer, right)
