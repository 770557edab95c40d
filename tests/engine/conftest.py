"""A pool without processes, for tests of what a grid does with the cells that come back."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cladec_companion import papers
from cladec_companion.engine import runner, workers
from cladec_core import training


class PoolOfNone:
    """In the place of `workers.Pool`: the first cell that was given is trained here when it is asked for."""

    def __init__(self, count, data_dir, progress, kept):
        self.count, self.given, self.kept = count, [], kept
        told = lambda label, seed: kept(self.given[0], label, seed)  # noqa: E731
        self.workplace = runner.Workplace(training.compute("cpu"), data_dir, told=told)

    @property
    def free(self):
        return self.count - len(self.given)

    def give(self, order):
        self.given.append(order)

    def finished(self, timeout):
        outcome = workers.measured(self.workplace, self.given[0])
        return [(self.given.pop(0), outcome)]


@pytest.fixture
def here(monkeypatch, free):
    """Cells are trained in this process, by what stands for two workers."""

    @contextmanager
    def pool(count, data_dir, progress, kept):
        yield PoolOfNone(count, data_dir, progress, kept)

    monkeypatch.setattr(workers, "pool", pool)
    monkeypatch.setattr(workers, "cores", lambda: 2)


@pytest.fixture
def pretend(monkeypatch, here):
    """Replace what cells do: `pretend(act)` gives chapters that call `act(cell)` in the place of all training."""

    def pretended(act: Callable[[str], None] = lambda name: None):
        def run_cell(setup, part, keep_samples):
            yield []
            act(f"{setup.data.name}/{setup.architecture}/{part}/{setup.seed}")
            return [{"method": "m", "metric": "seed", "value": setup.seed}], {}

        trained = {name: chapter for name, chapter in papers.CHAPTERS.items() if chapter.trains}
        return {name: replace(chapter, run_cell=run_cell) for name, chapter in trained.items()}

    return pretended


def is_alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait for something that happens sooner or later; fail if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.05)


@pytest.fixture
def ended():
    """Kill what a test has started and left."""
    children = []
    yield children
    for child in children:
        with suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
