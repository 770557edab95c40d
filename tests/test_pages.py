"""The built book in a headless browser, with no network: what a reader sees is there and is drawn."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import pytest

from cladec_companion.book import appendix, launch
from cladec_companion.book import build as book
from cladec_companion.book import pdf as printing
from cladec_companion.evidence.style import WIDEST
from cladec_companion.papers.cladec import printed_tables
from tests.browsing import DESKTOP, PHONE, needs_chromium, offline

pytestmark = [
    pytest.mark.xdist_group("pages"),  # one browser for all
    needs_chromium,
    pytest.mark.skipif(not book.HTML.exists(), reason="the book was not built (make book)"),
]
PAGES = sorted(
    str(path.relative_to(book.HTML))
    for folder in ("book", "notebooks")
    for path in (book.HTML / folder).rglob("*.html")
)
APPENDICES = [page for page in PAGES if page.endswith(f"{appendix.SUFFIX}.html")]
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/") and page not in APPENDICES]
SLIDES = [page for page in PAGES if page.startswith("book/slides")]
EXPLORERS = [
    page
    for page in PAGES
    if page in (*CHAPTERS, "book/coat.html") and 'class="explorer"' in (book.HTML / page).read_text(encoding="utf-8")
]
LARGEST = 1_500_000  # bytes of a page with its pictures
BLOCKING = 2_500_000  # bytes of styles and scripts that are read before anything is painted
SHEET = {"width": 673, "height": 1001}  # what the margins leave of A4, in CSS pixels


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with offline(tmp_path_factory.mktemp("profile")) as context:
        yield context


def load(browser, name):
    """Open a page from disk; returns it and the list of addresses it asks for that are not files."""
    page, outside = browser.new_page(), []
    page.on("request", lambda sent: outside.append(sent.url) if not sent.url.startswith(("file:", "data:")) else 0)
    page.set_viewport_size(DESKTOP)
    page.goto((book.HTML / name).as_uri(), wait_until="load")
    return page, outside


@pytest.fixture
def open_page(browser):
    """Open pages of a test's own, which it may change."""
    opened = []

    def go(name):
        opened.append(load(browser, name))
        return opened[-1]

    yield go
    for page, _ in opened:
        page.close()


@pytest.fixture(scope="module", params=PAGES)
def opened(browser, request):
    """Each page in turn, open for all tests that only look: its name, itself, and what it asked for outside."""
    page, outside = load(browser, request.param)
    yield request.param, page, outside
    page.close()


def test_page_is_complete_without_network(opened):
    name, page, outside = opened
    assert page.locator("article h1").count() == 1  # the theme has another one for print
    broken = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
    assert not broken
    nameless = page.evaluate("[...document.querySelectorAll('article img')].filter(i => !i.alt).map(i => i.src)")
    assert not nameless
    page.wait_for_timeout(300)
    assert not outside
    pictures = page.evaluate("[...document.querySelectorAll('article img')].map(i => i.src)")
    files = [Path(address.removeprefix("file://")) for address in set(pictures) if address.startswith("file:")]
    assert sum(path.stat().st_size for path in [book.HTML / name, *files]) < LARGEST


# Rows and cards whose words have colours, weights and sizes that those of one before them have: axe-core needs a
# minute and a half for the contrasts of 33,000 elements of the ledger, and these are judged with the first.
SAME_LOOK = """() => {
  const seen = new Set()
  const look = element => {
    const style = getComputedStyle(element)
    return [style.color, style.backgroundColor, style.opacity, style.fontSize, style.fontWeight].join()
  }
  for (const part of document.querySelectorAll("article tr, article .claim-card")) {
    const looks = [...new Set([part.parentElement, part, ...part.querySelectorAll("*")].map(look))].sort().join("|")
    part.toggleAttribute("data-same-look", seen.has(looks))
    seen.add(looks)
  }
}"""


def violations(page, **options):
    """What axe-core calls serious or critical: rule and first element. Formulas are MathJax's own affair."""
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate(SAME_LOOK)
    without = ["mjx-container", *(["[data-same-look]"] if options == CONTRAST else [])]
    options = {"resultTypes": ["violations"], **options}
    found = Axe().run(page, {"exclude": without}, options).response["violations"]
    return [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in found if rule["impact"] in ("serious", "critical")]


