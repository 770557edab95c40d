"""What the commands share: their options, and how a failure is told. Importing this module imports no torch."""

import math
import re
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from cladec_core.errors import RunError, UsageError, one_of

CHECKOUT = Path(__file__).resolve().parents[2]
LONGEST = 2000  # characters of a message: whatever it quotes comes from outside
SEEDS = (0, 2**31 - 1)


def text(value: str) -> str:
    """Refuse an empty value of an option: left out, the option has its default; empty, nobody knows what is meant.

    Raises
    ------
    typer.BadParameter
        If there is no character but blanks.
    """
    if not value.strip():
        raise typer.BadParameter(f"{value!r} is empty; leave the option out, or give it a value.")
    return value


def path(value: str | Path) -> Path:
    """Read a path, or take a default that is one; an empty one would be the current folder.

    Raises
    ------
    typer.BadParameter
        If it is empty.
    """
    return Path(text(str(value)))


Profile = Annotated[str, typer.Option(parser=text, metavar="NAME", help="smoke, quick, laptop, overnight or paper.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter; may be repeated.")
]
DataDir = Annotated[
    Path | None, typer.Option(parser=path, metavar="FOLDER", help="Folder of data sets (default: $CLADEC_DATA).")
]
Device = Annotated[str, typer.Option(parser=text, metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")]


def told(command: Callable[..., None]) -> Callable[..., None]:
    """Turn failures of a command into one line and an exit code: 2 for wrong use, 1 for a run that failed."""

    @wraps(command)
    def run_and_tell(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except UsageError as error:
            line, code = str(error), 2
        except RunError as error:
            line, code = str(error), 1
        except KeyboardInterrupt:
            line, code = "stopped; what was finished is in the record, and the next run goes on from there.", 130
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in ("", "cladec_core", "cladec_companion"):
                raise
            line, code = f"the package {error.name!r} is missing; pip install 'cladec[book]' brings it.", 1
        else:
            return
        tell(line)
        raise typer.Exit(code)

    return run_and_tell


def tell(line: str) -> None:
    """Print one line about a failure; a terminal must not obey what the line quotes from files and arguments."""
    line = "".join(letter if letter.isprintable() else " " for letter in line)
    print(f"cladec: {line if len(line) <= LONGEST else line[:LONGEST] + ' ...'}", file=sys.stderr)


def of_a_checkout(command: Callable[..., None]) -> Callable[..., None]:
    """Refuse a command outside a checkout: notebooks, prose and records are no part of an installed wheel."""

    @wraps(command)
    def run_in_checkout(*args: Any, **kwargs: Any) -> None:
        if not (CHECKOUT / "book" / "_toc.yml").is_file():
            raise UsageError(
                f"The command {command.__name__!r} needs a checkout of the project, with its notebooks and records: "
                f"clone it, and call `make setup` there. Everywhere else `cladec explain` works."
            )
        command(*args, **kwargs)

    return run_in_checkout


def check_profile(name: str) -> None:
    """Refuse a profile that does not exist, before anything that takes seconds is imported.

    Raises
    ------
    UsageError
        It names the valid ones.
    """
    from cladec_companion.records.profiles import PROFILES

    one_of("profile", name, PROFILES)


def check_notebook(name: str) -> str:
    """Give a notebook's name without folder and ending.

    Raises
    ------
    UsageError
        If there is none; it names the valid ones.
    """
    found = sorted(path.stem for path in (CHECKOUT / "notebooks").glob("*.ipynb"))
    plain = name.removesuffix(".ipynb").removeprefix("notebooks/")
    one_of("notebook", plain, found)
    return plain


def check_parameters(chapter: str, profile: str, values: dict[str, Any]) -> None:
    """Refuse parameters of a chapter before anything is imported that takes time.

    Raises
    ------
    UsageError
        For an unknown parameter, a wrong type or a value out of range.
    """
    from cladec_companion.papers import settings_for

    settings_for(chapter, profile, **values)


def parse_changes(changes: list[str] | None) -> dict[str, Any]:
    """Turn NAME=VALUE into a dictionary; values are read as YAML, so `[0, 1]` is a list and `2` a number.

    Raises
    ------
    UsageError
        For text without `=` or a value that is not YAML.
    """
    import yaml

    parsed = {}
    for change in changes or []:
        name, equals, value = change.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set {change!r} has no value; valid: NAME=VALUE, such as --set 'seeds=[0,1]'.")
        try:
            parsed[name.strip()] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # too many digits; too many brackets
            shown = value if len(value) < 60 else f"{value[:60]} ..."
            raise UsageError(f"--set {name}: {shown!r} is not a YAML value, such as 3, 0.5 or [0, 1].") from error
    return parsed


def parse_workers(text: str) -> int | None:
    """Read `--workers`: a number, or None for auto.

    Raises
    ------
    UsageError
        For anything but auto and 1..256.
    """
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 256:
        raise UsageError(f"--workers is {text!r}; valid: auto, or a number from 1 to 256.")
    return int(text)


def parse_budget(value: str) -> float:
    """Turn `90s`, `9m` or `2h` into seconds.

    Raises
    ------
    UsageError
        For anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", value, re.ASCII)
    seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"--time-budget is {value!r}; valid: a positive number with s, m or h, such as 9m.")
    return seconds


def check_number(option: str, value: float | None, low: float, high: float = math.inf) -> None:
    """Refuse a number outside its limits; None stands for an option that was left out.

    Raises
    ------
    UsageError
        If it is below `low`, above `high` or no number.
    """
    if value is not None and not low <= value <= high:
        valid = f"from {low}" if high == math.inf else f"{low} to {high}"
        raise UsageError(f"{option} is {value}; valid: {valid}.")
