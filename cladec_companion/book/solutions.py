"""Solutions of exercises: kept in the instructor's folder, not in notebooks, and put into the whole book's pages."""

import re
from itertools import zip_longest

from nbformat import NotebookNode, v4

FOLDER = "instructor"  # in `book`: its page, and for each notebook a file of solutions
FENCED = r"(?P<{0}>`{{3,}})\{{{1}\}}{2}\n.*?\n(?P={0})(?=\n|$)"
SOLUTION = re.compile(FENCED.format("fence", "solution", r" (?P<label>\S+)"), re.S)
EXERCISE = re.compile(FENCED.format("fence", "exercise", "[^\n]*"), re.S)
LABEL = re.compile(r"^:label: (\S+)$", re.M)
CHECK = "notebook.check("  # in the cell that checks the answer to the exercise before it


def add(book: NotebookNode, text: str) -> None:
    """Put solutions behind their exercises; behind the cell that checks the answer, where there is one.

    Parameters
    ----------
    book
        A notebook; it is changed.
    text
        Solutions in the syntax of sphinx-exercise, each with the label of its exercise.

    Raises
    ------
    ValueError
        If an exercise has no solution, or a solution no exercise.
    """
    solutions = {found["label"]: found[0] for found in SOLUTION.finditer(text)}
    cells, waiting = [], ""
    for cell, following in zip_longest(book.cells, book.cells[1:]):
        cells.append(cell)
        if waiting:
            cells.append(v4.new_markdown_cell(waiting))
            waiting = ""
        exercises = list(EXERCISE.finditer(cell.source)) if cell.cell_type == "markdown" else []
        checked = following is not None and following.cell_type == "code" and CHECK in following.source
        for place, exercise in reversed(list(enumerate(exercises, 1))):
            (label,) = LABEL.findall(exercise[0])
            if label not in solutions:
                raise ValueError(f"The exercise {label} has no solution in book/{FOLDER}.")
            solution = solutions.pop(label)
            if checked and place == len(exercises):
                waiting = solution
            else:
                end = exercise.end()
                cell.source = f"{cell.source[:end]}\n\n{solution}{cell.source[end:]}"
    if solutions:
        raise ValueError(f"No exercise has the label {', '.join(solutions)}, of which book/{FOLDER} has a solution.")
    book.cells = cells
