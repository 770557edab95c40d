"""Words that pages, notebooks, docstrings and messages do without; each stands beside what to write instead."""

import re

import nbformat
import pytest

from cladec_companion.records.files import ROOT

AVOIDED = {
    "dear": "expensive", "likeness": "resemblance, or the loss", "lets? go": "discards", "whilst": "while",
    "amongst": "among", "utili[sz]e[sd]?": "use", "leverages?": "use", "in order to": "to", "obviously": "(nothing)",
    "of course": "(nothing)", "basically": "(nothing)", "simply": "(nothing)", "needless to say": "(nothing)",
    "it is worth noting": "(nothing)", "note that": "(nothing)", "thereof": "of it, named", "therein": "in it, named",
    "hitherto": "so far", "yardstick": "baseline", "without a network": "offline",
    "heat-up": "warm-up", "the former": "its name",
    "the latter": "its name", "very": "(nothing)", "state[- ]of[- ]the[- ]art": "a figure and a year",
}  # fmt: skip
KEPT = ("very last", "very first", "very large")  # said of an end, or of a size without a number
SOURCES = sorted(
    path for folder in ("cladec_core", "cladec_companion", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
PAGES = sorted([*(ROOT / "book").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])


def found(text):
    """Lines with a word to avoid, and what to write instead."""
    for kept in KEPT:
        text = re.sub(kept, "", text)
    return [
        (line.strip(), instead)
        for word, instead in AVOIDED.items()
        for line in text.splitlines()
        if re.search(rf"(?i)\b{word}\b", line)
    ]


def prose_of(path):
    """What readers see of a notebook: its texts, and the captions of its figures."""
    cells = nbformat.read(path, 4).cells
    captions = [str(cell.metadata.get("mystnb", {})) for cell in cells]
    return "\n".join([*(cell.source for cell in cells if cell.cell_type == "markdown"), *captions])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_are_in_plain_words(path):
    assert not found(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_in_plain_words(path):
    assert not found(prose_of(path))


def test_sources_are_in_plain_words():
    assert not [(path.name, *line) for path in SOURCES for line in found(path.read_text(encoding="utf-8"))]


def test_a_word_to_avoid_is_found():
    assert found("A very dear thing, of course")
    assert not found("the very last layer")
