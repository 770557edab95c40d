"""The rendered book on paper: one PDF for each page, by the printing of a headless Chromium."""

import shutil
from collections.abc import Callable
from pathlib import Path

from cladec_companion.book import build as book
from cladec_companion.book import heads as chapters
from cladec_core.errors import RunError

PRINTED = book.ROOT / "build" / "pdf"
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
        `build/pdf/<page>.pdf`, with everything unfolded that is folded away on the screen.

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
    files = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        for name in only or chapters.contents(book.SITE):
            page.goto((book.HTML / f"{name}.html").as_uri(), wait_until="load")
            page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
            page.evaluate("window.MathJax && MathJax.startup && MathJax.startup.promise")
            files.append(PRINTED / f"{Path(name).name}.pdf")
            page.pdf(
                path=files[-1], format="A4", print_background=True, prefer_css_page_size=True,
                margin={"top": MARGIN, "right": MARGIN, "bottom": MARGIN, "left": MARGIN},
            )  # fmt: skip
            report(str(files[-1]))
        browser.close()
    return files