CONTRAST = {"runOnly": ["color-contrast"]}
REST = {"rules": {"color-contrast": {"enabled": False}}}


def test_page_is_accessible(opened):
    _, page, _ = opened
    assert not violations(page, **REST)
    assert not violations(page, **CONTRAST)


@pytest.mark.parametrize("name", PAGES)
def test_dark_mode_is_legible(name, open_page):
    page, _ = open_page(name)
    page.add_style_tag(content="* { transition: none !important }")  # colours are judged when they have arrived
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert not violations(page, **CONTRAST)


def test_a_faint_word_is_found_in_the_last_row_of_many(open_page):
    page, _ = open_page("notebooks/layers.html")
    page.evaluate("[...document.querySelectorAll('article tr')].at(-1).querySelector('td').style.color = '#eee'")
    assert violations(page, **CONTRAST)


def test_mathematics_is_typeset(opened):
    name, page, _ = opened
    if 'class="math ' in (book.HTML / name).read_text(encoding="utf-8"):
        page.wait_for_selector("mjx-container mjx-math", timeout=15_000, state="attached")  # some are folded away
        page.wait_for_timeout(500)
        assert page.locator("mjx-merror").count() == 0
        assert "$" not in page.locator("article p:has(.math)").first.inner_text()


def test_chapter_shows_numbered_figures_and_tables(opened):
    name, page, _ = opened
    if name in CHAPTERS and name.replace(".html", f"{appendix.SUFFIX}.html") not in APPENDICES:
        captions = page.locator("figcaption .caption-number").all_inner_texts()
        assert len(captions) >= 3
        assert all(caption.startswith("Fig.") for caption in captions)
        assert page.locator("table.dataframe tbody tr").count() >= 5
        assert page.locator("details.toggle-details, .dropdown").count() >= 1


def test_head_leads_to_what_can_be_checked(opened):
    name, page, _ = opened
    if name in (*SLIDES, *APPENDICES) or name in [
        f"book/{page}.html" for page in ("index", "instructor/index", "changes", "api", "references", "cite")
    ]:
        return
    head = page.locator(".chapter-head")
    assert re.search(r"Reading: \d+ min", head.inner_text())
    assert ("Computing:" in head.inner_text()) == (name in CHAPTERS)
    links = head.locator("a").evaluate_all("all => all.map(a => a.href.split('/').pop())")
    assert {*links, Path(name).name} >= {"claims.html", "deviations.html", "status.html"}


@pytest.mark.parametrize("name", APPENDICES)
def test_appendix_keeps_its_chapter_short(name, open_page):
    whole, _ = open_page(name)
    core, _ = open_page(name.replace(appendix.SUFFIX, ""))
    heights = [page.evaluate("document.documentElement.scrollHeight") for page in (core, whole)]
    assert heights[0] <= 8000
    assert heights[1] > heights[0]
    assert core.locator(f"article a[href*='{Path(name).name}']").count()
    assert whole.locator("table.dataframe tbody tr").count() >= 5
    assert not whole.locator("article", has_text="{glue").count() + core.locator("article", has_text="{glue").count()


def test_every_notebook_says_how_to_run_it(opened):
    name, page, _ = opened
    assert page.locator("details.launch").count() == (name in CHAPTERS)
    elsewhere = page.locator("a[href*='//mybinder.org/'], a[href*='//colab.']").count()
    assert (elsewhere > 0) == (name in CHAPTERS and launch.address() is not None)


def test_definitions_and_theorems_have_a_number_and_a_name(opened):
    _, page, _ = opened
    kinds = "Definition|Theorem|Proposition|Corollary|Example"
    for title in page.locator("div.proof > .admonition-title").all_inner_texts():
        assert re.fullmatch(rf"({kinds}) \d+ +\(.+\)", title), title
    links = page.locator("a.reference", has_text=re.compile(rf"^({kinds}) \d+$"))
    for link in links.evaluate_all("all => all.map(a => a.href)"):
        path, _, place = link.removeprefix("file://").partition("#")
        assert f'id="{place}"' in Path(unquote(path)).read_text(encoding="utf-8")


