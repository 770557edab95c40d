"""Every notebook runs at `smoke` from a clean kernel, and again under nbval."""

import os
import subprocess
import sys

import nbformat
import pytest

from cladec_companion.book import build as book
from cladec_companion.records.files import ROOT

# Both tests of a notebook run in one process, which executes it once.
GROUPS = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in book.notebook_names()]
pytestmark = pytest.mark.parametrize("executed", GROUPS, indirect=True, scope="module")


@pytest.fixture(scope="module")
def executed(request, tmp_path_factory):
    """A notebook executed at `smoke`, its record and environment in a folder of the test's own."""
    folder = tmp_path_factory.mktemp(request.param)
    environment = {"CLADEC_RESULTS": str(folder / "results"), "CLADEC_MODELS": str(folder / "models")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(book, "EXECUTED", folder)
        path = book.execute(request.param, "smoke", {})
    return path, os.environ | environment


def test_executed_notebook_has_outputs_no_errors_and_counts_in_order(executed):
    cells = [cell for cell in nbformat.read(executed[0], 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("text/html" in output.get("data", {}) for output in outputs)


def test_nbval_repeats_the_notebook(executed):
    path, environment = executed
    command = [sys.executable, "-m", "pytest", "-p", "tests.kernels", "--nbval-lax", "--nbval-cell-timeout=300", "-n0"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--rootdir", str(path.parent), "-c", os.devnull, str(path)],
        capture_output=True, text=True, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
