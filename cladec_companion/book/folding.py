"""How a notebook's code stands on its page: parameters in one box at the head, calls that only show behind a click."""

import ast
import re
from typing import Any

from nbformat import NotebookNode

from cladec_companion.book import shown

LEAD = "lead"  # tag of the figure that opens the page
SHORT = 5  # lines; a longer cell has something to read
RUNS = ("notebook.run(", "notebook.check(")  # a reader's own training, and answer: never hidden


def fold(book: NotebookNode) -> None:
    """Order the code of an executed notebook for its page; the notebook itself stays as it was written.

    Imports, parameters and settings, which stand in adjacent cells at the head, become one folded cell. Comments for
    tests and numbers handed on to the text disappear, and short cells whose output is what counts fold their code.

    Parameters
    ----------
    book
        An executed notebook; it is changed.
    """
    shown.in_words(book)  # here, as a notebook that is executed again has to give the same tables
    first, last = _head(book.cells)
    if last > first:
        book.cells[first:last] = [_box(book.cells[first:last])]
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        _dash(cell)
        tags = cell.metadata.setdefault("tags", [])
        cell.source = _without_marks(cell.source)
        short = len([line for line in cell.source.splitlines() if line.strip()]) <= SHORT
        if short and _shows(cell) and not set(tags) - {LEAD} and not any(call in cell.source for call in RUNS):
            tags.append("hide-input")
        if short and "hide-output" in tags:  # a call and what it shows fold together
            tags[tags.index("hide-output")] = "hide-cell"
            _prompt(cell, "details")
        if not cell.source:
            tags.append("remove-input")
        elif "hide-input" in tags:
            _prompt(cell, "code")


def _dash(cell: NotebookNode) -> None:
    """Show a number that a table lacks as a dash."""
    for output in cell.outputs:
        table = output.get("data", {}).get("text/html")
        if isinstance(table, str):
            output["data"]["text/html"] = re.sub(r"(<td[^>]*>)(?:nan|NaN|None)(</td>)", r"\1–\2", table)


def _head(cells: list[NotebookNode]) -> tuple[int, int]:
    """Where the adjacent code cells around the parameters begin and end; (0, 0) without parameters."""
    at = next((place for place, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])), None)
    if at is None:
        return 0, 0
    first, last = at, at + 1
    while first > 0 and cells[first - 1].cell_type == "code":
        first -= 1
    while last < len(cells) and cells[last].cell_type == "code":
        last += 1
    return first, last


def _box(cells: list[NotebookNode]) -> NotebookNode:
    """One cell of several, with the output of the last, folded."""
    box, parts = cells[-1].copy(), list[str]()
    for cell in cells:
        injected = "injected-parameters" in cell.metadata.get("tags", [])
        parts.append(_changed(cell.source, parts) if injected else cell.source)
    box.source = "\n\n".join(part for part in parts if part)
    box.metadata = type(box.metadata)(tags=["hide-cell"])
    _prompt(box, "parameters")
    return box


def _changed(injected: str, before: list[str]) -> str:
    """What papermill set to another value than the notebook has by default."""
    defaults = {name: value for part in before for name, value in _assigned(part).items()}
    return "\n".join(f"{name} = {value}" for name, value in _assigned(injected).items() if defaults.get(name) != value)


def _assigned(source: str) -> dict[str, str]:
    """Names that a source gives a value at its top level -> the value, as Python writes it."""
    return {
        ast.unparse(target): ast.unparse(step.value)
        for step in ast.parse(source).body
        if isinstance(step, ast.Assign | ast.AnnAssign) and step.value is not None
        for target in (step.targets if isinstance(step, ast.Assign) else [step.target])
    }  # fmt: skip


def _without_marks(source: str) -> str:
    """A source without comments for nbval and without the calls that hand a number on to the text."""
    try:
        steps = ast.parse(source).body
    except SyntaxError:  # such as a magic of IPython
        return source
    handed = {line for step in steps if _hands_on(step) for line in range(step.lineno, (step.end_lineno or 0) + 1)}
    kept = [line for number, line in enumerate(source.splitlines(), 1) if number not in handed]
    return "\n".join(line for line in kept if not line.startswith("# NBVAL")).strip("\n")


def _hands_on(step: ast.stmt) -> bool:
    if isinstance(step, ast.For):
        return all(map(_hands_on, step.body))
    call = step.value if isinstance(step, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "glue"


def _shows(cell: NotebookNode) -> bool:
    """Whether a cell is there for what it draws, or leaves more than printed text."""
    if "figures." in cell.source:
        return True
    shown = (output for output in cell.outputs if output.output_type in {"display_data", "execute_result"})
    return any("scrapbook" not in output.metadata for output in shown)  # myst-nb keeps handed on numbers there


def _prompt(cell: NotebookNode, what: str) -> None:
    options: dict[str, Any] = cell.metadata.setdefault("mystnb", {})
    options |= {"code_prompt_show": f"Show {what}", "code_prompt_hide": f"Hide {what}"}