def test_links_lead_to_pages_and_places_that_exist(opened):
    name, page, _ = opened
    ids = set(page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)"))
    address = "a => new URL(a.getAttribute('href'), location).href"  # links in drawings have no plain href
    missing = []
    for link in set(page.evaluate(f"[...document.querySelectorAll('article a[href]')].map({address})")):
        path, _, place = link.partition("#")
        target = Path(unquote(path.removeprefix("file://")))
        if link.startswith("file:") and (
            not target.exists() or (place and target == book.HTML / name and unquote(place) not in ids)
        ):
            missing.append(link)
    assert not missing


def test_phone_needs_no_sideways_scrolling(opened):
    _, page, _ = opened
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    widths = "all => all.map(note => note.offsetWidth / note.parentElement.offsetWidth)"
    assert all(share > 0.9 for share in page.locator("article aside.margin").evaluate_all(widths))
    page.set_viewport_size(DESKTOP)


def test_a_figure_can_be_opened_alone(opened):
    name, page, _ = opened
    if name not in SLIDES:
        closed = "all => all.filter(picture => picture.closest('a')?.href !== picture.src).map(picture => picture.src)"
        files = "article figure img:not([src^='data:'])"  # others stand for an explorer where a page is printed
        assert page.locator(files).evaluate_all(closed) == []


CUT = """() => [...document.querySelectorAll("article :is(table, pre, img, svg, iframe)")].filter((part) => {
  if (!part.getBoundingClientRect().width || part.closest("mjx-container")) return false;
  for (let box = part; box && box.tagName !== "ARTICLE"; box = box.parentElement)
    if (getComputedStyle(box).overflowX !== "visible" && box.scrollWidth > box.clientWidth + 1) return true;
  return false;
}).map((part) => part.outerHTML.slice(0, 80) + " ... " + part.textContent.trim().slice(0, 60))"""


def test_nothing_is_cut_on_a_desk(opened):
    _, page, _ = opened
    page.set_viewport_size(DESKTOP)
    page.wait_for_function("document.readyState === 'complete'")
    for _ in range(30):  # tables take the margin soon after the window has its size
        cut = page.evaluate(CUT)
        if not cut:
            break
        page.wait_for_timeout(100)
    assert cut == []


def test_pictures_take_the_margin_and_end_before_the_window(opened):
    name, page, _ = opened
    if name not in CHAPTERS:  # other pages give their pictures a width of their own
        return
    page.wait_for_function("document.readyState === 'complete'")
    sizes = "all => all.map(one => [one.naturalWidth, one.clientWidth, one.getBoundingClientRect().right, one.alt])"
    pictures = page.locator("article :is(figure, .opening) img:visible").evaluate_all(sizes)
    assert pictures
    for natural, shown, right, alt in pictures:
        assert right <= DESKTOP["width"], alt
        assert shown >= min(natural, WIDEST) - 1, alt


COVERED = """() => {
  const box = (part) => part.getBoundingClientRect();
  const notes = [...document.querySelectorAll("article aside.margin")];
  return [...document.querySelectorAll("article .wide")].filter((part) => notes.some((note) =>
    box(note).left < box(part).right && box(note).top < box(part).bottom && box(part).top < box(note).bottom
  )).map((part) => part.outerHTML.slice(0, 120));
}"""


def test_nothing_wide_covers_a_note_in_the_margin(opened):
    _, page, _ = opened
    page.set_viewport_size(DESKTOP)
    page.wait_for_function("document.readyState === 'complete'")
    for _ in range(30):
        covered = page.evaluate(COVERED)
        if not covered:
            break
        page.wait_for_timeout(100)
    assert covered == []


UNMARKED = """() => [...document.querySelectorAll(
  "article :is(table.dataframe, .pst-scrollable-table-container, div.math mjx-container)"
)].filter((part) => part.scrollWidth > part.clientWidth + 2 && !part.classList.contains("more"))
  .filter((part) => !part.closest("details:not([open])"))
  .map((part) => part.outerHTML.slice(0, 120))"""


def test_what_goes_on_to_the_right_of_a_phone_fades_there(opened):
    _, page, _ = opened
    page.set_viewport_size(PHONE)
    for _ in range(30):
        unmarked = page.evaluate(UNMARKED)
        if not unmarked:
            break
        page.wait_for_timeout(100)
    page.set_viewport_size(DESKTOP)
    assert unmarked == []


