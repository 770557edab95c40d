"""A chapter is one folder and one entry in a list: a made-up one goes all the way, and no machinery knows any."""

import ast
import re
import sys
from dataclasses import replace

import nbformat
import pytest

from cladec_companion.book import build as book
from cladec_companion.book import heads, launch, ledger, notebook, pages, shown
from cladec_companion.commands import main as cli
from cladec_companion.engine import estimate, grid
from cladec_companion.engine.plan import of_profile, tables_of
from cladec_companion.evidence.claims import FAILS, HOLDS
from cladec_companion.papers import CHAPTERS, PAPERS
from cladec_companion.records.files import ROOT
from cladec_companion.records.record import read_record
from cladec_core.errors import UsageError
from tests.made_up_paper import PAPER
from tests.made_up_paper.dimmed import CHAPTER, figures

SMALL = {
    "seeds": [0, 1], "train_limit": 96, "test_limit": 40, "width": 0.1, "classifier_epochs": 1, "decoder_epochs": 3,
    "batch_size": 16,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def listed():
    """The only changes: an entry in the list of papers, and its chapter in that of chapters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CHAPTERS, "dimmed", CHAPTER)
        PAPERS.append(PAPER)
        yield
        PAPERS.remove(PAPER)


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
    keys = [key.upper() for key in re.findall(r"^\(claim-([a-z]\d+)\)=", page, re.M)]
    assert keys[-2:] == ["M1", "M12"]  # after those of the papers that stand before it
    counted = [
        (letter, [int(key[1:]) for key in keys[:-2] if key[0] == letter])
        for letter in dict.fromkeys(key[0] for key in keys[:-2])
    ]
    assert keys[:-2] == [f"{letter}{number}" for letter, numbers in counted for number in numbers]
    assert all(numbers == list(range(1, len(numbers) + 1)) for _, numbers in counted)
    card = page.split("(claim-m1)=")[1].split(":::\n")[0]
    assert "[dimmed images](../notebooks/dimmed.ipynb)" in card
    assert "*The paper:* “Who was trained in the dark explains in the dark.”" in card
    assert "*Shown in:* {numref}`fig-dimmed`" in card
    assert "In the Dark (Nobody)" in page  # the paper, among those that the matrix can be filtered by


def test_its_pages_are_made(record, tmp_path):
    whole = replace(record, folder=record.folder.parents[1] / "quick" / "dimmed")
    assert "| 2 of 2, 2 more |" in pages.status([whole])  # the profile has one seed
    page = pages.published_against_reproduced([record])
    assert "## Dimmed images: Digits, VGG-5" in page
    assert page.count("| published |") == 2
    page = ledger.differences(CHAPTERS, [record])
    assert "The print is made up." in page
    assert "brightness of X̂" in page
    assert "| `dimmed` | who sees in the dark? | `dimming` |" in pages.notebooks(CHAPTERS)
    (row,) = (line for line in pages.limits().splitlines() if line.startswith("| white (an explanation) "))
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["1", "M12"]


def test_its_figure_is_drawn(record):
    drawn = figures.pictures(record)
    assert [axis.get_ylabel() for axis in drawn.axes[::3]] == ["dimmed to 0.25", "dimmed to 1.0"]
    assert re.fullmatch(r"The mean grey value is 0.\d\d in the dark .* by day\.", CHAPTER.told(record)["fig-dimmed"])


def test_its_tables_are_in_words():
    output = nbformat.v4.new_output("display_data", {"text/html": "<table><tr><th>dimming</th></tr></table>"})
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])])
    shown.in_words(page)
    assert page.cells[0].outputs[0].data["text/html"] == "<table><tr><th>dimmed to</th></tr></table>"


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


def literals(path):
    """The texts in a module: those that are compared, looked up or printed, but no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    statements = (node for node in ast.walk(tree) if isinstance(node, ast.Expr))
    told = {id(node.value) for node in statements}  # a text that stands alone is a docstring
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [node.value for node in texts if id(node) not in told]


# Words that happen to be the name of a chapter, and one default.
EXCEPTED = {
    ("benchmarks/large_images.py", "budget"),  # of minutes, a key of what was measured
    ("benchmarks/sizes.py", "layers"),  # of a network
    ("cladec_companion/book/pages.py", "budget"),  # the same key, read
    ("cladec_companion/evidence/explorer.py", "controls"),  # with which readers choose a picture
    ("cladec_companion/evidence/noise.py", "units"),  # a metric, how many a layer has
    ("cladec_companion/report/report.py", "contrast"),  # a part of the report on any classifier
    ("workflow/kill_test.py", "layers"),  # the experiment that is killed unless another is named
}


def test_no_module_outside_the_papers_names_a_chapter():
    names = "|".join(CHAPTERS)
    named = re.compile(rf"({names})|.*\b(?:notebooks/|`)({names})\b.*|.*\b({names})(?:\.ipynb|/).*", re.DOTALL)
    modules = [
        path for folder in ("cladec_companion", "benchmarks", "workflow") for path in (ROOT / folder).rglob("*.py")
    ]
    papers = ROOT / "cladec_companion" / "papers"
    found = {
        (path.relative_to(ROOT).as_posix(), next(filter(None, hit.groups())))
        for path in modules if papers not in path.parents or path.parent == papers
        for hit in map(named.fullmatch, literals(path)) if hit
    }  # fmt: skip
    assert found == EXCEPTED
