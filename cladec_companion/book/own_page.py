"""A page of the reader's own: one executed notebook, rendered beside the book and never over it."""

import re
import shutil
from pathlib import Path

import nbformat
import yaml

from cladec_companion.book import build as book
from cladec_companion.book import heads as chapters
from cladec_companion.book import launch
from cladec_companion.records.files import ROOT
from cladec_core.errors import RunError

REFERENCES = "## References\n\n```{bibliography}\n:filter: docname in docnames\n```"
PAGES = ROOT / "build" / "pages"
# A link to another page: [text](file.ipynb), [](../book/file.md#place)
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?:\.\./\w+/)?(?P<page>\w+)\.(?:md|ipynb)(?P<place>#[\w-]+)?\)")


def render(executed: Path) -> Path:
    """Render an executed notebook alone, with links into the book.

    Parameters
    ----------
    executed
        As `book.execute` returns it: `<parameters>/<name>.ipynb`.

    Returns
    -------
    Path
        The page, under `build/pages/<parameters>/`.

    Raises
    ------
    RunError
        If there is no page afterwards; it says what Sphinx said.
    """
    name, folder = executed.stem, PAGES / executed.parent.name
    site, output = folder / "site" / name, folder / name
    page = output / "_build" / "html" / f"{name}.html"
    if page.exists() and page.stat().st_mtime > executed.stat().st_mtime:
        return page
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(ROOT / "book" / "static", site / "book" / "static")
    shutil.copy(ROOT / "book" / "references.bib", site / "book")
    content = nbformat.read(executed, 4)
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(_into_the_book, cell.source)
    told = f"*A run of your own, with the parameters below. The book's page: {_link(name, '')}.*"
    content.cells[0].source = chapters.below_title(content.cells[0].source, told)
    content.cells.append(nbformat.v4.new_markdown_cell(REFERENCES, id="references"))
    nbformat.write(content, site / f"{name}.ipynb")
    configuration = yaml.safe_dump(launch.configuration(None), sort_keys=False, allow_unicode=True)
    (site / "_config.yml").write_text(configuration, encoding="utf-8")
    (site / "_toc.yml").write_text(f"format: jb-book\nroot: {name}\n", encoding="utf-8")
    shutil.rmtree(output, ignore_errors=True)
    outcome = book.sphinx(site, site / "_toc.yml", output)  # without -n: labels of the other pages are not here
    if outcome.returncode or not page.exists():
        raise RunError(f"{executed} was executed but not rendered: {outcome.stderr.strip()[-500:]}")
    return page


def _into_the_book(link: re.Match[str]) -> str:
    return _link(link["page"], link["text"], link["place"] or "")


def _link(page: str, text: str, place: str = "") -> str:
    """A link to a page of the rendered book; its bare title while there is none. Markdown refuses links to files."""
    folder, source = ("notebooks", f"{page}.ipynb") if page in book.notebook_names() else ("book", f"{page}.md")
    title = text or chapters.title_of(ROOT / folder / source)
    rendered = book.HTML / folder / f"{page}.html"
    return f'<a href="{rendered.as_uri()}{place}">{title}</a>' if rendered.exists() else f"*{title}*"
