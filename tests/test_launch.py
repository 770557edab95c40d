"""How a chapter is run: buttons only where the repository has an address, a command and a table of parameters."""

import re
import shutil
from dataclasses import fields, replace

import nbformat
import pytest
import yaml

from cladec_companion.book import build as book
from cladec_companion.book import launch
from cladec_companion.commands.shared import parse_changes
from cladec_companion.papers import settings_for

GITHUB, GITLAB = "https://github.com/someone/cladec", "https://gitlab.com/someone/cladec"


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (GITHUB, GITHUB), (f"{GITHUB}.git", GITHUB), (f"{GITLAB}/", GITLAB), ("", None),
        ("https://example.org/someone/cladec", None), (f"{GITHUB}/tree/main", None),
    ],
)  # fmt: skip
def test_the_address_is_that_of_the_citation(named, found, tmp_path, monkeypatch):
    text = f"title: ClaDec\nrepository-code: {named}\n" if named else "title: ClaDec\n"
    (tmp_path / "CITATION.cff").write_text(text, encoding="utf-8")
    monkeypatch.setattr(launch, "ROOT", tmp_path)
    assert launch.address() == found


def test_without_an_address_nothing_leads_to_one():
    assert not {"launch_buttons", "repository"} & set(launch.configuration(None))
    assert "colab_url" in launch.configuration(GITHUB)["launch_buttons"]
    assert "colab_url" not in launch.configuration(GITLAB)["launch_buttons"]
    assert "http" not in launch.how_to_run("layers", "quick", None)
    assert "Colab" not in launch.how_to_run("layers", "quick", GITLAB)


@pytest.mark.parametrize("name", book.notebook_names())
def test_the_box_names_command_and_parameters_with_their_values(name):
    text, settings = launch.how_to_run(name, "quick", GITHUB), settings_for(name, "quick")
    assert f"\n.venv/bin/cladec run {name}\n" in text
    assert f"!git clone --quiet --depth 1 {GITHUB}\n%cd cladec\n" in text
    added = re.findall(r"More values of (.+) are added to the same record", text)
    assert {key for line in added for key in re.findall(r"`(\w+)`", line)} == {
        item.name for item in fields(settings) if item.name != "profile" and item.name not in settings.configuration()
    }
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.+)` \| .{8,} \|$", text, re.M))
    assert set(rows) == {item.name for item in fields(settings)}
    typed = parse_changes([f"{parameter}={value}" for parameter, value in rows.items() if parameter != "profile"])
    assert settings_for(name, "smoke", **typed) == replace(settings, profile="smoke")


def test_every_page_of_a_notebook_has_its_buttons(tmp_path, monkeypatch):
    site, names = tmp_path / "site", book.notebook_names()
    monkeypatch.setattr(book, "SITE", site)
    monkeypatch.setattr(book, "HTML", tmp_path / "book" / "_build" / "html")
    shutil.copytree(book.ROOT / "book" / "static", site / "book" / "static")
    shutil.copy(book.ROOT / "book" / "references.bib", site / "book")
    (site / "book" / "index.md").write_text("# Front\n", encoding="utf-8")
    listed = [{"file": f"notebooks/{name}"} for name in names]
    contents = {"format": "jb-book", "root": "book/index", "chapters": listed}
    (site / "book" / "_toc.yml").write_text(yaml.safe_dump(contents), encoding="utf-8")
    (site / "_config.yml").write_text(yaml.safe_dump(launch.configuration(GITHUB)), encoding="utf-8")
    (site / "notebooks").mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    for name in names:
        cells = [nbformat.v4.new_markdown_cell(f"# {name}\n\n{launch.how_to_run(name, 'quick', GITHUB)}")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), site / "notebooks" / f"{name}.ipynb")
    book._render(False, print)
    for name in names:
        page = (book.HTML / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
        assert f'"https://mybinder.org/v2/gh/someone/cladec/main?urlpath=lab/tree/notebooks/{name}.ipynb"' in page
        assert f'"https://colab.research.google.com/github/someone/cladec/blob/main/notebooks/{name}.ipynb"' in page
        assert page.count('class="pst-scrollable-table-container"') == 1  # of the parameters
    assert "mybinder" not in (book.HTML / "book" / "index.html").read_text(encoding="utf-8")
