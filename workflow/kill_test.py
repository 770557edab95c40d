"""Kill a small grid of two workers at random moments until it is done, and hold its record against an unbroken run's.

    python -m workflow.kill_test --kills 50 --seed 0

An attempt is the command `cladec train` in a session of its own. SIGKILL ends, by lot, the command alone, one of its
workers, or all of its processes at once, as a power cut would. The moments are spread evenly over the seconds of the
CPU that a whole run takes. A grid that is done begins anew in another folder, until there were enough kills; the last
one may finish.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from cladec_companion.commands import main as cli
from cladec_companion.commands.shared import told
from cladec_companion.engine import estimate, workers
from cladec_companion.engine.plan import of_profile
from cladec_companion.engine.runner import Order
from cladec_companion.papers import CHAPTERS
from cladec_companion.records.record import FILES, read_record
from cladec_core.errors import RunError

WORKERS = 2
ENDED = "its process ended (killed by SIGKILL"  # what the command says of a worker that was killed
VICTIMS = ("command", "worker", "all")


@told
def main(
    kills: Annotated[int, typer.Option(min=1, help="How often to kill.")] = 50,
    seed: Annotated[int, typer.Option(help="Decides the moments and who is killed.")] = 0,
    only: Annotated[str, typer.Option(help="The experiment to train, with the profile smoke.")] = "layers",
    out: Annotated[Path | None, typer.Option(help="Folder of records (default: a temporary one).")] = None,
) -> None:
    """Kill `cladec train` at random moments, let it finish, and compare the records.

    Example: `python -m workflow.kill_test --kills 50`
    """
    with tempfile.TemporaryDirectory() as folder:
        print(summary(*killed(out or Path(folder), only, kills, random.Random(seed))))


def killed(root: Path, only: str, kills: int, numbers: random.Random) -> tuple[int, list[tuple[str, int]]]:
    """Train a grid again and again; returns how often, and for each kill whom it hit and how many cells it cost.

    Raises
    ------
    RunError
        If a finished cell is lost, a record cannot be read or differs, or a training fails.
    """
    estimate.costs(of_profile(CHAPTERS, "smoke", only))  # once for all attempts
    duration = Attempt(root / "whole", only).finish()
    expected = what_counts(root / "whole", only)
    lost: list[tuple[str, int]] = []
    for number in range(1, kills + 1):
        folder, finished = root / f"{number}", False
        while len(lost) < kills and not finished:
            attempt = Attempt(folder, only)
            attempt.work(numbers.uniform(0, duration))
            victim = attempt.kill(numbers.choice(VICTIMS))
            finished = victim == ""
            lost += [] if finished else [(victim, attempt.lost(victim))]
        if not finished:
            Attempt(folder, only).finish()
        if what_counts(folder, only) != expected:
            raise RunError(f"{folder} is not the record of a run that nothing stopped, {root / 'whole'}.")
        if len(lost) == kills:
            break
    return number, lost


class Attempt:
    """The command `cladec train` in a child of this process, which leads a session of its own."""

    def __init__(self, folder: Path, only: str) -> None:
        self.folder, self.only = folder, only
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "begun").write_text("")
        (folder / "log").write_text("")
        self.before = self.recorded()
        sys.stdout.flush()
        self.process = os.fork()
        if self.process == 0:
            os.setsid()
            with open(folder / "log", "a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            os._exit(self.train(only))  # without the ends of the parent's blocks, which remove its folder

    def train(self, only: str) -> int:
        """In the child: run the command to its end; returns its exit code."""
        os.environ["CLADEC_MODELS"] = str(self.folder / "models")
        command = f"cladec train --profile smoke --device cpu --workers {WORKERS} --only {only} --out"
        sys.argv = [*command.split(), str(self.folder)]
        give = workers.Pool.give

        def noted(pool: workers.Pool, order: Order) -> None:
            with open(self.folder / "begun", "a") as begun:
                begun.write(f"{order.cell}\n")
            give(pool, order)

        workers.Pool.give = noted
        # No speed is measured: it decides nothing here.
        estimate.measured_rates = lambda tasks, found, on: defaultdict(lambda: 1e30)
        estimate.matmul_peak = lambda on: 1e9
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
        except BaseException:
            traceback.print_exc()
            return 3
        finally:
            sys.stdout.flush()
        return 0

    def recorded(self) -> set[str]:
        """Cells that are finished."""
        folder = self.folder / "smoke" / self.only
        return set(read_record(folder).cells) if (folder / "manifest.json").exists() else set()

    def processes(self) -> dict[int, tuple[int, float]]:
        """The living processes of the command: number -> parent, and seconds of the CPU that it has used."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended meanwhile
                state, parent, group, *numbers = path.read_text().rpartition(")")[2].split()
                if int(group) == self.process and state != "Z":
                    ticks = sum(map(int, numbers[8:12]))  # of itself, and of its children that have ended
                    found[int(path.parent.name)] = int(parent), ticks / os.sysconf("SC_CLK_TCK")
        return found

    def work(self, seconds: float) -> float:
        """Let it compute for so long, or to its end; returns how long that was.

        Counted are seconds of the CPU of all processes together, as a busy machine lets them stand still; elsewhere
        than on Linux those of the clock.
        """
        began, spent = time.monotonic(), 0.0
        while spent < seconds and os.waitid(os.P_PID, self.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            time.sleep(0.01)
            own = self.processes()
            spent = max(spent, sum(used for _, used in own.values()) if own else time.monotonic() - began)
        return spent

    def wait(self) -> int:
        """Wait for the end; returns the exit code, or minus the signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def finish(self) -> float:
        """Let it finish; returns the seconds of the CPU that it took."""
        spent = self.work(float("inf"))
        code = self.wait()
        if code:
            self.fail(code)
        return spent

    def kill(self, victim: str) -> str:
        """Kill the command, a worker or all; returns who was hit: nobody if the command had finished before."""
        own = self.processes()
        at_work = [process for process, (parent, _) in own.items() if parent in own and parent != self.process]
        if victim == "worker" and at_work:
            with suppress(ProcessLookupError):
                os.kill(random.choice(at_work), signal.SIGKILL)
            code = self.wait()
            if code not in (0, 1):
                self.fail(code)
            return "worker" if code else ""
        if victim == "all":
            os.killpg(self.process, signal.SIGKILL)
        else:
            victim = "command"
            os.kill(self.process, signal.SIGKILL)
        code = self.wait()
        if code not in (0, -signal.SIGKILL):
            self.fail(code)
        return victim if code else ""

    def lost(self, victim: str) -> int:
        """How many cells it began that are not recorded: at most those that were at work.

        Raises
        ------
        RunError
            If it has lost more, or a worker's end was not told, or has cost another cell than its own.
        """
        found = self.recorded()
        if not self.before <= found:
            raise RunError(f"{self.folder} has lost the finished cells {sorted(self.before - found)}.")
        lost = set((self.folder / "begun").read_text().splitlines()) - found
        if len(lost) > (1 if victim == "worker" else WORKERS):
            raise RunError(f"{self.folder} has lost more than the running cells: {sorted(lost)}.")
        if victim == "worker":
            said = (self.folder / "log").read_text()
            if not lost or f"{self.only}/{next(iter(lost))}: {ENDED}" not in said:
                self.fail(1)
        return len(lost)

    def fail(self, code: int) -> None:
        """Raise an error that names what the command said last."""
        raise RunError(f"The training in {self.folder} ended with {code}: {(self.folder / 'log').read_text()[-300:]}")


def what_counts(root: Path, only: str) -> list[Any]:
    """Names and bytes of a record's files; of the manifest, all but times, where each cell was made, and its digest."""
    folder = root / "smoke" / only
    manifest = json.loads((folder / "manifest.json").read_text())
    passing = {"seconds", "cpu_seconds", "trainings", "run"}
    cells = {name: {key: cell[key] for key in cell.keys() - passing} for name, cell in manifest["cells"].items()}
    manifest |= {"cells": cells, "runs": None, "digest": None}
    return [sorted(path.name for path in folder.iterdir()), manifest, *((folder / name).read_bytes() for name in FILES)]


def summary(grids: int, lost: list[tuple[str, int]]) -> str:
    """What became of the cells."""
    whom = Counter(victim for victim, _ in lost)
    hit = [cells for _, cells in lost if cells]
    listed = ", ".join(f"{whom[victim]} of {name}" for victim, name in zip(VICTIMS, NAMES, strict=True))
    return (
        f"{len(lost)} kills of {grids} grids ({listed}): {len(hit)} hit {sum(hit)} running cells, which were trained "
        f"again; {len(lost) - len(hit)} hit none. No finished cell was lost, and all records are those of a run that "
        f"nothing stopped."
    )


NAMES = ("the command", "a worker", "all processes")


if __name__ == "__main__":
    typer.run(main)
