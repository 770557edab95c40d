"""The commands of the records: `cladec train`, `cladec merge` and `cladec status`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cladec_companion.commands.shared import (
    Changes,
    DataDir,
    Device,
    Profile,
    check_profile,
    of_a_checkout,
    parse_budget,
    parse_changes,
    parse_workers,
    path,
    text,
    told,
)
from cladec_core.errors import RunError


@told
@of_a_checkout
def train(
    profile: Profile = "quick",
    only: Annotated[
        str | None,
        typer.Option(parser=text, metavar="NAME", help="An experiment, a table (table2 to table8) or one cell."),
    ] = None,
    changes: Changes = None,
    time_budget: Annotated[
        str | None, typer.Option(parser=text, metavar="TIME", help="End after this long, such as 9m.")
    ] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(parser=path, metavar="FOLDER", help="Folder of records (default: build/results).")
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            parser=text, metavar="N", help="Processes of one thread each: auto (as many as cores) or a number."
        ),
    ] = "auto",
    names: Annotated[bool, typer.Option("--list", help="Print record and name of each cell, and stop.")] = False,
) -> None:
    """Train the missing cells of a profile, without notebooks.

    Example: `cladec train --profile laptop --time-budget 9m --out book/results`
    """
    check_profile(profile)
    budget, values = parse_budget(time_budget) if time_budget else float("inf"), parse_changes(changes)
    from cladec_companion.engine.plan import of_profile
    from cladec_companion.papers import CHAPTERS

    count = parse_workers(workers)
    chosen = of_profile(CHAPTERS, profile, only, values)
    if names:
        # Once for each configuration: with thousands of seeds, a name of its record takes milliseconds.
        settings = {id(task.settings): task.settings for task in chosen}
        folders = {key: f"{one.record_name()}/{one.experiment}" for key, one in settings.items()}
        print(*(f"{folders[id(task.settings)]}\t{task}" for task in chosen), sep="\n")
        return
    from cladec_companion.engine import grid
    from cladec_companion.engine.runner import default_root

    grid.train(chosen, out or default_root(), data_dir=data_dir, device=device, budget=budget, count=count)


@told
@of_a_checkout
def merge(
    folders: Annotated[list[Path], typer.Argument(parser=path, help="Folders of records that were made elsewhere.")],
    into: Annotated[
        Path | None, typer.Option(parser=path, metavar="FOLDER", help="Folder of records (default: book/results).")
    ] = None,
) -> None:
    """Add records made elsewhere to those here; cells in both must agree. Records that cannot be added are named.

    Example: `cladec merge slice1 slice2 --into book/results`
    """
    from cladec_companion.records.files import RECORDED
    from cladec_companion.records.merge import merge as merged
    from cladec_companion.records.record import read_record

    refused = []
    for folder in folders:
        try:
            found = sorted(path.parent for path in folder.rglob("manifest.json"))
        except OSError as error:
            refused.append(f"{folder} cannot be searched ({error.strerror})")
            continue
        refused += [] if found else [f"{folder} holds no record"]
        for place in found:
            try:
                record, added = merged(read_record(place), into or RECORDED)
                print(f"{place}: {added} cells are new in {record.folder}, which has {len(record.cells)}")
            except RunError as error:
                refused.append(str(error))
    if refused:
        raise RunError(f"{len(refused)} not merged: " + " | ".join(refused))


@told
@of_a_checkout
def status() -> None:
    """Say which records exist and what they hold, and which trainings are half done.

    Example: `cladec status`
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cladec_companion.records.escape import plain
    from cladec_companion.records.files import BUILT, RECORDED
    from cladec_companion.records.record import find_records, place

    table = Table("experiment", "profile", "where", "cells", "minutes", "device", "commit")
    for root in (RECORDED, Path(os.environ.get("CLADEC_RESULTS") or BUILT)):
        for record in find_records(root):
            last = record.manifest["runs"][-1]
            told = (
                record.manifest["experiment"], record.folder.parent.name, place(record), len(record.cells),
                f"{record.minutes:.1f}", last["device"], last["commit"],
            )  # fmt: skip
            table.add_row(*(Text(plain(one)) for one in told))
    console = Console()
    console.print(table if table.row_count else "No record yet: `cladec run layers` makes one.")
    for label, done, steps in half_done():
        console.print(f"half done: {label}, {done} of {steps} steps", markup=False, highlight=False)


def half_done() -> list[tuple[str, int, int]]:
    """Trainings that were cut off and will go on: what, and how many of their steps are done."""
    from cladec_companion.records.files import model_cache

    states = sorted(model_cache().glob("*.state"))
    if not states:
        return []
    from cladec_core.training import progress_of  # with torch, which takes seconds

    found = (progress_of(path) for path in states)
    return [(one["label"], one["done"], one["steps"]) for one in found if one and one["done"] < one["steps"]]


@told
@of_a_checkout
def verdicts(
    why: Annotated[
        str | None, typer.Option(parser=text, metavar="TEXT", help="Add the changes to the history, for this reason.")
    ] = None,
) -> None:
    """List the claims whose verdict by the committed records is not the last one of the history.

    Example: `cladec verdicts --why "Record alpha anew, with one classifier"`
    """
    from cladec_companion.book import found
    from cladec_companion.book import verdicts as histories
    from cladec_companion.papers import CHAPTERS
    from cladec_companion.records.files import RECORDED
    from cladec_companion.records.record import find_records

    before = histories.history()
    now = {one.claim.key: one.verdict.verdict for one in found.findings(CHAPTERS, find_records(RECORDED))}
    new = histories.changes(now, before, why or "")
    for change in new:
        last = before[change.claim][-1].verdict if change.claim in before else histories.NOT_RECORDED
        print(f"{change.claim}: {last} -> {change.verdict}")
    if why:
        histories.keep(new)
    print(f"{len(new)} verdicts changed{f', and are in {histories.HISTORY}' if new and why else ''}.")
