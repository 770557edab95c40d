"""What a reader sees of an executed notebook: captions that name the record shown, and tables in words.

Authors write both cases of a caption; readers see the one that holds. In Jupyter tables have the names of parameters
and columns, on a page words.
"""

import re
from collections.abc import Mapping
from dataclasses import fields

from nbformat import NotebookNode

from cladec_companion.evidence import tables
from cladec_companion.papers import CHAPTERS
from cladec_companion.records.record import Record

# Such as "of the committed record where there is one, else of this run again". Every committed record has the images
# that the figures of its chapter ask for, so "where it has them" comes to the same.
EITHER = re.compile(
    r"((?:of |for )?the committed record) where (?:there is one|it has them), "
    r"else ((?:of |for )?this run(?: again)?)",
    re.IGNORECASE,
)
CELL = re.compile(r"(<t[hd]\b[^>]*>\s*)(\w+)(?=\s*</t[hd]>)")  # of a table, with a single word in it
WORDS = {
    **tables.DATASET_NAMES, **tables.ARCHITECTURE_NAMES, "dataset": "data", "architecture": "classifier", "index": "",
    "prediction_first": "predicted, first", "prediction_second": "predicted, second",
    "loss_first": "squared error, first", "loss_second": "squared error, second",
}  # fmt: skip
BESIDE = "beside-record"  # tag of a cell that says something only beside the committed record, such as what differs


def decide(book: NotebookNode, record: Record | None, told: Mapping[str, str] | None = None) -> None:
    """Put what holds in the place of every `EITHER`, in texts and captions; without a record, cells go that need one.

    Parameters
    ----------
    book
        An executed notebook; it is changed.
    record
        The committed record of its chapter, or None.
    told
        What the record's figures show: name of a figure -> the sentence that its caption begins with.
    """
    if record is None:
        book.cells = [cell for cell in book.cells if BESIDE not in cell.metadata.get("tags", [])]
        for count, cell in enumerate((cell for cell in book.cells if cell.get("execution_count")), 1):
            cell.execution_count = count
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = _decided(cell.source, record)
        for options in cell.metadata.get("mystnb", {}).values():  # of a figure, of an image
            if isinstance(options, dict):
                options.update({key: _decided(text, record) for key, text in options.items() if isinstance(text, str)})
                if finding := (told or {}).get(options.get("name", "")):
                    options["caption"] = f"{finding} {options['caption']}"


def in_words(book: NotebookNode) -> None:
    """Put words in the place of names in the tables of an executed notebook."""
    declared = (item for chapter in CHAPTERS.values() for item in fields(chapter.settings))
    words: dict[str, str] = WORDS | {
        item.name: item.metadata["spoken"] for item in declared if item.metadata.get("spoken")
    }
    for cell in book.cells:
        for output in cell.get("outputs", []):
            page = output.get("data", {}).get("text/html", "")
            if "<table" in page:
                output.data["text/html"] = CELL.sub(lambda found: found[1] + words.get(found[2], found[2]), page)


def _decided(text: str, record: Record | None) -> str:
    def chosen(either: re.Match[str]) -> str:
        if record is None:
            return either[2].capitalize() if either[1][0].isupper() else either[2]
        return f"{either[1]} (profile {record.manifest['profile']})"

    return EITHER.sub(chosen, text)
