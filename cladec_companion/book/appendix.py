"""The appendix of a notebook is a page of its own in the book: from the cell with the tag `appendix` to the end."""

import ast
import re

from nbformat import NotebookNode

APPENDIX = "appendix"  # tag of the cell with the appendix's title
SUFFIX = "_appendix"  # of the page's name
GLUED = re.compile(r"\{glue:text\}`(?P<name>[\w-]+)(?::(?P<format>[^`]+))?`")


def split(book: NotebookNode) -> NotebookNode | None:
    """Take the appendix out of an executed notebook.

    Numbers that one half computes stand in the text of the other as text: MyST-NB knows those of the same page only.

    Parameters
    ----------
    book
        An executed notebook; it is changed.

    Returns
    -------
    NotebookNode or None
        The appendix, None if the notebook has no cell with the tag.
    """
    at = next((place for place, cell in enumerate(book.cells) if APPENDIX in cell.metadata.get("tags", [])), None)
    if at is None:
        return None
    values = _glued(book.cells)
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = GLUED.sub(lambda role: _text(values[role["name"]], role["format"]), cell.source)
    appendix = type(book)(book | {"cells": book.cells[at:]})
    book.cells = book.cells[:at]
    return appendix


def _glued(cells: list[NotebookNode]) -> dict[str, str]:
    """Numbers that a notebook hands on to its text, by name, as Python writes them."""
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    handed = [output for output in outputs if "scrapbook" in output.get("metadata", {})]
    return {output.metadata["scrapbook"]["name"]: _plain(output) for output in handed}


def _plain(output: NotebookNode) -> str:
    """The text of a number; glue keeps what is not to be displayed under a prefix."""
    return next(value for kind, value in output.data.items() if kind.endswith("text/plain"))


def _text(value: str, form: str | None) -> str:
    number = ast.literal_eval(value)
    return format(number, form or "")
