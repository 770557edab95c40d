"""Captions say what the record shows: each belongs to a figure of a record, and follows from its numbers."""

import nbformat
import pytest

from cladec_companion.book import notebook, shown
from cladec_companion.papers import CHAPTERS
from cladec_companion.papers.cladec.layers import captions
from tests.captioned import sentences_follow, sentences_stand

TOLD = [chapter for chapter in CHAPTERS.values() if chapter.captions_by]


@pytest.mark.parametrize("chapter", TOLD, ids=lambda chapter: chapter.name)
def test_each_sentence_is_of_a_figure_that_shows_the_record(chapter):
    record = notebook.saved(chapter.name)
    if record is None:
        pytest.skip(f"no record of {chapter.name} yet")
    sentences_stand(chapter.name, record)


@pytest.mark.parametrize("chapter", TOLD, ids=lambda chapter: chapter.name)
def test_other_numbers_give_other_sentences(chapter):
    record = notebook.saved(chapter.name)
    if record is None:
        pytest.skip(f"no record of {chapter.name} yet")
    sentences_follow(chapter.name, record)


def test_no_sentence_tells_of_what_was_not_measured(monkeypatch, whole_run):
    said = {
        "fig-one": "The loss is 0.04.",
        "fig-two": "It is nan.",
        "fig-three": "",
        "fig-four": "A banana has 3 parts.",
    }
    monkeypatch.setattr(captions, "told", lambda record: said)
    assert set(CHAPTERS["layers"].told(whole_run)) == {"fig-one", "fig-four"}
    assert CHAPTERS["layers"].told(None) == {}


def test_a_sentence_stands_before_the_caption_of_its_figure():
    cell = nbformat.v4.new_code_cell(metadata={"mystnb": {"figure": {"name": "fig-one", "caption": "Two lines."}}})
    book = nbformat.v4.new_notebook(cells=[cell])
    shown.decide(book, None, {"fig-one": "One line rises by 3 %.", "fig-two": "Nothing."})
    assert book.cells[0].metadata["mystnb"]["figure"]["caption"] == "One line rises by 3 %. Two lines."
