"""The whole book in one file: a PDF with an outline and working links, and a zip that is read without network."""

import re
import shutil
import zipfile

import nbformat
import numpy as np
import pytest
import yaml

from cladec_companion.book import archive, binding, build, launch
from cladec_companion.book import pdf as printing
from cladec_companion.evidence.explorer import Control, explore
from cladec_companion.records.files import ROOT
from cladec_core.errors import RunError
from tests.browsing import needs_chromium, offline

FRONT = "# Front\n\n[The first](first.md), [far below](far-below), [the web](https://example.org/paper).\n"
FAR = "Far below and with a heading that is too long for one line of the paper on which it is printed here"
FIRST = """# First page

(near-top)=
## Near

$$ a^2 + b^2 = c^2 $$

{filling}

(far-below)=
## Far below and with a heading that is too long for one line of the paper on which it is printed here

Back to [](near-top).

## Last

Periwinkle.
"""


def figure():
    """Four images to step through."""
    shown = np.linspace(0, 1, 4 * 8 * 8 * 3).reshape(4, 8, 8, 3)
    return explore([Control("Step", list("abcd"), start=1)], {"X": shown}, list("1234"), "Four images to step through")


def source(site):
    """A small book with what the real one has: parts, a formula, a figure with controls, links from page to page."""
    for name in ("book", "notebooks"):
        (site / name).mkdir(parents=True)
    shutil.copytree(ROOT / "book" / "static", site / "book" / "static")
    shutil.copy(ROOT / "book" / "references.bib", site / "book")
    (site / "_config.yml").write_text(yaml.safe_dump(launch.configuration(None)), encoding="utf-8")
    parts = [
        {"caption": "Ideas", "chapters": [{"file": "book/first"}]},
        {"caption": "Trials", "chapters": [{"file": "notebooks/second"}]},
    ]
    contents = {"format": "jb-book", "root": "book/index", "parts": parts}
    (site / "book" / "_toc.yml").write_text(yaml.safe_dump(contents), encoding="utf-8")
    (site / "book" / "index.md").write_text(FRONT, encoding="utf-8")
    filling = "A sentence that fills the paper. " * 900
    (site / "book" / "first.md").write_text(FIRST.format(filling=filling), encoding="utf-8")
    shown = nbformat.v4.new_output("display_data", {"text/html": figure().data})
    cells = [
        nbformat.v4.new_markdown_cell("# Second page\n\n[Before](../book/first.md)"),
        nbformat.v4.new_code_cell("figure", outputs=[shown]),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), site / "notebooks" / "second.ipynb")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    source(folder / "site")
    outcome = build.sphinx(folder / "site", folder / "site" / "book" / "_toc.yml", folder)
    assert outcome.returncode == 0, outcome.stderr
    return folder / "site", folder / "_build" / "html"


