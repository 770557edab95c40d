"""The rendered book as one zip: unpacked, `open me.html` opens it from the disk, without a server or network."""

import re
import zipfile
from pathlib import Path

from jinja2 import Environment, PackageLoader

from cladec_companion.book import build as book
from cladec_core.errors import RunError

ARCHIVE = book.ROOT / "build" / "archive" / "cladec-book.zip"
FOLDER, PAGES, ENTRY = "cladec-book", "pages", "open me.html"
LEFT_OUT = (".buildinfo", ".nojekyll")  # of the program that rendered the pages
DATE = (1980, 1, 1, 0, 0, 0)  # the same book gives the same bytes
# What a browser loads by itself; a link is followed by a reader who chooses to.
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video)\b[^>]*?\bsrc=["'](https?:)?//|
                        <link\b(?=[^>]*\brel=["'](?:stylesheet|preload|icon)["'])[^>]*?\bhref=["'](https?:)?//""",
    re.X,
)


def pack(html: Path | None = None, output: Path | None = None) -> Path:
    """Pack the rendered book.

    Parameters
    ----------
    html
        Folder of the rendered pages; `build/book/_build/html` by default.
    output
        The zip; `build/archive/cladec-book.zip` by default.

    Raises
    ------
    RunError
        If the book is not rendered, or a page loads something from the network.
    """
    html, output = html or book.HTML, output or ARCHIVE
    if not (html / "index.html").exists():
        raise RunError("There is no rendered book yet; `make book` makes it.")
    files = [path for path in sorted(html.rglob("*")) if path.is_file() and path.name not in LEFT_OUT]
    needy = [path for path in files if path.suffix == ".html" and LOADED.search(path.read_text(encoding="utf-8"))]
    if needy:
        raise RunError(f"{needy[0].relative_to(html)} loads something from the network; it could not be read offline.")
    output.parent.mkdir(parents=True, exist_ok=True)
    waiting = output.with_suffix(".new")
    with zipfile.ZipFile(waiting, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, ENTRY, _entry().encode())
        for path in files:
            _add(archive, f"{PAGES}/{path.relative_to(html).as_posix()}", path.read_bytes())
    waiting.replace(output)
    return output


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    information = zipfile.ZipInfo(f"{FOLDER}/{name}", DATE)
    information.compress_type = zipfile.ZIP_DEFLATED
    information.external_attr = 0o644 << 16
    archive.writestr(information, content)


def _entry() -> str:
    """The page that a reader opens, which leads on to the front page."""
    environment = Environment(loader=PackageLoader("cladec_companion.book", ""), autoescape=True)
    return environment.get_template("open_me.html").render(front=f"{PAGES}/index.html")
