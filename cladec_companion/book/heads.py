"""What the book says about its own chapters: the line below each title, the map, and the table of times."""

import base64
import json
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml
from jinja2 import Environment, PackageLoader

from cladec_companion.book import launch
from cladec_companion.book.appendix import SUFFIX
from cladec_companion.book.folding import LEAD
from cladec_companion.book.found import answer
from cladec_companion.papers import CHAPTERS, PAPERS
from cladec_companion.records.files import BUILT, RECORDED
from cladec_companion.records.record import find_records

WORDS_PER_MINUTE = 200
WITHOUT_HEAD = (
    "book/index", "book/slides_layers", "book/slides_trust", "book/instructor/index", "book/changes", "book/api",
    "book/references", "book/cite",
)  # fmt: skip
TRUST = {"claims": "the ledger of claims", "deviations": "our readings and deviations", "status": "what ran"}


@dataclass(frozen=True)
class Page:
    """A page of the book, as staged.

    Attributes
    ----------
    file
        As in the table of contents, such as notebooks/layers.
    part, title
        The part of the book it stands in, and its heading.
    reading
        Minutes to read it.
    computing
        Minutes that its trainings took on this machine, or its cells, whichever is longer; None for a page that
        computes nothing.
    """

    file: str
    part: str
    title: str
    reading: int
    computing: float | None


def contents(site: Path) -> dict[str, str]:
    """Pages in the order of the table of contents, as named there -> the part of the book; the front page has none."""
    listed = yaml.safe_load((site / "book" / "_toc.yml").read_text(encoding="utf-8"))
    parts = {entry["file"]: part["caption"] for part in listed["parts"] for entry in part["chapters"]}
    return {listed["root"]: "", **parts}


def chapters(site: Path, profile: str) -> list[Page]:
    """The pages of a staged book that are chapters."""
    return [
        _chapter(site, file, part, profile)
        for file, part in contents(site).items()
        if file not in WITHOUT_HEAD and not file.endswith(SUFFIX)
    ]


def write(site: Path, profile: str) -> None:
    """Put the head into every page of a staged book, and write `map.html` and `times.md` among the generated parts."""
    found = chapters(site, profile)
    generated = site / "book" / "generated"
    scheme = next(pictures.scheme() for pictures in (paper.pictures for paper in PAPERS) if pictures)
    (generated / "map.html").write_text(chapter_map(found, scheme), encoding="utf-8")
    (generated / "times.md").write_text(times(found) + "\n", encoding="utf-8")
    records = find_records(RECORDED)
    for chapter in found:
        parts = [head(chapter, profile)]
        name = Path(chapter.file).name
        if name in CHAPTERS:
            parts.append(answer(CHAPTERS[name], records))
        if (site / f"{chapter.file}.ipynb").exists():
            parts.append(lead(site / f"{chapter.file}.ipynb", generated))
        if chapter.computing is not None:
            parts.append(launch.how_to_run(name, profile, launch.address()))
        _put(site, chapter, "\n\n".join(filter(None, parts)))


def head(chapter: Page, profile: str) -> str:
    """The line below a title: how long it takes to read and to run, and where its claims can be checked."""
    parts = [f"Reading: {chapter.reading} min"]
    if chapter.computing is not None:
        parts.append(f"Computing: {_minutes(chapter.computing)} on this machine at the profile `{profile}`")
    folder = "../book/" if chapter.file.startswith("notebooks/") else ""
    links = [f"[{text}]({folder}{name}.md)" for name, text in TRUST.items() if chapter.file != f"book/{name}"]
    return ":::{div} chapter-head\n" + " · ".join(parts + links) + "\n:::"


def lead(notebook: Path, pictures: Path) -> str:
    """The figure that a page opens with, shown before its place in the text; its cell has the tag `lead`."""
    for cell in nbformat.read(notebook, 4).cells:
        if LEAD in cell.metadata.get("tags", []):
            shown = cell.metadata["mystnb"]
            figure, alt = shown["figure"], shown["image"]["alt"]
            if (pictures / f"{figure['name']}.png").exists():
                where = f"![{alt}](../book/generated/{figure['name']}.png)"
                return f":::{{div}} opening\n{where}\n\n{figure['caption']} ({{numref}}`{figure['name']}`)\n:::"
    return ""


def take_figures(site: Path) -> dict[str, tuple[str, str]]:
    """Write the figures of all notebooks among the generated parts, as PNG; returns alternative text and caption."""
    generated = site / "book" / "generated"
    generated.mkdir(parents=True, exist_ok=True)
    found: dict[str, tuple[str, str]] = {}
    for notebook in sorted((site / "notebooks").glob("*.ipynb")):
        for name, png in figures(notebook).items():
            (generated / f"{name}.png").write_bytes(png)
        shown = [cell.metadata.get("mystnb", {}) for cell in nbformat.read(notebook, 4).cells]
        both = [(part["figure"], part["image"]["alt"]) for part in shown if "figure" in part and "image" in part]
        found |= {figure["name"]: (alt, figure.get("caption", "")) for figure, alt in both}
    return {name: said for name, said in found.items() if (generated / f"{name}.png").exists()}


def figures(notebook: Path) -> dict[str, bytes]:
    """The figures of an executed notebook by name, as PNG: slides and the teaching kit show them again."""
    found = {}
    for cell in nbformat.read(notebook, 4).cells:
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        pictures = [
            output.data["image/png"] for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
        ]
        if name and pictures:
            found[name] = base64.b64decode(pictures[0])
    return found


