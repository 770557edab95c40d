"""Captions say what the record shows: each belongs to a figure of a record, and follows from its numbers."""

import re
from dataclasses import replace

import nbformat
import numpy as np
import pytest

from cladec_companion.book import notebook, shown
from cladec_companion.papers import CHAPTERS
from cladec_companion.records.files import ROOT

TOLD = [chapter for chapter in CHAPTERS.values() if chapter.captions_by]
LONGEST = 300  # characters: a caption is read beside its picture


def figures_of(name):
    """Figures of a notebook: name -> caption."""
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells
    options = [cell.metadata.get("mystnb", {}).get("figure") for cell in cells]
    return {option["name"]: option["caption"] for option in options if option}


def altered(record, seed=0):
    """The record with every measurement between a half and all of what it was."""
    random = np.random.default_rng(seed)
    values = record.rows["value"].astype(float) * random.uniform(0.5, 1.0, len(record.rows))
    return replace(record, rows=record.rows.assign(value=values))


@pytest.mark.parametrize("chapter", TOLD, ids=lambda chapter: chapter.name)
def test_each_sentence_is_of_a_figure_that_shows_the_record(chapter):
    record = notebook.saved(chapter.name)
    if record is None:
        pytest.skip(f"no record of {chapter.name} yet")
    told, captions = chapter.told(record), figures_of(chapter.name)
    assert told
    for name, sentence in told.items():
        assert not captions[name].startswith("This run")
        assert re.fullmatch(r"[A-Z0-9].*[.]", sentence)
        assert len(sentence) <= LONGEST
        assert "nan" not in sentence


@pytest.mark.parametrize("chapter", TOLD, ids=lambda chapter: chapter.name)
def test_other_numbers_give_other_sentences(chapter):
    record = notebook.saved(chapter.name)
    if record is None:
        pytest.skip(f"no record of {chapter.name} yet")
    told, others = chapter.told(record), chapter.told(altered(record))
    assert not [name for name, sentence in told.items() if others.get(name) == sentence]


def test_a_sentence_stands_before_the_caption_of_its_figure():
    cell = nbformat.v4.new_code_cell(metadata={"mystnb": {"figure": {"name": "fig-one", "caption": "Two lines."}}})
    book = nbformat.v4.new_notebook(cells=[cell])
    shown.decide(book, None, {"fig-one": "One line rises by 3 %.", "fig-two": "Nothing."})
    assert book.cells[0].metadata["mystnb"]["figure"]["caption"] == "One line rises by 3 %. Two lines."
