"""The commands of the book: `cladec run`, `cladec book`, `cladec pdf` and `cladec archive`."""

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from cladec_companion.commands.shared import (
    Changes,
    DataDir,
    Device,
    Profile,
    check_notebook,
    check_parameters,
    check_profile,
    of_a_checkout,
    parse_changes,
    told,
)


@told
@of_a_checkout
def run(
    notebooks: Annotated[list[str], typer.Argument(help="Names of notebooks, such as layers.")],
    profile: Profile = "quick",
    changes: Changes = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    force: Annotated[bool, typer.Option(help="Execute even if nothing has changed.")] = False,
) -> None:
    """Execute notebooks with papermill and render a page of each; finished cells of a record are not trained again.

    Example: `cladec run layers --profile quick --set 'layers=[-1,-2]' --set 'seeds=[0,1]'`
    """
    values = parse_changes(changes)
    check_profile(profile)
    for name in notebooks:
        check_parameters(check_notebook(name), profile, values)
    from cladec_companion.book import build, own_page
    from cladec_core import training

    for name in notebooks:
        build.check(name, profile, values)
    training.compute(device)
    _environment(data_dir, device)
    build.train((build.plain(name) for name in notebooks), profile, values, device)
    for name in notebooks:
        executed = build.execute(name, profile, values, force=force)
        print(f"{executed}\n{own_page.render(executed).as_uri()}")


@told
@of_a_checkout
def book(
    profile: Profile = "quick",
    data_dir: DataDir = None,
    device: Device = "auto",
    force: Annotated[bool, typer.Option(help="Execute and render even if nothing has changed.")] = False,
    student: Annotated[
        bool, typer.Option(help="Leave out the instructor's page, speaker notes and solutions of exercises.")
    ] = False,
    show: Annotated[bool | None, typer.Option("--open/--no-open", help="Open the front page afterwards.")] = None,
) -> None:
    """Execute all notebooks and render the book.

    Example: `cladec book --profile quick --no-open`
    """
    check_profile(profile)
    from cladec_companion.book import unchanged

    front = None if force or data_dir or device != "auto" else unchanged.front(profile, student)
    if front:
        print("book: nothing has changed")
    else:
        from cladec_companion.book import build
        from cladec_core import training

        training.compute(device)
        _environment(data_dir, device)
        front = build.build(profile, force=force, student=student)
    print(f"The book: {front.as_uri()}")
    if show if show is not None else sys.stdout.isatty() and not os.environ.get("CI"):
        webbrowser.open(front.as_uri())


@told
@of_a_checkout
def pdf() -> None:
    """Print every page of the rendered book, slides included, to a PDF of its own, and bind all of them into one.

    Example: `cladec pdf`
    """
    from cladec_companion.book import pdf as printing

    printing.print_book()


@told
@of_a_checkout
def archive() -> None:
    """Pack the rendered book into one zip that can be read offline, without a server.

    Example: `cladec archive`
    """
    from cladec_companion.book import archive as packing

    print(packing.pack())


def _environment(data_dir: Path | None, device: str) -> None:
    """Hand choices that are no parameters of an experiment to the notebook's kernel."""
    if data_dir:
        os.environ["CLADEC_DATA"] = str(data_dir.resolve())
    os.environ["CLADEC_DEVICE"] = device
