"""Kill a small grid at random moments until it is done, and hold its record against that of a run nothing stopped.

    python -m workflow.kill_test --kills 50 --seed 0

An attempt is the command `cladec train` in a process of its own, forked after the imports and ended by SIGKILL. The
moments are spread evenly over the seconds of the CPU that a whole run takes. A grid that is done begins anew in
another folder, until there were enough kills; the last one may finish.
"""

import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cladec_companion.commands import main as cli
from cladec_companion.commands.shared import told
from cladec_companion.engine import estimate
from cladec_companion.engine.plan import of_profile
from cladec_companion.papers import CHAPTERS
from cladec_companion.records.record import FILES, read_record
from cladec_core.errors import RunError


@told
def main(
    kills: Annotated[int, typer.Option(min=1, help="How often to kill.")] = 50,
    seed: Annotated[int, typer.Option(help="Decides the moments.")] = 0,
    only: Annotated[str, typer.Option(help="The experiment to train, with the profile smoke.")] = "layers",
    out: Annotated[Path | None, typer.Option(help="Folder of records (default: a temporary one).")] = None,
) -> None:
    """Kill `cladec train` at random moments, let it finish, and compare the records.

    Example: `python -m workflow.kill_test --kills 50`
    """
    with tempfile.TemporaryDirectory() as folder, _watched():
        print(summary(*killed(out or Path(folder), only, kills, random.Random(seed))))


def killed(root: Path, only: str, kills: int, numbers: random.Random) -> tuple[int, list[int]]:
    """Train a grid again and again; returns how often, and for each kill whether it has cost a cell.

    Raises
    ------
    RunError
        If a finished cell is lost, a record cannot be read or differs, or a training fails.
    """
    estimate.costs(
        of_profile(CHAPTERS, "smoke", only)
    )  # once for all attempts: most of the time until the first cell begins
    _finish(Attempt(root / "whole", only))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # by this child, the only one so far
    duration, expected = used.ru_utime + used.ru_stime, what_counts(root / "whole", only)
    lost: list[int] = []
    for number in range(1, kills + 1):
        folder, finished = root / f"{number}", False
        while len(lost) < kills and not finished:
            attempt = Attempt(folder, only)
            attempt.work(numbers.uniform(0, duration))
            finished = attempt.killed()
            lost += [] if finished else [attempt.lost()]
        if not finished:
            _finish(Attempt(folder, only))
        if what_counts(folder, only) != expected:
            raise RunError(f"{folder} is not the record of a run that nothing stopped, {root / 'whole'}.")
        if len(lost) == kills:
            break
    return number, lost


class Attempt:
    """The command `cladec train` in a child of this process."""

    def __init__(self, folder: Path, only: str) -> None:
        self.folder, self.only = folder, only
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "begun").write_text("")
        self.before = self.recorded()
        sys.stdout.flush()
        self.process = os.fork()
        if self.process == 0:
            with open(folder / "log", "a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            os._exit(self.train(only))  # without the ends of the parent's blocks, which remove its folder

    def train(self, only: str) -> int:
        """In the child: run the command to its end; returns its exit code."""
        os.environ["CLADEC_MODELS"] = str(self.folder / "models")
        sys.argv = [*f"cladec train --profile smoke --device cpu --only {only} --out".split(), str(self.folder)]
        try:
            cli.main()
        except SystemExit as end:
            return end.code or 0
        except BaseException:
            traceback.print_exc()
            return 1
        finally:
            sys.stdout.flush()
        return 0

    def recorded(self) -> set[str]:
        """Cells that are finished."""
        folder = self.folder / "smoke" / self.only
        return set(read_record(folder).cells) if (folder / "manifest.json").exists() else set()

    def work(self, seconds: float) -> None:
        """Let it compute for so long, or to its end: seconds of the CPU, as a busy machine lets it stand still."""
        stat = Path(f"/proc/{self.process}/stat")
        if not stat.exists():  # elsewhere than on Linux
            time.sleep(seconds)
            return
        state, spent = "R", 0.0
        while state != "Z" and spent < seconds:
            time.sleep(0.005)
            state, *numbers = stat.read_text().rpartition(")")[2].split()
            spent = (int(numbers[10]) + int(numbers[11])) / os.sysconf("SC_CLK_TCK")

    def wait(self) -> int:
        """Wait for the end; returns the exit code, or minus the signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def killed(self) -> bool:
        """Kill it; returns whether it had finished before."""
        os.kill(self.process, signal.SIGKILL)
        code = self.wait()
        if code not in (0, -signal.SIGKILL):
            self.fail(code)
        return code == 0

    def lost(self) -> int:
        """How many cells it began that are not recorded: the one that was running, or none."""
        found = self.recorded()
        if not self.before <= found:
            raise RunError(f"{self.folder} has lost the finished cells {sorted(self.before - found)}.")
        lost = set((self.folder / "begun").read_text().splitlines()) - found
        if len(lost) > 1:
            raise RunError(f"{self.folder} has lost more than the running cell: {sorted(lost)}.")
        return len(lost)

    def fail(self, code: int) -> None:
        """Raise an error that names what the command said last."""
        raise RunError(f"The training in {self.folder} ended with {code}: {(self.folder / 'log').read_text()[-300:]}")


def _finish(attempt: Attempt) -> None:
    code = attempt.wait()
    if code:
        attempt.fail(code)


def what_counts(root: Path, only: str) -> list[Any]:
    """Names and bytes of a record's files; of the manifest, all but times and where each cell was made."""
    folder = root / "smoke" / only
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"cells": sorted(manifest["cells"]), "runs": None, "digest": None}
    return [sorted(path.name for path in folder.iterdir()), manifest, *((folder / name).read_bytes() for name in FILES)]


def summary(grids: int, lost: list[int]) -> str:
    """What became of the cells."""
    return (
        f"{len(lost)} kills of {grids} grids: {sum(lost)} hit a running cell, which was trained again; {lost.count(0)} "
        f"hit none. No finished cell was lost, and all records are those of a run that nothing stopped."
    )


@contextmanager
def _watched() -> Iterator[None]:
    """Note which cells an attempt begins, and measure no speed: it decides nothing here."""
    measure = runner.Trainer.measure

    def noted(trainer: runner.Trainer, cells: list[runner.Cell]) -> list[runner.Measured]:
        with open(runner.CACHE.parent / "begun", "a") as begun:
            begun.writelines(f"{cell}\n" for cell in cells)
        return measure(trainer, cells)

    runner.Trainer.measure = noted
    estimate.measured_rates = lambda found, on: defaultdict(lambda: 1e30)
    estimate.matmul_peak = lambda on: 1e9
    yield


if __name__ == "__main__":
    typer.run(main)
