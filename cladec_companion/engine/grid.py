"""Train the cells of a profile within a time: a plan first, then cell after cell into its record.

On CUDA, a cell is trained for several seeds side by side.
"""

import gc
import signal
import threading
import time
import traceback
from _thread import interrupt_main
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cladec_companion.engine import estimate
from cladec_companion.engine.estimate import Costs, Rates
from cladec_companion.engine.plan import Job
from cladec_companion.engine.runner import Trainer, opened
from cladec_core import training
from cladec_core.errors import RunError
from cladec_core.training import loop

SHOWN = 12  # rows of the live table


def plan_table(chosen: Sequence[Job], found: Costs, rates: Rates) -> Table:
    """By experiment: what is done and missing, and what that takes."""
    table = Table("experiment", "cells", "done", "missing", "trainings", "operations", "minutes")
    for name in dict.fromkeys(job.settings.experiment for job in chosen):
        own = [job for job in chosen if job.settings.experiment == name]
        waiting = [job for job in own if job in found]
        counts = [count for job in waiting for count in found[job].values()]
        minutes = sum(estimate.seconds_of(job, found, rates) for job in waiting) / 60
        cost = str(len(counts)), estimate.with_unit(sum(counts)), f"{minutes:.1f}"
        table.add_row(name, str(len(own)), str(len(own) - len(waiting)), str(len(waiting)), *cost)
    return table


