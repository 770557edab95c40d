"""One PDF of many pages: in the order of the book, with an outline, and with links that lead from page to page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urldefrag

from cladec_core.errors import RunError

if TYPE_CHECKING:
    from pypdf import PdfReader, PdfWriter

OWN_CONTENTS = "Contents"  # heading of the list of sections that the theme prints on each page


@dataclass(frozen=True)
class Place:
    """Where something stands in the bound PDF: page, and the point of it that comes to the corner of the window."""

    page: int
    left: float = 0.0
    top: float | None = None


@dataclass
class Sheet:
    """A printed page of the book.

    Attributes
    ----------
    first
        Number of its first sheet of paper in the bound PDF.
    title
        Its heading.
    sections
        Headings below it with their places.
    places
        Names within the page -> places.
    links
        Sheet of paper, rectangle in points, and what a link there names: an address, or a name within the page.
    """

    first: int
    title: str
    sections: list[tuple[str, Place]] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    links: list[tuple[int, Any, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Printed:
    """A page as it was printed.

    Attributes
    ----------
    path
        The PDF that Chromium made of it.
    headings
        Its headings of the first two levels.
    """

    path: Path
    headings: Sequence[str]


def bind(
    pages: Mapping[str, Printed], parts: Mapping[str, str], root: Path, output: Path, about: Mapping[str, str]
) -> int:
    """Bind printed pages.

    Parameters
    ----------
    pages
        In their order, by name, such as book/reading.
    parts
        Page -> the part of the book it stands in; empty for those that stand in none.
    root
        Folder of the rendered pages, to which the links between them lead.
    output
        The PDF that is written.
    about
        Title and author.

    Returns
    -------
    int
        How many sheets of paper it has.

    Raises
    ------
    RunError
        If pypdf is not installed, or there is nothing to bind.
    """
    try:
        from pypdf import PdfReader, PdfWriter
    except ImportError as error:
        raise RunError("Binding needs pypdf, which is among the development tools (`make setup`).") from error
    if not pages:
        raise RunError("There is no printed page to bind.")
    writer = PdfWriter()
    sheets = {name: _append(writer, PdfReader(page.path), page.headings) for name, page in pages.items()}
    _outline(writer, sheets, parts)
    _join(writer, sheets, root)
    writer.add_metadata({f"/{key.capitalize()}": value for key, value in about.items()})
    writer.page_mode = "/UseOutlines"
    writer.compress_identical_objects()  # the same fonts and pictures are in many pages
    writer.write(output)
    return len(writer.pages)


def _append(writer: "PdfWriter", reader: "PdfReader", headings: Sequence[str]) -> Sheet:
    """Append a printed page without its outline and links, which name things that no longer are what they were."""
    first = len(writer.pages)

    def place(destination: Any) -> Place:
        number = reader.get_destination_page_number(destination)
        top = destination.top
        return Place(first + (number or 0), float(destination.left or 0), None if top is None else float(top))

    named_so = {_compact(heading): heading for heading in headings}
    outline = [(_title(one.title, named_so), place(one)) for one in _headings(reader.outline)]
    sheet = Sheet(first, outline[0][0] if outline else "")
    sheet.sections = [(title, at) for title, at in outline[1:] if title != OWN_CONTENTS]
    sheet.places = {name.removeprefix("/"): place(one) for name, one in reader.named_destinations.items()}
    for number, page in enumerate(reader.pages):
        for annotation in page.get("/Annots", []):
            link = annotation.get_object()
            named = link["/A"].get("/URI") if "/A" in link else link.get("/Dest")
            if isinstance(named, str):
                sheet.links.append((first + number, link["/Rect"], named.removeprefix("/")))
        page.pop("/Annots", None)
    writer.append(reader, import_outline=False)
    return sheet


def _headings(outline: Any) -> Iterator[Any]:
    """A page's heading and those one level below it."""
    for item in outline:
        if isinstance(item, list):
            yield from (one for one in item if not isinstance(one, list))
        else:
            yield item


def _title(read: str, named_so: Mapping[str, str]) -> str:
    """A heading as it stands on the page.

    Chromium leaves out the space at which a heading was broken into lines, and reads one at the end of a sheet twice.
    """
    compact = _compact(read)
    half = compact[: len(compact) // 2]
    return named_so.get(compact) or (named_so.get(half) if 2 * half == compact else None) or read


def _compact(text: str) -> str:
    return "".join(text.split())


def _outline(writer: "PdfWriter", sheets: Mapping[str, Sheet], parts: Mapping[str, str]) -> None:
    """Parts, in them pages, in them sections; only the parts and pages are unfolded at first."""
    opened: dict[str, Any] = {}
    for name, sheet in sheets.items():
        part = parts.get(name, "")
        if part and part not in opened:
            opened[part] = writer.add_outline_item(title=part, page_number=sheet.first, bold=True)
        entry = writer.add_outline_item(
            title=sheet.title or name, page_number=sheet.first, parent=opened.get(part), is_open=False
        )
        for title, place in sheet.sections:
            writer.add_outline_item(title=title, page_number=place.page, parent=entry, fit=_fit(place))


def _join(writer: "PdfWriter", sheets: Mapping[str, Sheet], root: Path) -> None:
    """Write the links: to places in this PDF, or to the web; one to another file of this machine is left out."""
    from pypdf.annotations import Link

    for name, sheet in sheets.items():
        for number, rectangle, named in sheet.links:
            place = _target(name, named, sheets, root)
            if place:
                link = Link(rect=rectangle, target_page_index=place.page, fit=_fit(place))
            elif named.startswith(("http:", "https:", "mailto:")):
                link = Link(rect=rectangle, url=named)
            else:
                continue
            writer.add_annotation(number, link)


def _target(name: str, named: str, sheets: Mapping[str, Sheet], root: Path) -> Place | None:
    """The place to which a link on a page leads; the top of a page where its place is not known."""
    if ":" not in named:
        return sheets[name].places.get(named)
    address, fragment = urldefrag(named)
    path = Path(unquote(address.removeprefix("file://")))
    page = path.relative_to(root).with_suffix("").as_posix() if path.is_relative_to(root) else ""
    if page not in sheets:
        return None
    return sheets[page].places.get(fragment, Place(sheets[page].first))


def _fit(place: Place) -> Any:
    from pypdf.generic import Fit

    return Fit.xyz(place.left, place.top) if place.top is not None else Fit.fit_horizontally()
