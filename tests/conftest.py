"""What several tests need: a small data set, the exact arithmetic, and no way to write outside a temporary folder."""

import os
from collections import defaultdict

# The networks of the tests are tiny: a second thread only waits for the first, long where the machine is busy. Set
# before torch is imported, and inherited by the kernels and commands that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch
from PIL import Image

from cladec_companion import papers
from cladec_companion.engine import estimate, runner
from cladec_companion.papers import settings_for
from cladec_core import data
from cladec_core.training import Compute


@pytest.fixture(autouse=True)
def same_random_numbers():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def results_in_tmp(tmp_path, monkeypatch):
    monkeypatch.setenv("CLADEC_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("CLADEC_MODELS", str(tmp_path / "models"))


@pytest.fixture
def free(monkeypatch):
    """Nothing is measured before a grid is trained: every operation is as good as free."""
    monkeypatch.setattr(estimate, "measured_rates", lambda tasks, found, on: defaultdict(lambda: 1e30))
    monkeypatch.setattr(estimate, "matmul_peak", lambda on: 1e9)


@pytest.fixture(scope="session")
def on():
    return Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="session")
def digits():
    return data.load("digits", train_limit=96, test_limit=48)


@pytest.fixture(scope="session")
def smoke():
    return settings_for("layers", "smoke")


@pytest.fixture(scope="session")
def run_smoke(tmp_path_factory):
    """Runs a chapter at `smoke` in a folder of its own, with models of its own: run_smoke("layers", layers=[-1])."""

    def run(experiment, **changes):
        folder = tmp_path_factory.mktemp(experiment)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CLADEC_MODELS", str(folder / "models"))
            settings = settings_for(experiment, "smoke", **changes)
            return runner.run(papers.chapter(experiment), settings, root=folder, device="cpu", progress=False)

    return run


@pytest.fixture(scope="session")
def whole_run(run_smoke):
    """The record of a smoke run that nothing interrupted."""
    return run_smoke("layers")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A stranger's folder: images of two classes, one that is no image, and notes."""
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for index in range(30):
            image = Image.fromarray(pixels.integers(0, 255, (24, 32, 3), dtype=np.uint8))
            image.save(folder / name / f"{index:02d}.png")
    (folder / "cat" / "broken.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image either")
    return folder
