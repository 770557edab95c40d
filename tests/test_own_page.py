"""`cladec run` renders a page of the reader's own, beside the book and never over it."""

import nbformat
import pytest

from cladec_companion.book import build as book
from cladec_companion.book import own_page
from cladec_core.errors import RunError

TEXT = """# What if?

It cites {cite:p}`cladec_journal`, and links to [layers](layers.ipynb), [](../book/deviations.md) and
[a place](../book/reading.md#cases). A formula: $x^2$.
"""


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """An executed notebook, and a rendered book that has two of its three pages."""
    for page in ("notebooks/layers", "book/reading", "notebooks/alpha"):
        (tmp_path / "html" / page).with_suffix(".html").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "html" / page).with_suffix(".html").write_text("the book")
    monkeypatch.setattr(book, "HTML", tmp_path / "html")
    monkeypatch.setattr(own_page, "PAGES", tmp_path / "pages")
    output = nbformat.v4.new_output("stream", name="stdout", text="the result 42")
    cells = [nbformat.v4.new_markdown_cell(TEXT), nbformat.v4.new_code_cell("print()", outputs=[output])]
    path = tmp_path / "quick-12345678" / "alpha.ipynb"
    path.parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_a_run_gets_a_page_with_links_into_the_book(executed, tmp_path):
    page = own_page.render(executed)
    assert page.is_relative_to(tmp_path / "pages" / "quick-12345678")
    text = page.read_text(encoding="utf-8")
    assert "the result 42" in text
    html = (tmp_path / "html").as_uri()
    assert f'href="{html}/notebooks/layers.html"' in text
    assert f'href="{html}/book/reading.html#cases"' in text
    assert f'href="{html}/notebooks/alpha.html"' in text  # the book's page of the same chapter
    assert "<em>Readings, deviations and errata</em>" in text  # not rendered, so by its title alone
    assert "A run of your own" in text
    assert "Explaining classifiers by constructing familiar concepts" in text  # the reference
    assert {path.read_text() for path in (tmp_path / "html").rglob("*.html")} == {"the book"}
    written = page.stat().st_mtime_ns
    assert own_page.render(executed).stat().st_mtime_ns == written  # nothing has changed


def test_a_page_that_cannot_be_rendered_says_why(executed, monkeypatch):
    monkeypatch.setattr(
        own_page.book, "sphinx", lambda *_: type("Outcome", (), {"returncode": 2, "stderr": "no such theme"})
    )
    with pytest.raises(RunError, match="was executed but not rendered: no such theme"):
        own_page.render(executed)
