"""The grid as Snakemake jobs; `make workflow` brings Snakemake. Each test parses the workflow, which takes seconds."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from cladec_companion.records.files import ROOT
from cladec_companion.records.record import FILES

pytestmark = pytest.mark.skipif(not shutil.which("snakemake"), reason="snakemake is not installed: make workflow")


@pytest.fixture
def snakemake(tmp_path):
    """Run the workflow in a folder of its own."""

    def run(*options, profile="local", python=sys.executable, **others):
        command = [
            "snakemake", "-s", ROOT / "workflow" / "Snakefile", "-d", tmp_path,
            "--workflow-profile", ROOT / "workflow" / "profiles" / profile,
            *options, "--config", "profile=smoke", "only=layers", "device=cpu", f"python={python}",
        ]  # fmt: skip
        return subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **others
        )

    return run


@pytest.mark.parametrize("profile", ["local", "slurm"])
def test_a_job_is_planned_for_each_cell_and_record(snakemake, profile):
    child = snakemake("--dry-run", profile=profile)
    said, _ = child.communicate()
    assert child.returncode == 0, said
    counts = dict(line.split() for line in said.splitlines() if line.split()[:1] in (["cell"], ["record"], ["total"]))
    assert counts == {"cell": "3", "record": "1", "total": "5"}
    assert "layers_digits_vgg11_penultimate_0" in said


def test_after_a_kill_and_a_lost_worker_the_record_is_that_of_the_grid(snakemake, whole_run, tmp_path):
    # The first process that trains a layer is killed, too; Snakemake starts another.
    worker = tmp_path / "worker"
    worker.write_text(f"""#!/bin/sh
        case "$*" in *penultimate*) [ -e {tmp_path}/lost ] || {{ touch {tmp_path}/lost; kill -9 $$; }};; esac
        exec {sys.executable} "$@"
    """)
    worker.chmod(0o755)
    child = snakemake(python=worker, start_new_session=True)
    done = tmp_path / "build/grid/cells/layers_digits_vgg11_classifier_0/smoke/layers/manifest.json"
    while not done.exists() and child.poll() is None:
        time.sleep(0.05)
    assert child.poll() is None, child.communicate()[0]
    os.killpg(child.pid, signal.SIGKILL)  # Snakemake and its jobs
    child.communicate()
    assert not (tmp_path / "build/grid/results/smoke").exists()

    assert snakemake("--unlock", python=worker).wait() == 0
    again = snakemake(python=worker)
    said, _ = again.communicate()
    assert again.returncode == 0, said
    assert (tmp_path / "lost").exists()
    found = tmp_path / "build/grid/results/smoke/layers"
    assert [(found / name).read_bytes() for name in FILES] == [(whole_run.folder / name).read_bytes() for name in FILES]
