"""The command line: exit code 0 for success, 1 for a failure, 2 for wrong use; a failure is told in one line."""

import errno
import os
import signal
import sys
from typing import Any

import typer

from cladec_companion.commands import book, explain, records, study
from cladec_companion.commands.shared import tell

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    help="ClaDec: see what a layer of a classifier keeps. Example: `cladec run layers --profile smoke`",
)  # fmt: skip
app.command()(explain.explain)
app.command()(book.run)
app.command()(book.book)
app.command()(book.pdf)
app.command()(book.archive)
app.command()(records.train)
app.command()(records.merge)
app.command()(records.status)
app.command()(records.verdicts)
app.add_typer(study.study, name="study")

# What typer raises for options and commands that it refuses itself, under one name in all its versions.
Refused: Any = typer.BadParameter.__base__


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # an α must not end a command whose output is ASCII
            stream.reconfigure(errors="backslashreplace")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end is interrupted, and says so
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except Refused as error:
        code = 2
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            where = f" See `{error.ctx.command_path} --help`." if error.ctx else ""
            tell(error.format_message() + where)
    except OSError as error:  # of the output; a command tells about files itself
        if error.filename or error.errno not in (errno.ENOSPC, errno.EPIPE):
            raise
        code = 1
        if error.errno == errno.ENOSPC:
            tell(f"the output cannot be written: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python fails once more when it ends
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(code)
