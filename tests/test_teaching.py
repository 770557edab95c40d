"""The lesson: minutes and marks that add up, votes without answers, and a book for students without solutions."""

import re
import shutil
from itertools import pairwise

import nbformat
import pytest
import yaml

from cladec_companion.book import build, solutions
from cladec_companion.records.files import ROOT

DECKS = ("slides_layers", "slides_trust")
OPTIONS = "**A** kept · **B** discarded · **C** replaced by what is typical · **D** nothing follows"


def text(name):
    return (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("deck", DECKS)
def test_every_slide_has_notes_and_a_lecture_has_ninety_minutes(deck):
    slides = re.split(r"(?m)^## ", text(deck))[1:]
    minutes = [re.findall(r"Speaker notes · (\d+) min", slide) for slide in slides]
    assert all(len(found) == 1 for found in minutes), deck
    assert sum(int(found) for (found,) in minutes) == 90


def test_votes_have_the_same_options_and_answers_stand_elsewhere():
    slides = [slide for slide in re.split(r"(?m)^## ", text("slides_layers"))[1:] if slide.startswith("Vote")]
    assert len(slides) == 5
    assert all(OPTIONS in slide for slide in slides)
    answers = re.findall(r"(?m)^\| (\d), .*? \| ([ABCD]) \|", text("instructor/index"))
    assert [int(number) for number, _ in answers] == [1, 2, 3, 4, 5]


def test_the_minutes_of_the_lab_and_the_marks_add_up():
    spans = re.findall(r"(?m)^\* - (\d+) to (\d+)$", text("teaching"))
    assert spans[0][0] == "0"
    assert spans[-1][1] == "90"
    assert all(end == start for (_, end), (start, _) in pairwise(spans))
    weights = dict(re.findall(r"(?m)^\* - (\w+), (\d+) %$", text("teaching")))
    assert sum(map(int, weights.values())) == 100
    marks = re.findall(r"(?m)^\| (\w+), (\d+) \| (\d+) \|", text("instructor/index"))
    given = {part: int(of) for part, of, _ in marks if part != "sum"}
    assert given == {part: int(weight) for part, weight in weights.items()}
    (total,) = [int(mark) for part, _, mark in marks if part == "sum"]
    assert total == sum(int(mark) for part, _, mark in marks if part != "sum")


def test_the_students_book_has_no_solution_and_no_note(tmp_path):
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("results", "unfinished"))
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    build.for_students(tmp_path)
    listed = yaml.safe_load((tmp_path / "book" / "_toc.yml").read_text(encoding="utf-8"))
    files = [entry["file"] for part in listed["parts"] for entry in part["chapters"]]
    assert not [name for name in files if "instructor" in name]
    assert "book/slides_trust" in files
    whole = "".join(
        path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.suffix in (".md", ".ipynb")
    )
    assert "Speaker notes" not in whole
    assert "{solution}" not in whole
    assert "instructor/" not in whole  # no link that leads nowhere
    assert whole.count("{exercise}") == 3 * len(list((ROOT / "notebooks").glob("*.ipynb")))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_whole_book_has_each_solution_behind_its_exercise(path):
    given = (ROOT / "book" / "instructor" / f"{path.stem}.md").read_text(encoding="utf-8")
    labels = re.findall(r"\{solution\} (\S+)", given)
    assert len(labels) == 3
    book = nbformat.read(path, 4)
    code = [cell.source for cell in book.cells if cell.cell_type == "code"]
    solutions.add(book, given)
    assert code == [cell.source for cell in book.cells if cell.cell_type == "code"]
    whole = "\n".join(cell.source for cell in book.cells)
    places = [whole.index(text) for label in labels for text in (f":label: {label}\n", f"{{solution}} {label}\n")]
    assert places == sorted(places)
    assert "notebook.check(" not in whole[places[-1] :]  # whose answer the last solution gives


@pytest.mark.parametrize(("old", "new"), [("ex-alpha-predict", "ex-alpha-guess"), ("{solution}", "{note}")])
def test_solution_and_exercise_need_each_other(old, new):
    given = (ROOT / "book" / "instructor" / "alpha.md").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"The exercise ex-alpha-\w+ has no solution in book/instructor"):
        solutions.add(nbformat.read(ROOT / "notebooks" / "alpha.ipynb", 4), given.replace(old, new))
    with pytest.raises(ValueError, match=r"No exercise has the label ex-none, of which book/instructor has a solution"):
        solutions.add(nbformat.v4.new_notebook(), "```{solution} ex-none\n:class: dropdown\n\nNothing.\n```")


def test_the_students_book_leaves_no_page_of_the_whole_one_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "SITE", tmp_path / "site")
    monkeypatch.setattr(build, "HTML", tmp_path / "html")
    kept = ("html/book/index.html", "html/_sources/book/index.md", "html/search.html", "html/notebooks/layers.html")
    gone = ("html/book/instructor/index.html", "html/_sources/book/instructor/index.md")
    for name in ("site/book/index.md", "site/notebooks/layers.ipynb", *kept, *gone):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    build._remove_stale()
    assert all((tmp_path / name).exists() for name in kept)
    assert not any((tmp_path / name).exists() for name in gone)
