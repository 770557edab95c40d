"""On its page a notebook has one box of parameters, and no calls that mean nothing to a reader."""

from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from cladec_companion.book import folding, heads, notebook
from cladec_core import networks, training

ROOT = Path(__file__).parents[1]


def code(source, *tags, shows=False, glued=False):
    found = []
    if shows:
        found.append(v4.new_output("execute_result", {"text/plain": "1"}))
    if glued:
        found.append(v4.new_output("display_data", {"text/plain": "1"}, metadata={"scrapbook": {"name": "one"}}))
    return v4.new_code_cell(source, outputs=found, metadata={"tags": list(tags)})


def folded(*cells):
    book = v4.new_notebook(cells=list(cells))
    folding.fold(book)
    nbformat.validate(book)
    return book.cells


def head(injected):
    return (
        v4.new_markdown_cell("# Title"), code("import os"), code('profile: str = "quick"\nseeds = None', "parameters"),
        code(f"# Parameters\n{injected}\n", "injected-parameters"), code("settings = os\nsettings", shows=True),
        v4.new_markdown_cell("Text"),
    )  # fmt: skip


def test_the_head_becomes_one_box_with_what_was_set():
    cells = folded(*head('profile = "quick"\nseeds = [0, 1]'))
    assert [cell.cell_type for cell in cells] == ["markdown", "code", "markdown"]
    assert cells[1].source == (
        'import os\n\nprofile: str = "quick"\nseeds = None\n\nseeds = [0, 1]\n\nsettings = os\nsettings'
    )
    assert cells[1].metadata.tags == ["hide-cell"]
    assert cells[1].metadata["mystnb"]["code_prompt_show"] == "Show parameters"
    assert len(cells[1].outputs) == 1


def test_a_number_that_is_missing_is_a_dash():
    cell = code("table")
    cell.outputs = [
        v4.new_output(
            "execute_result", {"text/html": '<td>NaN</td><td class="a">nan</td><td>None</td><td>None of it</td>'}
        ),
        v4.new_output("stream", text="NaN"),
    ]
    (shown,) = folded(cell)
    assert shown.outputs[0].data["text/html"] == '<td>–</td><td class="a">–</td><td>–</td><td>None of it</td>'
    assert shown.outputs[1].text == "NaN"


def test_defaults_are_not_said_twice():
    assert "seeds = None\n\nsettings" in folded(*head('profile = "quick"'))[1].source


@pytest.mark.parametrize(
    ("cell", "source", "tags"),
    [
        (code("figures.draw(record)", shows=True), "figures.draw(record)", ["hide-input"]),
        (code("figures.draw(record)"), "figures.draw(record)", ["hide-input"]),
        (code("mean = record.mean()"), "mean = record.mean()", []),
        (code("record = notebook.run(settings)", shows=True), "record = notebook.run(settings)", []),
        (code("\n".join("abcdef"), shows=True), "\n".join("abcdef"), []),
        (code("figures.draw(record)", "lead", shows=True), "figures.draw(record)", ["lead", "hide-input"]),
        (code("draw()", "hide-output", shows=True), "draw()", ["hide-cell"]),
        (code("# NBVAL_CHECK_OUTPUT\nx = 1\nx", shows=True), "x = 1\nx", ["hide-input"]),
        (code('glue(\n    "one", 1)\nx = 1', glued=True), "x = 1", []),
        (code("for n in [1]:\n    glue(str(n), n)", glued=True), "", ["remove-input"]),
        (code("%matplotlib inline"), "%matplotlib inline", []),
    ],
)
def test_a_cell_keeps_what_a_reader_can_use(cell, source, tags):
    (found,) = folded(cell)
    assert (found.source, list(found.metadata.tags)) == (source, tags)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_has_its_parameters_in_one_box(path):
    book = nbformat.read(path, 4)
    folding.fold(book)
    prompts = [cell.metadata.get("mystnb", {}).get("code_prompt_show") for cell in book.cells]
    assert prompts.count("Show parameters") == 1
    sources = [cell.source for cell in book.cells if cell.cell_type == "code"]
    assert not any(source.startswith(("# NBVAL", "# Parameters")) for source in sources)
    assert not any("settings_for(" in source for source in sources[1:])


def test_code_is_shown_from_its_first_line_without_docstrings():
    shown = notebook.source(networks.decoder, training.ClaDecLoss.__call__).data
    assert shown.count("```python\n") == 2
    assert shown.startswith("```python\ndef decoder(")
    assert "\ndef __call__(self" in shown
    assert '"""' not in shown


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_page_opens_with_one_of_its_figures(path, tmp_path):
    tagged = [cell for cell in nbformat.read(path, 4).cells if "lead" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    name = tagged[0].metadata["mystnb"]["figure"]["name"]
    assert heads.lead(path, tmp_path) == ""  # a picture that was not drawn
    (tmp_path / f"{name}.png").touch()
    assert f"../book/generated/{name}.png" in heads.lead(path, tmp_path)
    assert f"{{numref}}`{name}`" in heads.lead(path, tmp_path)
