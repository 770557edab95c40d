"""The repository's own files: notebooks without outputs, the conda view in step, parameters that exist."""

import ast
import json
import re
import tomllib
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from itertools import permutations
from pathlib import Path
from types import ModuleType

import grimp
import nbformat
import pytest
import yaml
from packaging.specifiers import SpecifierSet
from papermill import inspect_notebook

from cladec_companion.book import pages
from cladec_companion.papers import CHAPTERS
from cladec_companion.records.settings import Settings

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
    parts = ("you can", "## What the paper claims", "## What this does not show", "## Key takeaways")
    places = [text.find(part) for part in (*parts, "**Use it when**", "**Do not use it when**", "{exercise}")]
    assert -1 not in places
    assert places == sorted(places)  # in this order
    assert text.count("```{exercise}") >= 3
    assert "{solution}" not in text  # solutions are in the instructor's folder


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
    declared = {item.name for item in fields(CHAPTERS[path.stem].settings)}
    assert set(parameters) == declared
    assert all(parameter["help"] and parameter["inferred_type_name"] != "None" for parameter in parameters.values())


def test_environment_yml_is_the_conda_view_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    book = project["project"]["optional-dependencies"]["book"]
    wanted = {*project["project"]["dependencies"], *book, *project["dependency-groups"]["dev"]}
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    python = next(item for item in conda if isinstance(item, str) and item.startswith("python="))
    pip = next(item["pip"] for item in conda if isinstance(item, dict))
    assert python.removeprefix("python=") in SpecifierSet(project["project"]["requires-python"])
    assert set(pip) == {"--editable .[book]", *wanted}


def test_the_light_installation_brings_nothing_of_notebooks_book_or_workflow():
    """What `pip install cladec` brings, read from the lock: every package that a core dependency leads to."""
    packages = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]:
        packages.setdefault(package["name"], []).extend(item["name"] for item in package.get("dependencies", []))
    found, waiting = set(), ["cladec"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += packages[name]
    assert {"torch", "torchvision", "captum", "matplotlib"} <= found
    assert not [name for name in found if re.match(r"jupyter|ipy|nb|papermill|sphinx|myst|snakemake|notebook", name)]
    assert not found & {"scipy", "scikit-learn", "scikit-image", "statsmodels", "seaborn", "zennit", "pyyaml"}


@pytest.mark.parametrize("page", ["README.md", "book/running.md", "CONTRIBUTING.md"])
def test_every_command_that_is_named_exists(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake (?!PYTHON)([a-z]+)", text)):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for path in re.findall(r"\]\(([\w/.]+)\)", text):
        assert (ROOT / page).parent.joinpath(path).exists(), path


def test_the_readme_is_short():
    """What, the picture, the two commands, what one gets, and links; details are in the book."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 70


def test_the_page_on_running_names_every_notebook_and_the_common_parameters():
    text = (ROOT / "book" / "running.md").read_text(encoding="utf-8")
    assert "```{include} generated/notebooks.md\n" in text
    listed = pages.notebooks(CHAPTERS)
    for name in CHAPTERS:
        assert re.search(rf"^\| `{name}` \| [^|]{{10,80}} \| `\w+`.* \|$", listed, re.M), name
    common = {one.name for one in fields(Settings)} - {"profile"}
    assert not [name for name in common if f"`{name}`" not in text]
    exempt = re.search(r"^All but (.*?) also take", text, re.M)[1]
    assert {*re.findall(r"`(\w+)`", exempt)} == {name for name, chapter in CHAPTERS.items() if not chapter.trains}


def test_the_hooks_before_a_commit_are_what_make_lint_runs():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.M)[1]
    tool = re.search(r"^RUN = (.*)$", makefile, re.M)[1]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]  # nothing is fetched
    assert [hook["entry"] for hook in hooks[0]["hooks"]] == [
        line.strip().replace("$(RUN)", tool) for line in lint.splitlines() if line.startswith("\t$(RUN)")
    ]  # actionlint is no package of Python: it runs where it is installed


def test_every_room_stands_in_the_picture_of_the_house():
    picture = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for package in ("cladec_core", "cladec_companion"):
        part = picture[picture.index(f"{package}/") :]
        for room in sorted(path.parent.name for path in (ROOT / package).glob("*/__init__.py")):
            assert re.search(rf" {room}/ ", part), room


@pytest.fixture(scope="module")
def imports():
    return grimp.build_graph("cladec_core", "cladec_companion", exclude_type_checking_imports=True, cache_dir=None)


def chapters(graph):
    """The folders below those of the papers that hold an experiment, claims or figures."""
    papers = graph.find_children("cladec_companion.papers")
    folders = [folder for paper in papers for folder in graph.find_children(paper)]
    parts = ("experiment", "claims", "figures")
    return sorted(folder for folder in folders if graph.find_children(folder) & {f"{folder}.{part}" for part in parts})


def test_a_chapter_never_imports_another(imports):
    """Neither directly nor through what the papers share."""
    found = chapters(imports)
    assert len(found) >= len(CHAPTERS)
    wrong = {
        " -> ".join(chain)
        for chapter, other in permutations(found, 2)
        for chain in imports.find_shortest_chains(chapter, other, as_packages=True)
        if all(step.startswith("cladec_companion.papers") for step in chain)
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_names_that_a_notebook_takes_from_the_project_exist(notebook):
    """A name that was changed elsewhere is found here, before minutes of execution."""
    path, book = notebook
    lines = "\n".join(cell.source for cell in code_cells(book)).splitlines()
    tree = ast.parse("\n".join(line for line in lines if not line.lstrip().startswith(("%", "!"))))
    imported, used = {}, 0
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cladec"):
            for alias in node.names:
                with suppress(ModuleNotFoundError):  # a name in a module, or a module
                    import_module(f"{node.module}.{alias.name}")
                imported[alias.asname or alias.name] = getattr(import_module(node.module), alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = imported.get(node.value.id)
            if isinstance(owner, ModuleType):
                assert hasattr(owner, node.attr), f"{path.name}: {node.value.id}.{node.attr}"
                used += 1
    assert used, path.name


def test_no_file_is_long_and_no_function():
    """At most 500 lines, and 60 besides the docstring."""
    long = []
    rooms = ("cladec_core", "cladec_companion", "tests", "benchmarks", "workflow")
    for path in (path for room in rooms for path in (ROOT / room).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        long += [str(path)] if len(text.splitlines()) > 500 else []
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                described = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
                lines = node.end_lineno - node.lineno + 1 - described
                long += [f"{path}: {node.name}, {lines} lines"] if lines > 60 else []
    assert not long, "\n".join(long)


def test_the_core_is_thin():
    """Data, networks, training, measures and the explainer built of them: lines that are not empty, docstrings too."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "cladec_core").rglob("*.py")]
    assert len(sources) > 20
    assert sum(bool(line.strip()) for text in sources for line in text.splitlines()) < 5900


def test_versions_and_descriptions_agree():
    """What pyproject.toml, CITATION.cff and Zenodo's metadata say of the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    archived = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    assert project["version"] == str(cited["version"]) == archived["version"]
    assert (cited["title"], cited["license"]) == (archived["title"], archived["license"])
    assert [author["name"] for author in cited["authors"]] == [creator["name"] for creator in archived["creators"]]
    assert " ".join(cited["abstract"].split()) == archived["description"]
    assert f"version = {{{project['version']}}}" in (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == project["version"]