def test_a_table_of_sentences_is_a_list_on_a_phone(open_page):
    page, _ = open_page("notebooks/layers.html")
    page.set_viewport_size(PHONE)
    table = page.locator("table.wrapped:not(.compact)").first
    assert table.evaluate("table => table.scrollWidth <= table.clientWidth")
    cell = table.locator("tbody tr").first.locator("td").nth(2)
    assert cell.evaluate("cell => cell.dataset.label")
    assert cell.evaluate("cell => getComputedStyle(cell, '::before').content.includes(cell.dataset.label)")


def test_what_is_wider_than_a_phone_scrolls_in_a_frame_and_keeps_its_first_column(open_page):
    page, _ = open_page("notebooks/layers.html")
    page.set_viewport_size(PHONE)
    table = page.locator("table.dataframe:not(.wrapped)").first
    assert (
        table.evaluate("table => table.scrollWidth > table.clientWidth && getComputedStyle(table).borderTopWidth")
        == "1px"
    )
    table.evaluate("table => { table.scrollLeft = 100 }")
    first = table.locator("tbody tr > :first-child").first
    assert (
        first.evaluate("cell => cell.getBoundingClientRect().left - cell.closest('table').getBoundingClientRect().left")
        < 3
    )


def test_front_page_shows_its_picture_and_leads_on(open_page):
    page, _ = open_page("book/index.html")
    assert page.locator("figure img").first.evaluate("image => image.naturalWidth") > 600
    page.locator("article a", has_text="How to read an explanation").first.click()
    page.wait_for_load_state()
    assert "How to read" in page.title()


def test_front_page_is_painted_after_little_was_read(open_page):
    page, _ = open_page("book/index.html")
    needed = "head link[rel=stylesheet], head script[src]:not([defer]):not([async])"
    files = page.locator(needed).evaluate_all("all => all.map(part => part.href || part.src)")
    paths = [Path(unquote(file.removeprefix("file://").partition("?")[0])) for file in files]
    assert len(paths) > 5
    assert sum(path.stat().st_size for path in paths) < BLOCKING


def test_search_finds_occlusion(open_page):
    page, outside = open_page("search.html")
    page.goto(page.url + "?q=occlusion")
    page.wait_for_selector("#search-results li a:has-text('Which parts of an image')", timeout=15_000)
    assert not outside


def test_term_shows_its_definition(open_page):
    page, _ = open_page("book/reading.html")
    assert "auto-encoder" in page.locator("a:has(.std-term)", has_text="RefAE").first.get_attribute("title")


def test_map_leads_to_every_chapter(open_page):
    page, _ = open_page("book/index.html")
    links = page.locator(".chapter-map a").evaluate_all("all => all.map(a => a.getAttribute('href').split('/').pop())")
    assert set(links) >= {Path(name).name for name in CHAPTERS}


def explorer(page):
    """The first figure with controls: its last control, what its pictures show, and its sentence."""
    figure = page.locator(".explorer").first
    figure.scroll_into_view_if_needed()
    page.wait_for_selector(".explorer [data-drawn], .explorer svg", state="attached")

    def seen():
        painted = "all => all.map(c => c.toDataURL())"
        drawing = figure.locator("canvas").evaluate_all(painted) or [figure.locator("svg .encoder").get_attribute("x2")]
        return drawing, figure.locator("p").inner_text()

    return figure, figure.locator("input[type=range]").last, seen


@pytest.mark.parametrize("name", EXPLORERS)
def test_figure_is_operated_by_keyboard(name, open_page):
    page, _ = open_page(name)
    figure, slider, seen = explorer(page)
    before, said = seen(), slider.get_attribute("aria-valuetext")
    start = slider.input_value()  # where the figure is of most interest, which may be an end
    slider.focus()
    page.keyboard.press("Home" if start == slider.get_attribute("max") else "End")
    assert slider.input_value() in ("0", slider.get_attribute("max"))
    assert slider.get_attribute("aria-valuetext") == figure.locator("output").last.inner_text() != said
    assert seen()[0] != before[0]
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert slider.input_value() == "1"
    for _ in range(abs(int(start) - 1)):
        page.keyboard.press("ArrowRight" if int(start) > 1 else "ArrowLeft")
    assert seen() == before


