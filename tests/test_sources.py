"""The repository's own files: notebooks without outputs, the conda view in step, parameters that exist."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.specifiers import SpecifierSet
from papermill import inspect_notebook

from cladec_companion.records.settings import SETTINGS

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param, nbformat.read(request.param, 4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_notebooks_are_stored_without_outputs(notebook):
    for cell in code_cells(notebook[1]):
        assert not cell.outputs
        assert cell.execution_count is None


def test_notebook_cells_are_short_and_define_no_class(notebook):
    for cell in code_cells(notebook[1]):
        assert len(cell.source.splitlines()) <= 20, cell.source
        assert not re.search(r"^\s*class |\.backward\(\)|optimi[sz]er\.step", cell.source, re.M)


def test_notebook_has_the_parts_of_its_contract(notebook):
    text = "\n".join(cell.source for cell in notebook[1].cells)
    for part in ("you can", "## What the paper claims", "## What this does not show", "{exercise}", "{solution}"):
        assert part in text, part
    assert text.count("```{exercise}") == text.count("```{solution}") >= 3


def test_asides_of_a_notebook_stand_in_the_margin_and_are_few(notebook):
    assert 1 <= sum(cell.source.count("```{margin}") for cell in notebook[1].cells) <= 2


def test_statements_of_the_theory_stand_in_boxes():
    cells = nbformat.read(ROOT / "notebooks" / "theory.ipynb", 4).cells
    titles = re.findall(r"^```\{prf:\w+\} (.+)$", "\n".join(cell.source for cell in cells), re.M)
    boxed = re.findall(r"\bD\d+\b", " ".join(titles))
    assert len(boxed) == len(set(boxed))
    assert {f"D{number}" for number in range(1, 17)} - set(boxed) == {"D14", "D16"}  # questions, not statements


def test_every_figure_has_a_name_a_caption_and_alternative_text(notebook):
    for cell in code_cells(notebook[1]):
        shown = cell.metadata.get("mystnb", {})
        if "figure" in shown:
            assert shown["figure"]["name"].startswith("fig-")
            assert len(shown["figure"]["caption"]) > 30
            assert len(shown["image"]["alt"]) > 30


def test_every_figure_of_the_paper_has_a_row_and_every_figure_named_there_exists():
    page = (ROOT / "book" / "published.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| Figs?\. (.*?) \|.*$", page, re.M)
    assert [int(number) for row in rows for number in row.split(", ")] == list(range(4, 19))
    drawn = {
        cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        for path in NOTEBOOKS
        for cell in nbformat.read(path, 4).cells
    }
    assert set(re.findall(r"\{numref\}`(fig-[\w-]+)`", page)) <= drawn


def test_notebook_parameters_are_those_of_its_experiment(notebook):
    path, _ = notebook
    parameters = inspect_notebook(str(path))
    declared = {item.name for item in fields(SETTINGS[path.stem])}
    assert set(parameters) == declared
    assert all(parameter["help"] and parameter["inferred_type_name"] != "None" for parameter in parameters.values())


def test_environment_yml_is_the_conda_view_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = set(project["project"]["dependencies"]) | set(project["dependency-groups"]["dev"])
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    python = next(item for item in conda if isinstance(item, str) and item.startswith("python="))
    pip = next(item["pip"] for item in conda if isinstance(item, dict))
    assert python.removeprefix("python=") in SpecifierSet(project["project"]["requires-python"])
    assert set(pip) - {"--editable ."} == wanted


def test_every_command_of_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake (?!PYTHON)([a-z]+)", readme)):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_the_core_knows_nothing_of_the_companion():
    """The core is the method and can be used alone; only its command line leads to the paper's experiments."""
    for path in (ROOT / "cladec_core").rglob("*.py"):
        if path.name != "__main__.py":
            assert not re.search(r"^\s*(from|import) cladec_companion", path.read_text(encoding="utf-8"), re.M), path


def test_the_core_is_thin():
    """Data, networks, training and measures; the explainer is a tool built of them, in a folder of its own."""
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "cladec_core").rglob("*.py")}
    assert len(sources) > 25
    assert sum(bool(line.strip()) for text in sources.values() for line in text.splitlines()) < 3800
    for path, text in sources.items():
        tops = re.findall(r"^(?:from|import) (cladec_core[\w.]*)", text, re.M)
        assert path.parent.name == "explainer" or not [name for name in tops if "explainer" in name], path