@pytest.fixture(scope="module")
def printed(rendered, tmp_path_factory):
    """The printed pages, and the bound PDF as pypdf reads it."""
    pypdf = pytest.importorskip("pypdf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "SITE", rendered[0])
        patch.setattr(build, "HTML", rendered[1])
        patch.setattr(printing, "PRINTED", tmp_path_factory.mktemp("pdf"))
        *pages, whole = printing.print_book(lambda line: None)
    return pages, whole, pypdf.PdfReader(whole)


def outline_of(reader, items=None, depth=0):
    """Depth, title and page of every entry."""
    for item in reader.outline if items is None else items:
        if isinstance(item, list):
            yield from outline_of(reader, item, depth + 1)
        else:
            yield depth, item.title, reader.get_destination_page_number(item)


def links_of(reader):
    """From which sheet each link leads where: the number of a sheet, or an address."""
    numbers = {page.indirect_reference.idnum: number for number, page in enumerate(reader.pages)}
    for number, page in enumerate(reader.pages):
        for annotation in page.get("/Annots", []):
            link = annotation.get_object()
            yield number, link["/A"]["/URI"] if "/A" in link else numbers[link["/Dest"][0].idnum]


@needs_chromium
def test_pages_are_bound_in_the_order_of_the_book(printed):
    pages, whole, reader = printed
    assert [path.name for path in pages] == ["index.pdf", "first.pdf", "second.pdf"]
    assert whole.name == "cladec-book.pdf"
    texts = [page.extract_text() for page in reader.pages]
    first, second = (
        next(at for at, text in enumerate(texts) if name in text) for name in ("First page", "Second page")
    )
    assert 0 < first < second
    assert "Periwinkle" in texts[second - 1]
    assert second - first > 3
    assert reader.metadata.title == "ClaDec: seeing what a classifier keeps"


@needs_chromium
def test_the_outline_has_parts_pages_and_sections(printed):
    reader = printed[2]
    found = list(outline_of(reader))
    assert [(depth, title) for depth, title, _ in found] == [
        (0, "Front"), (0, "Ideas"), (1, "First page"), (2, "Near"), (2, FAR), (2, "Last"), (0, "Trials"),
        (1, "Second page"),
    ]  # fmt: skip
    for _, title, number in found:
        if title not in ("Ideas", "Trials"):
            assert title in " ".join(reader.pages[number].extract_text().split())


@needs_chromium
def test_links_lead_within_the_pdf_and_name_no_file_of_this_machine(printed, rendered):
    _, whole, reader = printed
    places = {title: number for _, title, number in outline_of(reader)}
    found = list(links_of(reader))
    assert places["First page"] < places[FAR]
    assert (0, places["First page"]) in found
    assert {(0, places[FAR]), (0, places[FAR] - 1)} & set(found)  # an anchor may stand on the sheet before its heading
    assert (places["Second page"], places["First page"]) in found
    assert (places[FAR], places["Near"]) in found
    assert (0, "https://example.org/paper") in found
    assert b"file:" not in b"".join(page.get_contents().get_data() for page in reader.pages)
    assert str(rendered[1]).encode() not in whole.read_bytes()


@pytest.mark.parametrize(
    ("read", "told"),
    [
        ("Two numbers", "Two numbers"), ("Twonumbers", "Two numbers"), ("Two numbersTwonumbers", "Two numbers"),
        ("Contents", "Contents"),
    ],
)  # fmt: skip
def test_a_heading_is_told_as_it_stands_on_the_page(read, told):
    assert binding._title(read, {"Twonumbers": "Two numbers"}) == told


def test_nothing_cannot_be_bound(tmp_path):
    pytest.importorskip("pypdf")
    with pytest.raises(RunError, match="no printed page"):
        binding.bind({}, {}, tmp_path, tmp_path / "whole.pdf", {})


@pytest.fixture(scope="module")
def unpacked(rendered, tmp_path_factory):
    folder = tmp_path_factory.mktemp("a reader's folder")
    packed = archive.pack(rendered[1], folder / "book.zip")
    with zipfile.ZipFile(packed) as archived:
        archived.extractall(folder)
    return folder / "cladec-book"


def test_a_reader_finds_one_file_to_open(unpacked, rendered):
    assert sorted(path.name for path in unpacked.iterdir()) == ["open me.html", "pages"]
    pages, html = unpacked / "pages", rendered[1]
    inside, there = ({path.relative_to(root) for path in root.rglob("*") if path.is_file()} for root in (pages, html))
    assert {path.name for path in there - inside} <= set(archive.LEFT_OUT)
    assert all((pages / path).read_bytes() == (html / path).read_bytes() for path in inside)


@needs_chromium
def test_the_archive_is_read_without_network(unpacked, tmp_path):
    asked = []
    with offline(tmp_path / "profile") as browser:
        page = browser.new_page()
        page.on("request", lambda sent: asked.append(sent.url))
        page.goto((unpacked / "open me.html").as_uri())
        page.wait_for_url("**/book/index.html")
        page.locator("article a", has_text="The first").click()
        page.wait_for_selector("mjx-container mjx-math", state="attached")
        page.goto((unpacked / "pages" / "search.html").as_uri() + "?q=periwinkle")
        page.wait_for_selector("#search-results li a:has-text('First page')")
        page.goto((unpacked / "pages" / "notebooks" / "second.html").as_uri())
        page.wait_for_selector(".explorer [data-drawn]", state="attached")
        slider, canvas = page.locator(".explorer input"), page.locator(".explorer canvas")
        assert slider.input_value() == "1"
        before = canvas.evaluate("canvas => canvas.toDataURL()")
        slider.focus()
        page.keyboard.press("ArrowRight")
        assert canvas.evaluate("canvas => canvas.toDataURL()") != before
    assert not [address for address in asked if not re.match("file:|data:|blob:", address)]


def test_the_same_book_gives_the_same_zip(rendered, tmp_path):
    first, second = (archive.pack(rendered[1], tmp_path / f"{name}.zip").read_bytes() for name in "ab")
    assert first == second


@pytest.mark.parametrize(
    "loading",
    [
        '<script async src="https://example.org/a.js"></script>', "<img alt='' src='//example.org/a.png'>",
        '<link href="https://example.org/a.css" rel="stylesheet">', '<link rel="icon" href="http://example.org/i.ico">',
    ],
)  # fmt: skip
def test_a_page_that_loads_from_the_network_is_refused(loading, tmp_path):
    (tmp_path / "html").mkdir()
    page = tmp_path / "html" / "index.html"
    page.write_text('<a href="https://example.org">a link</a><link rel="canonical" href="https://example.org/">')
    archive.pack(tmp_path / "html", tmp_path / "book.zip")
    page.write_text(loading)
    with pytest.raises(RunError, match=r"index\.html loads something"):
        archive.pack(tmp_path / "html", tmp_path / "book.zip")


def test_packing_without_a_book_says_what_to_do(tmp_path):
    with pytest.raises(RunError, match="make book"):
        archive.pack(tmp_path, tmp_path / "book.zip")
