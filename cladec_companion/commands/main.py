"""The command line: run, book, train, merge, status. Exit code 2 for wrong use, 1 for failure, 0 for success."""

import os
import re
import sys
import webbrowser
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from cladec_core.errors import RunError, UsageError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    help="ClaDec: see what a layer of a classifier keeps. Example: `cladec run layers --profile smoke`",
)  # fmt: skip

Profile = Annotated[str, typer.Option(help="smoke, quick, laptop or paper.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a parameter; may be repeated.")
]
DataDir = Annotated[Path | None, typer.Option(help="Folder of data sets (default: $CLADEC_DATA).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


def told(command: Callable[..., None]) -> Callable[..., None]:
    """Turn failures of a command into one line and an exit code."""

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
        else:
            return
        print(f"cladec: {line}", file=sys.stderr)
        raise typer.Exit(code)

    return run_and_tell


def parse_changes(changes: list[str] | None) -> dict[str, Any]:
    """Turn NAME=VALUE into a dictionary; values are read as YAML, so `[0, 1]` is a list and `2` a number.

    Raises
    ------
    UsageError
        For text without `=` or a value that is not YAML.
    """
    parsed = {}
    for change in changes or []:
        name, equals, text = change.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set {change!r} has no value; valid: NAME=VALUE, such as --set seeds=[0,1].")
        try:
            parsed[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {change!r}: {text!r} is not a YAML value, such as 3, 0.5 or [0, 1].") from error
    return parsed


def parse_budget(text: str) -> float:
    """Turn `90s`, `9m` or `2h` into seconds.

    Raises
    ------
    UsageError
        For anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not found or float(found[1]) <= 0:
        raise UsageError(f"--time-budget is {text!r}; valid: a positive number with s, m or h, such as 9m.")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


@app.command()
@told
def run(
    notebooks: Annotated[list[str], typer.Argument(help="Names of notebooks, such as layers.")],
    profile: Profile = "quick",
    changes: Changes = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    force: Annotated[bool, typer.Option(help="Execute even if nothing has changed.")] = False,
) -> None:
    """Execute notebooks with papermill and render a page of each; finished cells of a record are not trained again.

    Example: `cladec run layers --profile quick --set layers=[-1,-2] --set seeds=[0,1]`
    """
    from cladec_companion.book import build as book
    from cladec_companion.book import own_page
    from cladec_core import training

    values = parse_changes(changes)
    training.compute(device)
    _environment(data_dir, device)
    for name in notebooks:
        book.check(name, profile, values)
    book.train((book.plain(name) for name in notebooks), profile, values, device)
    for name in notebooks:
        executed = book.execute(name, profile, values, force=force)
        print(f"{executed}\n{own_page.render(executed).as_uri()}")


@app.command("book")
@told
def make_book(
    profile: Profile = "quick",
    data_dir: DataDir = None,
    device: Device = "auto",
    force: Annotated[bool, typer.Option(help="Execute and render even if nothing has changed.")] = False,
    show: Annotated[bool | None, typer.Option("--open/--no-open", help="Open the front page afterwards.")] = None,
) -> None:
    """Execute all notebooks and render the book.

    Example: `cladec book --profile quick --no-open`
    """
    from cladec_companion.book import build as book
    from cladec_companion.records.settings import PROFILES
    from cladec_core import training
    from cladec_core.errors import one_of

    one_of("profile", profile, PROFILES)
    training.compute(device)
    _environment(data_dir, device)
    front = book.build(profile, force=force)
    print(f"The book: {front.as_uri()}")
    if show if show is not None else sys.stdout.isatty() and not os.environ.get("CI"):
        webbrowser.open(front.as_uri())


@app.command()
@told
def pdf() -> None:
    """Print every page of the rendered book, slides included, to a PDF of its own.

    Example: `cladec pdf`
    """
    from cladec_companion.book import pdf as printing

    printing.print_book()


@app.command()
@told
def train(
    profile: Profile = "quick",
    only: Annotated[str | None, typer.Option(help="An experiment, a table (table2 to table8) or one cell.")] = None,
    changes: Changes = None,
    time_budget: Annotated[str | None, typer.Option(help="End after this long, such as 9m.")] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder of records (default: build/results).")] = None,
    workers: Annotated[
        str, typer.Option(help="Processes of one thread each: auto (one for each core) or a number.")
    ] = "auto",
    names: Annotated[bool, typer.Option("--list", help="Print record and name of each cell, and stop.")] = False,
) -> None:
    """Train the missing cells of a profile, without notebooks.

    Example: `cladec train --profile laptop --time-budget 9m --out book/results`
    """
    from cladec_companion.engine import grid
    from cladec_companion.engine.plan import of_profile
    from cladec_companion.engine.runner import default_root
    from cladec_companion.engine.workers import check_count
    from cladec_companion.papers import CHAPTERS

    budget = parse_budget(time_budget) if time_budget else float("inf")
    count = check_count(workers)
    chosen = of_profile(CHAPTERS, profile, only, parse_changes(changes))
    if names:
        print(*(f"{job.settings.record_name()}/{job.settings.experiment}\t{job}" for job in chosen), sep="\n")
        return
    grid.train(chosen, out or default_root(), data_dir=data_dir, device=device, budget=budget, count=count)


@app.command()
@told
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of records that were made elsewhere.")],
    into: Annotated[Path | None, typer.Option(help="Folder of records (default: book/results).")] = None,
) -> None:
    """Add records made elsewhere to those here; a cell in both must be the same. What cannot be added is named.

    Example: `cladec merge slice1 slice2 --into book/results`
    """
    from cladec_companion.records.files import RECORDED
    from cladec_companion.records.merge import merge as merged
    from cladec_companion.records.record import read_record

    refused = []
    for folder in folders:
        found = sorted(path.parent for path in folder.rglob("manifest.json"))
        refused += [] if found else [f"{folder} holds no record"]
        for place in found:
            try:
                record, added = merged(read_record(place), into or RECORDED)
                print(f"{place}: {added} cells are new in {record.folder}, which has {len(record.cells)}")
            except RunError as error:
                refused.append(str(error))
    if refused:
        raise RunError(f"{len(refused)} not merged: " + " | ".join(refused))


@app.command()
@told
def status() -> None:
    """Say which records exist and what they hold.

    Example: `cladec status`
    """
    from rich.console import Console
    from rich.table import Table

    from cladec_companion.book.provenance import place
    from cladec_companion.records.files import BUILT, RECORDED
    from cladec_companion.records.record import find_records

    table = Table("experiment", "profile", "where", "cells", "minutes", "device", "commit")
    for root in (RECORDED, Path(os.environ.get("CLADEC_RESULTS") or BUILT)):
        for record in find_records(root):
            last = record.manifest["runs"][-1]
            table.add_row(
                record.manifest["experiment"], record.folder.parent.name, place(record), str(len(record.cells)),
                f"{record.minutes:.1f}", last["device"], last["commit"],
            )  # fmt: skip
    Console().print(table if table.row_count else "No record yet: `cladec run layers` makes one.")


def _environment(data_dir: Path | None, device: str) -> None:
    """Hand choices that are no parameters of an experiment to the notebook's kernel."""
    if data_dir:
        os.environ["CLADEC_DATA"] = str(data_dir.resolve())
    os.environ["CLADEC_DEVICE"] = device


from cladec_companion.commands import user_study as cli_study  # noqa: E402, F401 - add their commands


def main() -> None:
    """Run the command line."""
    app()
