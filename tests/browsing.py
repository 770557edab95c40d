"""A headless Chromium without network, for tests that look at pages as a reader does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cladec_companion.book import pdf as printing

CHROMIUM = printing.chromium()
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-quic",
]  # fmt: skip
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 900}
needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)


@contextmanager
def offline(profile: Path, **options: object) -> Iterator:
    """A browser with a profile of its own; what it asks of the network fails."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile), executable_path=CHROMIUM, headless=True, args=FLAGS, offline=True, **options
        )
        yield context
        context.close()


def page_of(folder: Path, content: str) -> str:
    """Write a page with this content, as wide as a chapter's column at most; returns its address."""
    path = folder / "page.html"
    frame = "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'><title>Page</title>"
    look = "<style>* {box-sizing: border-box} body {max-width: 46rem; margin: 1rem auto; padding: 0 1rem}</style>"
    path.write_text(f"{frame}{look}<article>{content}</article>", encoding="utf-8")
    return path.as_uri()
