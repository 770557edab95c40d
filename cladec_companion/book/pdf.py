"""The rendered book on paper: one PDF for each page, by the printing of a headless Chromium, and one of them all."""

import shutil
from collections.abc import Callable
from pathlib import Path

import yaml

from cladec_companion.book import binding
from cladec_companion.book import build as book
from cladec_companion.book import heads as chapters
from cladec_core.errors import RunError

PRINTED = book.ROOT / "build" / "pdf"
WHOLE = "cladec-book.pdf"  # all pages
HEADINGS = """[...document.querySelectorAll("article :is(h1, h2)")].map((heading) => {
  const own = heading.cloneNode(true);
  own.querySelectorAll(".headerlink").forEach((link) => link.remove());
  return own.textContent.trim().replace(/\\s+/g, " ");
})"""
# Chromium notes in the PDF only the places to which the page itself has links; other pages lead to others of them.
PLACES = """document.querySelectorAll("article [id]").forEach(({id}) => {
  const link = document.createElement("a");
  link.href = `#${encodeURIComponent(id)}`;
  link.hidden = true;
  document.querySelector("article").append(link);
})"""
MARGIN = "16mm"  # slides have a format and margins of their own


def chromium() -> str | None:
    """Where a Chromium is, if there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def print_book(report: Callable[[str], None] = print, only: list[str] | None = None) -> list[Path]:
    """Print every page of the rendered book, or some of them.

    Parameters
    ----------
    report
        Called with a line per file.
    only
        Pages as in the table of contents, such as notebooks/layers; all by default.

    Returns
    -------
    list of Path
        `build/pdf/<page>.pdf`, with everything unfolded that is folded away on the screen; of all pages also
        `build/pdf/cladec-book.pdf`, which has them in the order of the book.

    Raises
    ------
    RunError
        If the book is not rendered, or there is no Chromium or no playwright.
    """
    if not (book.HTML / "index.html").exists():
        raise RunError("There is no rendered book yet; `make book` makes it.")
    executable = chromium()
    if executable is None:
        raise RunError("Printing needs a Chromium (Debian: apt-get install chromium).")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise RunError("Printing needs playwright, which is among the development tools (`make setup`).") from error
    PRINTED.mkdir(parents=True, exist_ok=True)
    printed: dict[str, binding.Printed] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        for name in only or chapters.contents(book.SITE):
            page.goto((book.HTML / f"{name}.html").as_uri(), wait_until="load")
            page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
            page.evaluate("window.MathJax && MathJax.startup && MathJax.startup.promise")
            page.evaluate(PLACES)
            output = PRINTED / f"{Path(name).name}.pdf"
            page.pdf(
                path=output, format="A4", print_background=True, prefer_css_page_size=True, outline=True,
                tagged=True, margin={"top": MARGIN, "right": MARGIN, "bottom": MARGIN, "left": MARGIN},
            )  # fmt: skip
            printed[name] = binding.Printed(output, page.evaluate(HEADINGS))
            report(str(output))
        browser.close()
    files = [page.path for page in printed.values()]
    return files if only else [*files, _whole(printed, report)]


def _whole(printed: dict[str, binding.Printed], report: Callable[[str], None]) -> Path:
    """Bind all printed pages."""
    configuration = yaml.safe_load((book.SITE / "_config.yml").read_text(encoding="utf-8"))
    about = {key: configuration[key] for key in ("title", "author")}
    sheets = binding.bind(printed, chapters.contents(book.SITE), book.HTML, PRINTED / WHOLE, about)
    report(f"{PRINTED / WHOLE} ({sheets} sheets)")
    return PRINTED / WHOLE
