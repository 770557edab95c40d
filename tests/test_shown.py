"""Captions name the record that is shown, and no caption leaves the choice to its reader."""

from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat import v4

from cladec_companion.book import shown

ROOT = Path(__file__).parents[1]
LAPTOP = SimpleNamespace(manifest={"profile": "laptop"})


@pytest.mark.parametrize(
    ("text", "with_record", "without"),
    [
        ("Images of the committed record where there is one, else of this run; below", "Images of the committed record "
         "(profile laptop); below", "Images of this run; below"),
        ("The committed record where there is one, else this run: ΔRec", "The committed record (profile laptop): ΔRec",
         "This run: ΔRec"),
        ("The same rows for the committed record where there is one, else for this run again:", "The same rows for the "
         "committed record (profile laptop):", "The same rows for this run again:"),
        ("Nothing of that kind.", "Nothing of that kind.", "Nothing of that kind."),
    ],
)  # fmt: skip
def test_the_case_that_holds_is_written(text, with_record, without):
    for record, wanted in ((LAPTOP, with_record), (None, without)):
        cells = [v4.new_markdown_cell(text), v4.new_code_cell("1"), v4.new_code_cell("2")]
        cells[1].metadata["mystnb"] = {"figure": {"caption": text, "name": "fig"}, "image": {"alt": text}}
        book = v4.new_notebook(cells=cells)
        shown.decide(book, record)
        figure, image = book.cells[1].metadata["mystnb"].values()
        assert [book.cells[0].source, figure["caption"], image["alt"], figure["name"]] == [wanted] * 3 + ["fig"]


@pytest.mark.parametrize("record", [LAPTOP, None])
def test_what_needs_a_record_is_left_out_without_one(record):
    cells = [v4.new_code_cell("a", metadata={"tags": [shown.BESIDE]}), v4.new_code_cell("b")]
    book = v4.new_notebook(cells=cells)
    shown.decide(book, record)
    assert [cell.source for cell in book.cells] == (["a", "b"] if record else ["b"])


def test_tables_are_in_words():
    table = "<table><tr><th>dataset</th><th>recall</th></tr><tr><td id='a'> vgg11 </td><td>NaN</td></tr></table>"
    output = v4.new_output("display_data", {"text/html": table})
    other = v4.new_output("display_data", {"text/html": "<p>dataset</p>"})
    book = v4.new_notebook(cells=[v4.new_code_cell("1", outputs=[output, other])])
    shown.in_words(book)
    first, second = (one.data["text/html"] for one in book.cells[0].outputs)
    assert first == (
        "<table><tr><th>data</th><th>recall</th></tr><tr><td id='a'> VGG-11 </td><td>NaN</td></tr></table>"
    )
    assert second == "<p>dataset</p>"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_notebook_leaves_the_choice_to_its_reader(path):
    book = nbformat.read(path, 4)
    shown.decide(book, LAPTOP)
    said = nbformat.writes(book)
    assert "where there is one" not in said