class Board:
    """A live table of trainings, the running ones last: loss, speed and share of the peak of a matrix product."""

    def __init__(self, peak: float) -> None:
        self.peak, self.rows, self.title = peak, [], ""
        self.expected: dict[str, tuple[int, float]] = {}  # images in a step, operations per image

    def expect(self, group: Sequence[Job], found: Costs, title: str) -> None:
        """Be ready for the trainings of some cells."""
        self.title = title
        self.expected = {
            f"{job.cell.dataset} {estimate.network(job, part)[0]} {part.label}, seed {job.cell.seed}": (
                estimate.batch_size(job, part), estimate.per_image(job, part)
            )
            for job in group
            for part in found[job]
        }  # fmt: skip

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Make every progress bar of a training a row of this table."""
        before, loop.progress_bar = loop.progress_bar, self.bar
        try:
            yield
        finally:
            loop.progress_bar = before

    @contextmanager
    def bar(self, label: str, steps: int, _enabled: bool) -> Iterator[Callable[[int, float], None]]:
        """In the place of `training.progress_bar`: a row that tells what is known after each epoch."""
        row, done, began = [label, "0%", "", "", ""], 0, time.perf_counter()
        self.rows.append(row)

        def update(count: int, loss: float) -> None:
            nonlocal done
            done += count
            row[1:3] = f"{done / steps:.0%}", f"{loss:.4g}"
            if label in self.expected:
                batch, operations_per_image = self.expected[label]
                speed = done * batch / (time.perf_counter() - began)
                row[3:] = f"{speed:,.0f}", f"{speed * operations_per_image / self.peak:.0%}"

        yield update

    def __rich__(self) -> Table:
        """What is drawn, several times a second."""
        table = Table("training", "done", "loss", "images/s", "of the peak", title=self.title)
        for row in self.rows[-SHOWN:]:
            table.add_row(*row)
        return table


def grouped(waiting: Sequence[Job], branches: int) -> deque[list[Job]]:
    """Cells that differ in nothing but the seed, at most so many at once, in the order of the first of them."""
    alike: dict[Any, list[Job]] = {}
    for job in waiting:
        alike.setdefault((job.settings, job.cell.prefix, str(job.cell.part)) if branches > 1 else job, []).append(job)
    return deque(group[at : at + branches] for group in alike.values() for at in range(0, len(group), branches))


def train(
    chosen: Sequence[Job],
    root: Path,
    *,
    data_dir: Path | None = None,
    device: str = "auto",
    budget: float = float("inf"),
) -> None:
    """Train the missing cells, each into its record; prints the plan, a live table on a terminal, a line per cell.

    Parameters
    ----------
    chosen
        From `jobs.of_profile`.
    root
        Folder of records.
    data_dir, device
        See `data.load` and `training.compute`.
    budget
        Seconds. A cell that is not expected to fit is not begun, and one that takes longer is given up.

    Raises
    ------
    RunError
        If a record cannot be opened or written; at the end, if cells could not be trained, or none fits the budget.
    """
    deadline = time.monotonic() + budget
    console, on = Console(), training.compute(device)
    with ExitStack() as stack:
        trainers = {
            settings: stack.enter_context(opened(settings, on, root, data_dir))
            for settings in dict.fromkeys(job.settings for job in chosen)
        }
        waiting = [job for job in chosen if str(job.cell) not in trainers[job.settings].record.cells]
        lacking = {job: f"the package {job.lacks} is not installed" for job in waiting if job.lacks}
        waiting = [job for job in waiting if job not in lacking]
        found = estimate.costs(waiting)
        rates, board = estimate.measured_rates(found, on), Board(estimate.matmul_peak(on))
        console.print(plan_table([job for job in chosen if job not in lacking], found, rates))
        for (name, reason), count in Counter((job.settings.experiment, lacking[job]) for job in lacking).items():
            _say(console, f"{name}: {reason}, so its {count} missing cells are left out")
        _say(console, f"{on.description}; {estimate.with_unit(board.peak)} operations/s in a matrix product")
        grid = _Grid(trainers, found, rates, board, console, deadline, failed=lacking)
        with board.shown(), Live(board, console=console, transient=True) if console.is_terminal else nullcontext():
            grid.train(grouped(waiting, training.BRANCHES if on.device.type == "cuda" else 1))
        for settings, trainer in trainers.items():
            own = [str(job.cell) in trainer.record.cells for job in chosen if job.settings == settings]
            _say(console, f"{trainer.record.folder}: {sum(own)} of {len(own)} cells recorded")
    grid.conclude()


@dataclass
class _Grid:
    """One pass over the cells that are missing, and what became of them."""

    trainers: dict[Any, Trainer]
    found: Costs
    rates: Rates
    board: Board
    console: Console
    deadline: float
    finished: int = 0
    failed: dict[Job, str] = field(default_factory=dict)
    stopped: str = ""
    foreseen: float = 0.0
    spent: float = 0.0

    def train(self, groups: deque[list[Job]]) -> None:
        """Train group after group, until all are done or the time is over."""
        while groups and not self.stopped:
            group = groups.popleft()
            cells, trainer = [job.cell for job in group], self.trainers[group[0].settings]
            if not self._fits(group):
                break
            try:
                trainer.prepare(cells)
            except RunError as error:  # without its data, no cell of a data set can be trained
                lost = [group, *(other for other in groups if other[0].cell.dataset == cells[0].dataset)]
                groups = deque(other for other in groups if other not in lost)
                self.failed |= {job: str(error) for other in lost for job in other}
                continue
            try:
                with _interrupted_at(self.deadline):
                    measured = trainer.measure(cells)
            except KeyboardInterrupt:
                if time.monotonic() < self.deadline:
                    raise
                self.stopped = f"{group[0]} took longer than expected and was given up"
            except (ImportError, MemoryError, RuntimeError) as error:
                self._lose(group, groups, error)
                trainer.studies.clear()
            else:
                for job, result in zip(group, measured, strict=True):
                    trainer.keep(job.cell, result)
                    self._report(job, result.seconds)

    def _fits(self, group: list[Job]) -> bool:
        pace = self.spent / self.foreseen if self.foreseen else 1.0
        need = sum(estimate.seconds_of(job, self.found, self.rates) for job in group) * pace
        left = self.deadline - time.monotonic()
        title = f"{group[0]}, {self.finished + len(self.failed)} of {len(self.found)} cells before it"
        self.board.expect(group, self.found, title)
        if need < left:
            return True
        self.stopped = f"{group[0]} needs about {need / 60:.1f} minutes, {max(left, 0) / 60:.1f} are left"
        return False

    def _lose(self, group: list[Job], groups: deque[list[Job]], error: Exception) -> None:
        """Try the halves of a group that failed; a single cell is left out."""
        full = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
        if not full and not isinstance(error, (RunError, ImportError)):
            raise error
        traceback.clear_frames(error.__traceback__)  # they hold what fills the memory
        gc.collect()
        torch.cuda.empty_cache()
        reason, half = str(error).partition("\n")[0] or "out of memory", len(group) // 2
        if half:
            groups.extendleft((group[half:], group[:half]))
            _say(self.console, f"{group[0]}: {reason}; not {len(group)} at once, but {half}")
        else:
            self.failed[group[0]] = reason
            _say(self.console, f"{group[0]}: {reason}; it is left out")

    def _report(self, job: Job, seconds: float) -> None:
        self.finished += 1
        alone = estimate.seconds_of(job, self.found, self.rates)
        self.foreseen += alone
        self.spent += seconds if alone else 0
        operations = sum(self.found[job].values())
        share = f", {operations / seconds / self.board.peak:.0%} of the peak of a matrix product" if operations else ""
        _say(self.console, f"{job}: {seconds:.1f} s{share}")

    def conclude(self) -> None:
        """Say why the pass ended before all was done, if it did."""
        if self.failed:
            job, reason = next(iter(self.failed.items()))
            raise RunError(f"{len(self.failed)} cells could not be trained; {job}: {reason}")
        if self.stopped and not self.finished:
            raise RunError(f"The time is too short for one cell: {self.stopped}.")
        if self.stopped:
            _say(self.console, f"Stopped: {self.stopped}. The same command goes on from here.")


@contextmanager
def _interrupted_at(deadline: float) -> Iterator[None]:
    """Raise KeyboardInterrupt in the main thread at the deadline (of `time.monotonic`)."""
    timer = threading.Timer(min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX), interrupt_main)
    timer.daemon = True
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:  # as a script's `command &` is started; the timer would then do nothing
        signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if before is signal.SIG_IGN:
            signal.signal(signal.SIGINT, before)


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)
