"""The built book in a headless browser, with no network: what a reader sees is there and is drawn."""

import shutil
from pathlib import Path

import pytest

from companion import book

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-quic",
]  # fmt: skip
pytestmark = [
    pytest.mark.xdist_group("pages"),  # one browser for all
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
    pytest.mark.skipif(not book.HTML.exists(), reason="the book was not built (make book)"),
]
PAGES = sorted(str(path.relative_to(book.HTML)) for path in book.HTML.glob("*/*.html") if path.parent.name[0] != "_")
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]
WITH_MATHEMATICS = [page for page in PAGES if 'class="math ' in (book.HTML / page).read_text(encoding="utf-8")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")), executable_path=CHROMIUM, headless=True, args=FLAGS, offline=True
        )
        yield context
        context.close()


@pytest.fixture
def open_page(browser):
    """Open a page from disk; returns it and the list of addresses it asked for that are not files."""
    opened = []

    def go(name, width=1280):
        page = browser.new_page()
        opened.append(page)
        outside = []
        page.on("request", lambda sent: outside.append(sent.url) if not sent.url.startswith(("file:", "data:")) else 0)
        page.set_viewport_size({"width": width, "height": 900})
        page.goto((book.HTML / name).as_uri(), wait_until="load")
        return page, outside

    yield go
    for page in opened:
        page.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_is_complete_without_network(name, open_page):
    page, outside = open_page(name)
    assert page.locator("article h1").count() == 1  # the theme has another one for print
    broken = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
    assert not broken
    nameless = page.evaluate("[...document.querySelectorAll('article img')].filter(i => !i.alt).map(i => i.src)")
    assert not nameless
    page.wait_for_timeout(300)
    assert not outside


@pytest.mark.parametrize("name", PAGES)
def test_phone_needs_no_sideways_scrolling(name, open_page):
    page, _ = open_page(name, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("name", WITH_MATHEMATICS)
def test_mathematics_is_typeset(name, open_page):
    page, _ = open_page(name)
    page.wait_for_selector("mjx-container mjx-math", timeout=15_000, state="attached")  # some are folded away
    page.wait_for_timeout(500)
    assert page.locator("mjx-merror").count() == 0
    assert "$" not in page.locator("article p:has(.math)").first.inner_text()


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_shows_numbered_figures_and_tables(name, open_page):
    page, _ = open_page(name)
    captions = page.locator("figcaption .caption-number").all_inner_texts()
    assert len(captions) >= 3
    assert all(caption.startswith("Fig.") for caption in captions)
    assert page.locator("table.dataframe tbody tr").count() >= 5
    assert page.locator("details.toggle-details, .dropdown").count() >= 1


def test_front_page_shows_its_picture_and_leads_on(open_page):
    page, _ = open_page("book/index.html")
    assert page.locator("figure img").first.evaluate("image => image.naturalWidth") > 600
    page.locator("article a", has_text="How to read an explanation").first.click()
    page.wait_for_load_state()
    assert "How to read" in page.title()


def test_internal_links_lead_to_pages_and_places_that_exist(open_page):
    missing = []
    ids = {}
    for name in PAGES:
        page, _ = open_page(name)
        ids[name] = set(page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)"))
        links = page.evaluate("[...document.querySelectorAll('article a[href]')].map(a => a.href)")
        for link in {link for link in links if link.startswith("file:")}:
            address, _, place = link.partition("#")
            target = Path(address.removeprefix("file://"))
            if not target.exists() or (place and target == book.HTML / name and place not in ids[name]):
                missing.append((name, link))
    assert not missing


def test_committed_numbers_reach_their_page(open_page):
    from companion import tables
    from companion.notebook import saved

    page, _ = open_page("book/published.html")
    text = page.locator("article").inner_text()
    loss = tables.layers_summary(saved("layers")).loc[("fashion_mnist", "vgg11", -1, "rec_cladec"), "mean"]
    assert f"{loss:.3f}" in text
    assert "0.240 ± 0.018" in text