def times(found: list[Page]) -> str:
    """A table of the notebooks with the minutes that each takes."""
    lines = ["| chapter | reading | computing |", "| --- | --- | --- |"]
    for chapter in found:
        if chapter.computing is not None:
            link = f"[{chapter.title}](../{chapter.file}.ipynb)"
            lines.append(f"| {link} | {chapter.reading} min | {_minutes(chapter.computing)} |")
    return "\n".join(lines)


def chapter_map(found: list[Page], scheme: str) -> str:
    """All chapters as a picture with links: what each of them changes in the method, and a panel for each part.

    Parameters
    ----------
    found
        The chapters; those that compute something are numbered.
    scheme
        The method as SVG, on 360 x 136; the chapters' marks are places in it.
    """
    numbers = {chapter.file: place for place, chapter in enumerate((c for c in found if c.computing is not None), 1)}
    marked = {f"notebooks/{name}": one.mark for name, one in CHAPTERS.items() if one.mark}
    marks = [(numbers[file], *place) for file, place in marked.items() if file in numbers]
    panels, top = [], 144
    for part in dict.fromkeys(chapter.part for chapter in found):
        boxes, head, top = [], top + 15, top + 24
        own = [chapter for chapter in found if chapter.part == part]
        for at in range(0, len(own), 2):
            pair = own[at : at + 2]
            wrapped = [_wrapped(chapter.title, chapter.file in numbers) for chapter in pair]
            lines = max(map(len, wrapped))
            boxes += [
                {
                    "link": chapter.file.replace("notebooks/", "../notebooks/").removeprefix("book/"),
                    "left": column * 182, "top": top, "height": 15 * lines + 14, "lines": wrapped[column],
                    "number": numbers.get(chapter.file),
                }
                for column, chapter in enumerate(pair)
            ]  # fmt: skip
            top += 15 * lines + 24
        panels.append({"title": part, "y": head, "boxes": boxes})
        top += 8
    environment = Environment(loader=PackageLoader("cladec_companion.book", ""), autoescape=True)
    template = environment.get_template("map.svg.html")
    return template.render(scheme=scheme, marks=marks, panels=panels, height=top) + "\n"


def _wrapped(title: str, numbered: bool) -> list[str]:
    return textwrap.wrap(title, 22 if numbered else 25)


def _minutes(seconds: float) -> str:
    return "under a minute" if seconds < 60 else f"{seconds / 60:.0f} min"


def _chapter(site: Path, file: str, part: str, profile: str) -> Page:
    notebook = site / f"{file}.ipynb"
    if notebook.exists():
        cells = nbformat.read(notebook, 4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        computing = max(_trained(Path(file).name, profile), _executed(cells))
    else:
        text, computing = _text(site / f"{file}.md"), None
    return Page(file, part, _title(text), max(1, round(len(_words(text)) / WORDS_PER_MINUTE)), computing)


def title_of(source: Path) -> str:
    """The title of a page or of a notebook."""
    if source.suffix == ".ipynb":
        return _title(nbformat.read(source, 4).cells[0].source)
    return _title(source.read_text(encoding="utf-8"))


def _title(text: str) -> str:
    found = re.search(r"^# (.+)$", text, re.M)
    assert found is not None
    return found[1]


def _text(path: Path) -> str:
    """A page with the generated parts that it takes in."""
    text = path.read_text(encoding="utf-8")
    parts = [path.parent / name for name in re.findall(r"^```\{include\} (\S+\.md)$", text, re.M)]
    return "\n".join([text, *(part.read_text(encoding="utf-8") for part in parts if part.exists())])


def _words(text: str) -> list[str]:
    """Words of prose: no code, no formulas, no names of directives and links."""
    text = re.sub(r"(?ms)^```(\{\S+)?.*?^```$", lambda fenced: fenced[0] if fenced[1] else " ", text)
    for left_out in (r"(?s)\$\$.*?\$\$", r"\$[^$\n]*\$", r"\{[\w:]+\}", r"\]\([^)]*\)", r"^:\w+:.*$"):
        text = re.sub(left_out, " ", text, flags=re.M)
    return re.findall(r"[^\W\d_][\w’'-]+", text)


def _trained(name: str, profile: str) -> float:
    """Seconds of the cells of this machine's record."""
    manifest = BUILT / profile / name / "manifest.json"
    cells = json.loads(manifest.read_text(encoding="utf-8"))["cells"] if manifest.exists() else {}
    return sum(cell["seconds"] for cell in cells.values())


def _executed(cells: list) -> float:
    """Seconds in which papermill executed the cells."""
    return sum(cell.metadata.get("papermill", {}).get("duration") or 0 for cell in cells)


def _put(site: Path, chapter: Page, line: str) -> None:
    """Insert a line below the title of a staged page."""
    notebook = site / f"{chapter.file}.ipynb"
    if notebook.exists():
        content = nbformat.read(notebook, 4)
        content.cells[0].source = below_title(content.cells[0].source, line)
        nbformat.write(content, notebook)
    else:
        path = site / f"{chapter.file}.md"
        path.write_text(below_title(path.read_text(encoding="utf-8"), line), encoding="utf-8")


def below_title(text: str, line: str) -> str:
    """Put a line below the title of a page."""
    return re.sub(r"^# .+$", lambda title: f"{title[0]}\n\n{line}", text, count=1, flags=re.M)