@pytest.mark.parametrize("name", EXPLORERS)
def test_figure_is_operated_by_mouse(name, open_page):
    page, _ = open_page(name)
    figure, slider, seen = explorer(page)
    before, box, at_end = seen(), slider.bounding_box(), slider.input_value() == slider.get_attribute("max")
    page.mouse.click(box["x"] + (4 if at_end else box["width"] - 4), box["y"] + box["height"] / 2)
    assert slider.input_value() == ("0" if at_end else slider.get_attribute("max"))
    assert seen()[0] != before[0]
    for choice in figure.locator("select:visible").all():
        before = seen()
        choice.select_option(index=0 if choice.input_value() != "0" else 1)
        assert seen() != before  # two searches may end in one image, and the sentence says so


def test_square_is_dragged(open_page):
    page, _ = open_page("notebooks/occlusion.html")
    figure, slider, seen = explorer(page)
    canvas = figure.locator("canvas.draggable")
    before, box = seen(), canvas.bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    assert slider.input_value() == "0"
    page.mouse.move(box["x"] + box["width"] - 10, box["y"] + box["height"] - 10, steps=3)
    page.mouse.up()
    assert slider.input_value() == slider.get_attribute("max") == "15"
    assert seen()[0][0] != before[0][0]
    page.mouse.move(box["x"] + 10, box["y"] + 10)  # without a button nothing moves
    assert slider.input_value() == "15"
    slider.focus()
    page.keyboard.press("ArrowUp")
    assert slider.input_value() == "11"  # the row above


@pytest.mark.parametrize("name", [page for page in EXPLORERS if "theory" not in page])
def test_a_static_picture_stands_for_the_figure_in_print(name, open_page):
    page, _ = open_page(name)
    figure = page.locator(".explorer").first
    assert not figure.locator("img").is_visible()
    page.emulate_media(media="print")
    assert figure.locator("img").is_visible()
    assert not figure.locator("input").last.is_visible()


@pytest.mark.parametrize("name", SLIDES)
def test_slides_are_presented(name, open_page):
    page, _ = open_page(name)
    page.locator(".presenter button").click()
    page.wait_for_function("document.fullscreenElement")
    slides = "[...document.querySelectorAll('article section section')]"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"Math.abs({slides}[1].getBoundingClientRect().top) < 5")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"Math.abs({slides}[0].getBoundingClientRect().top) < 5")
    heights = page.evaluate(f"{slides}.map(slide => slide.scrollHeight / innerHeight)")
    assert len(heights) >= 10
    assert max(heights) < 1.02  # every slide fits


def sheets(page):
    """How many sheets of paper a page fills, if it may be cut anywhere."""
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
    page.evaluate("window.MathJax && MathJax.startup && MathJax.startup.promise")
    page.set_viewport_size(SHEET)
    page.emulate_media(media="print")
    return page.evaluate("document.documentElement.scrollHeight") / SHEET["height"]


def test_pages_and_slides_are_printed(tmp_path, monkeypatch, open_page):
    monkeypatch.setattr(printing, "PRINTED", tmp_path)
    chosen = ["book/reading", "notebooks/subsets", *(page.removesuffix(".html") for page in SLIDES)]
    with ThreadPoolExecutor(1) as apart:  # playwright allows one driver in a thread
        files = apart.submit(printing.print_book, print, chosen).result()
    for name, path in zip(chosen, files, strict=True):
        pages = len(re.findall(rb"/Type\s*/Page\b", path.read_bytes()))
        page, _ = open_page(f"{name}.html")
        if f"{name}.html" in SLIDES:
            assert pages == 1 + page.locator("article section section h2").count()  # the title, and each slide
        else:
            assert sheets(page) <= pages <= 1.3 * sheets(page) + 1


def test_committed_numbers_reach_their_page(open_page):
    from cladec_companion.book.notebook import saved

    page, _ = open_page("book/published.html")
    text = page.locator("article").inner_text()
    loss = printed_tables.layers_of(saved("layers")).loc[("fashion_mnist", "vgg11", -1, "rec_cladec"), "mean"]
    assert f"{loss:.3f}" in text
    assert "0.240 ± 0.018" in text
