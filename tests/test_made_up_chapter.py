"""A chapter is one folder and one entry in a list: a made-up one goes all the way, and no machinery knows it."""

import re
import subprocess
import sys
from dataclasses import replace

import nbformat
import pytest

from cladec_companion.book import build as book
from cladec_companion.book import heads, launch, ledger, notebook, pages
from cladec_companion.commands import main as cli
from cladec_companion.engine import estimate, grid
from cladec_companion.engine.plan import of_profile, tables_of
from cladec_companion.evidence.claims import FAILS, HOLDS
from cladec_companion.papers import CHAPTERS
from cladec_companion.records.files import ROOT
from cladec_companion.records.record import read_record
from cladec_core.errors import UsageError
from tests.made_up_chapter import CHAPTER, figures

SMALL = {
    "seeds": [0, 1], "train_limit": 96, "test_limit": 40, "width": 0.1, "classifier_epochs": 1, "decoder_epochs": 3,
    "batch_size": 16,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def listed():
    """The only change: an entry in the list of chapters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CHAPTERS, "dimmed", CHAPTER)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the record that two worker processes made."""
    root = tmp_path_factory.mktemp("dimmed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLADEC_MODELS", str(root / "models"))
        patch.setattr(estimate, "measured_rates", lambda *_: {("vgg5", False): 1e30, ("vgg5", True): 1e30})
        grid.train(of_profile(CHAPTERS, "quick", "dimmed", SMALL), root / "results", device="cpu", count=2)
    return root / "results"


@pytest.fixture
def record(folder, monkeypatch):
    monkeypatch.setenv("CLADEC_RESULTS", str(folder))
    settings = notebook.settings_for("dimmed", "quick", **SMALL)
    monkeypatch.setattr(grid, "train", lambda *_, **__: pytest.fail("trained again"))
    book.train(["dimmed"], "quick", SMALL)  # what `cladec run` does first
    return notebook.run(settings)


def test_its_cells_are_planned_and_named_like_any_other(monkeypatch, capsys):
    assert tables_of(CHAPTERS)["table99"] == ("dimmed", "vgg5")
    monkeypatch.setattr(sys, "argv", "cladec train --profile smoke --only table99 --set dimming=[0.5] --list".split())
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().out == "smoke/dimmed\tdimmed/digits/vgg5/dimmed to 0.5/0\n"


def test_workers_train_and_record_it(record, folder):
    assert record.folder.parents[1] == folder
    assert list(record.cells) == [
        f"digits/vgg5/dimmed to {dimming}/{seed}" for dimming in (0.25, 1.0) for seed in (0, 1)
    ]
    done = [label for cell in record.cells.values() for label in cell["trainings"]]
    assert done.count("classifier") == 2  # the decoders share it
    assert record.samples["digits/vgg5/dimming=0.25/cladec"].shape == (3, 1, 32, 32)
    assert read_record(record.folder).rows["value"].notna().all()


def test_its_numbers_stand_beside_the_print_in_a_notebook(record):
    sources = notebook.sources(CHAPTER.claims, record, None)
    table = notebook.side_by_side(sources, CHAPTER.columns, axis=CHAPTER.axis)
    assert list(table.index.get_level_values("source")) == ["published", "this run"] * 2
    assert table.loc[("Digits", "VGG-5", 0.25, "published"), "brightness of X̂"] == "0.100 ± 0.010"
    shown = notebook.verdicts(CHAPTER.claims, sources).to_html()
    assert "Dimmed images make dim explanations" in shown


def test_its_claims_are_judged_in_the_ledger(record):
    verdicts = {claim.key: found for chapter, claim, *found in ledger.judged(CHAPTERS, [record]) if chapter is CHAPTER}
    assert {key: printed.verdict for key, (printed, _) in verdicts.items()} == {"M1": HOLDS, "M12": FAILS}
    ((runs, verdict),) = verdicts["M1"][1].values()
    assert (runs, verdict.verdict) == (2, HOLDS)
    page = ledger.ledger(CHAPTERS, [record])
    keys = re.findall(r"^\| ([A-Z]\d+), ", page, re.M)
    assert keys[-2:] == ["M1", "M12"]  # after those of the papers that stand before it
    assert keys[:-2] == [f"B{number}" for number in range(1, len(keys) - 1)]
    assert "[dimmed](../notebooks/dimmed.ipynb)" in page


def test_its_pages_are_made(record, tmp_path):
    whole = replace(record, folder=record.folder.parents[1] / "quick" / "dimmed")
    assert "| 2 of 2, 2 more |" in pages.status([whole])  # the profile has one seed
    page = pages.published_against_reproduced([record])
    assert "## Dimmed: Digits, VGG-5" in page
    assert page.count("| published |") == 2
    page = ledger.differences(CHAPTERS, [record])
    assert "The print is made up." in page
    assert "brightness of X̂" in page


def test_its_figure_is_drawn(record):
    drawn = figures.pictures(record)
    assert [axis.get_ylabel() for axis in drawn.axes[::3]] == ["dimmed to 0.25", "dimmed to 1.0"]


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A staged book with one notebook."""
    cells = [
        nbformat.v4.new_markdown_cell("# What does dimming do?"),
        nbformat.v4.new_code_cell(
            'profile: str = "quick"  # how much\ndimming: list = None  # factors', metadata={"tags": ["parameters"]}
        ),
    ]
    for place in ("notebooks", "book", "book/generated"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "notebooks" / "dimmed.ipynb")
    parts = "parts: [{caption: Made up, chapters: [{file: notebooks/dimmed}]}]"
    (tmp_path / "book" / "_toc.yml").write_text(f"root: book/index\n{parts}\n")
    (tmp_path / "book" / "index.md").write_text("# Front\n")
    monkeypatch.setattr(book, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(launch, "ROOT", tmp_path)
    monkeypatch.setattr(launch, "address", lambda: None)
    return tmp_path


def test_its_notebook_s_parameters_are_checked(notebooks):
    assert book.notebook_names() == ["dimmed"]
    assert book.check("dimmed", "quick", {"dimming": [0.5]})["dimming"] == [0.5]
    with pytest.raises(UsageError, match=r"dimming is 2.0; valid: from 0 to 1"):
        book.check("dimmed", "quick", {"dimming": [2.0]})
    with pytest.raises(UsageError, match="Unknown parameter of dimmed 'dimmed'; valid: dimming"):
        book.check("dimmed", "quick", {"dimmed": [0.5]})


def test_the_map_has_its_mark_and_its_link(notebooks):
    heads.write(notebooks, "quick")
    drawn = (notebooks / "book" / "generated" / "map.html").read_text()
    assert "notebooks/dimmed" in drawn
    assert "What does dimming do?" in drawn
    assert re.search(r'c?x="200"', drawn)
    head = nbformat.read(notebooks / "notebooks" / "dimmed.ipynb", 4).cells[0].source
    assert "chapter-head" in head
    assert "| `dimming` | `[0.25, 1.0]` | factors |" in head


def test_no_file_of_the_project_names_it():
    words = r"dimmed|dimming|made_up_chapter"
    found = subprocess.run(
        ["grep", "-rliE", words, "cladec_companion", "cladec_core", "workflow", "benchmarks"], cwd=ROOT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert [line for line in found.stdout.splitlines() if line.endswith((".py", ".yml", ".html"))] == []
