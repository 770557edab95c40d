"""Exercises that a notebook checks: the untouched template and a wrong answer are refused, the solution is accepted."""

import ast
import re
import textwrap
from itertools import pairwise
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest

from cladec_companion.book import build as book
from cladec_companion.book import notebook
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec.controls.settings import BASELINE
from tests.claims import test_budget, test_controls, test_prototypes, test_sanity, test_subsets
from tests.made_up import as_claimed, made_up

CLASSES = [(0.1 * label, 0.5, 0.5) for label in range(10)]
# What the cells before it leave to the checking cell, beside their imports.
LEFT = {
    "layers": lambda: {"record": made_up(as_claimed).record},
    "encoder_training": lambda: {"steps": [SimpleNamespace(welch=p) for p in (0.03, 1e-5, 0.6, 0.02)]},
    "subsets": lambda: {
        "record": test_subsets.made_record({10: 0.5}, per_class=[CLASSES])
    },
    "prototypes": lambda: {"shown": test_prototypes.made_up(3).record},
    "occlusion": lambda: {"masks": np.zeros((16, 32, 32))},
    "controls": lambda: {
        "record": test_controls.made_up({BASELINE: (2, 0.02), "same_half": (2, 0.02), "other_half": (2, 0.005)})
    },
    "budget": lambda: {"record": test_budget.record()},
    "sanity": lambda: {"record": test_sanity.record()},
    "user_study": lambda: {"settings": settings_for("user_study", "smoke")},
    "your_own": lambda: {
        "every": {"penultimate": SimpleNamespace(losses=pd.DataFrame({"difference": [0.1, 0.3, 0.2]}))}
    },
}  # fmt: skip


def checked():
    """Notebook, its imports, the checking cell and the code of the solution, for each exercise with a check."""
    for name in book.notebook_names():
        cells = nbformat.read(book.NOTEBOOKS / f"{name}.ipynb", 4).cells
        imports = next(cell.source for cell in cells if cell.cell_type == "code")
        solutions = (book.ROOT / "book" / "instructor" / f"{name}.md").read_text(encoding="utf-8")
        for before, cell in pairwise(cells):
            if cell.cell_type == "code" and "notebook.check(" in cell.source:
                label = re.findall(r"```\{exercise\}[^\n]*\n:label: (\S+)", before.source)[-1]
                text = solutions.split(f"```{{solution}} {label}\n")[1].split("```")[0]
                lines = [line for line in text.splitlines() if not line.strip() or line.startswith("    ")]
                yield pytest.param(name, imports, cell.source, textwrap.dedent("\n".join(lines)), id=label)


EXERCISES = list(checked())


def said(capsys, name, imports, cell):
    """What a checking cell prints, with those imports of its notebook that it uses."""
    used, scope = {part.id for part in ast.walk(ast.parse(cell)) if isinstance(part, ast.Name)}, {}
    for statement in ast.parse(imports).body:
        statement.names = [alias for alias in statement.names if (alias.asname or alias.name) in used]
        if statement.names:
            exec(ast.unparse(statement), scope)
    exec(cell, scope | LEFT.get(name, dict)())
    return capsys.readouterr().out


def defined(node):
    """Names that a statement at the top of a cell defines."""
    return {getattr(part, "id", getattr(part, "name", None)) for part in [node, *getattr(node, "targets", [])]} - {None}


def solved(cell, solution):
    """A checking cell in which the solution stands in the place of the template."""
    given = ast.parse(solution).body
    names = set().union(*map(defined, given))
    kept = [node for node in ast.parse(cell).body if not defined(node) & names]
    assert len(kept) < len(ast.parse(cell).body), "the solution defines nothing of what the cell asks for"
    return ast.unparse(ast.Module(given + kept, []))


def test_every_notebook_checks_an_exercise():
    assert {exercise.values[0] for exercise in EXERCISES} == set(book.notebook_names())


@pytest.mark.parametrize(("name", "imports", "cell", "solution"), EXERCISES)
def test_template_and_wrong_answer_are_refused_and_solution_is_accepted(name, imports, cell, solution, capsys):
    assert said(capsys, name, imports, cell).startswith("Not solved yet: put your own answer in the place of None")
    wrong = re.sub(r"(return|my_\w+ =) None", r"\1 []", cell)
    assert wrong != cell
    assert said(capsys, name, imports, wrong).startswith("Not yet: [] is not the answer.")
    assert said(capsys, name, imports, solved(cell, solution)).startswith("Correct.\n")


@pytest.mark.parametrize(
    ("answer", "right", "outcome"),
    [
        (0.4004, 0.4, "Correct."), (0.41, 0.4, "Not yet: 0.41"), (True, True, "Correct."), (False, True, "Not yet"),
        ([1, 2], np.array([1.0, 2.0]), "Correct."), ([1, 2], [1, 2, 3], "Not yet"), ([[1], [1, 2]], [1, 2], "Not yet"),
        (["a", "b"], ["a", "b"], "Correct."), (["b", "a"], ["a", "b"], "Not yet"), ("0.4", 0.4, "Not yet"),
        (float("nan"), float("nan"), "Not yet"), (None, 0.4, "Not solved yet"),
    ],
)  # fmt: skip
def test_numbers_are_compared_and_other_answers_must_be_the_same(answer, right, outcome, capsys):
    notebook.check(answer, right, tolerance=0.01)
    assert capsys.readouterr().out.startswith(outcome)
