"""The appendix of a notebook becomes a page of its own, and no number is lost on the way."""

import nbformat
import pytest
from nbformat import v4

from cladec_companion.book import appendix


def glued(name, value):
    data, about = {"application/papermill.record/text/plain": value}, {"name": name, "mime_prefix": "application/"}
    output = v4.new_output("display_data", data, metadata={"scrapbook": about})
    return v4.new_code_cell(f"glue({name!r})", outputs=[output])


def book(*appended):
    cells = [v4.new_markdown_cell("# Title"), v4.new_markdown_cell("{glue:text}`far:.1f` and {glue:text}`name`")]
    cells += [glued("near", "3"), v4.new_code_cell("1")]
    return v4.new_notebook(cells=[*cells, *appended], metadata={"language_info": {"name": "python"}})


def test_a_notebook_without_the_tag_stays_one_page():
    whole = book(glued("far", "0.25"), glued("name", "'VGG-11'"))
    cells = [dict(cell) for cell in whole.cells]
    assert appendix.split(whole) is None
    assert whole.cells == cells


def test_both_halves_are_notebooks_and_know_each_other_s_numbers():
    title = v4.new_markdown_cell("# Proofs", metadata={"tags": [appendix.APPENDIX]})
    whole = book(title, v4.new_markdown_cell("{glue:text}`near`"), glued("far", "0.25"), glued("name", "'VGG-11'"))
    second = appendix.split(whole)
    for half in (whole, second):
        nbformat.validate(half)
        assert half.metadata["language_info"]["name"] == "python"
    assert [cell.source for cell in whole.cells][:2] == ["# Title", "0.2 and VGG-11"]
    assert [cell.source for cell in second.cells] == ["# Proofs", "3", "glue('far')", "glue('name')"]
    assert len(whole.cells) == 4


def test_a_number_that_nothing_computes_is_an_error():
    with pytest.raises(KeyError, match="far"):
        appendix.split(book(v4.new_markdown_cell("# Proofs", metadata={"tags": [appendix.APPENDIX]})))
