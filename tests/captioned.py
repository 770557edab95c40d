"""What holds for the captions of a chapter: each is of one of its figures, and follows from the numbers of a record."""

import re
from dataclasses import replace

import nbformat
import numpy as np

from cladec_companion.papers import CHAPTERS
from cladec_companion.records.files import ROOT
from cladec_companion.records.record import Record

LONGEST = 300  # characters: a caption is read beside its picture


def figures_of(name: str) -> dict[str, str]:
    """Figures of a notebook: name -> caption."""
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells
    options = [cell.metadata.get("mystnb", {}).get("figure") for cell in cells]
    return {option["name"]: option["caption"] for option in options if option}


def altered(record: Record, seed: int = 0) -> Record:
    """The record with every measurement between a half and all of what it was."""
    random = np.random.default_rng(seed)
    values = record.rows["value"].astype(float) * random.uniform(0.5, 1.0, len(record.rows))
    samples = {
        name: array * random.uniform(0.5, 1.0, array.shape) if array.dtype.kind == "f" else array
        for name, array in record.samples.items()
    }
    return replace(record, rows=record.rows.assign(value=values), samples=samples)


def sentences_stand(name: str, record: Record) -> None:
    """Assert that each sentence is one, and of a figure that shows the record."""
    told, captions = CHAPTERS[name].told(record), figures_of(name)
    assert told
    for figure, sentence in told.items():
        assert not captions[figure].startswith("This run")
        assert re.fullmatch(r"[A-Z0-9].*[.]", sentence)
        assert len(sentence) <= LONGEST
        assert "nan" not in sentence


def sentences_follow(name: str, record: Record) -> None:
    """Assert that other numbers give other sentences."""
    told, others = CHAPTERS[name].told(record), CHAPTERS[name].told(altered(record))
    assert not [figure for figure, sentence in told.items() if others.get(figure) == sentence]
