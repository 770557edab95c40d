"""Which record a notebook shows, said in its captions: authors write both cases, readers see the one that holds."""

import re

from nbformat import NotebookNode

from cladec_companion.records.record import Record

# Such as "of the committed record where there is one, else of this run again". Every committed record has the images
# that the figures of its chapter ask for, so "where it has them" comes to the same.
EITHER = re.compile(
    r"((?:of |for )?the committed record) where (?:there is one|it has them), "
    r"else ((?:of |for )?this run(?: again)?)",
    re.IGNORECASE,
)


def decide(book: NotebookNode, record: Record | None) -> None:
    """Put what holds in the place of every `EITHER`, in texts and in captions of figures.

    Parameters
    ----------
    book
        An executed notebook; it is changed.
    record
        The committed record of its chapter, or None.
    """
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = _decided(cell.source, record)
        for options in cell.metadata.get("mystnb", {}).values():  # of a figure, of an image
            if isinstance(options, dict):
                options.update({key: _decided(text, record) for key, text in options.items() if isinstance(text, str)})


def _decided(text: str, record: Record | None) -> str:
    def chosen(either: re.Match[str]) -> str:
        if record is None:
            return either[2].capitalize() if either[1][0].isupper() else either[2]
        return f"{either[1]} (profile {record.manifest['profile']})"

    return EITHER.sub(chosen, text)
