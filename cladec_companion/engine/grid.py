"""Train the cells of a profile within a time: a plan first, then cell after cell into its record.

On a CPU, processes of one thread each train one cell at a time; on CUDA, a cell is trained for several seeds side by
side. A network that several cells need is trained by the first of them, while the others wait.
"""

import gc
import time
import traceback
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

from cladec_companion.engine import estimate, runner, workers
from cladec_companion.engine.estimate import Cost, Costs, Rates
from cladec_companion.engine.plan import PlannedCell
from cladec_companion.engine.runner import Measured, Order, Workplace
from cladec_companion.engine.workers import Failure
from cladec_companion.records.files import locked
from cladec_companion.records.record import Record, folder_of, open_record
from cladec_core import training
from cladec_core.errors import RunError, UsageError
from cladec_core.training import loop

SHOWN = 12  # rows of the live table


def plan_table(tasks: Sequence[PlannedCell], found: Costs, rates: Rates) -> Table:
    """By experiment: what is done and missing, and what that takes on one worker."""
    columns = ("experiment", "cells", "done", "missing", "trainings", "operations", "minutes")
    table = Table(*columns, caption="Networks only; what a cell measures and fits with them comes on top.")
    for name in dict.fromkeys(task.settings.experiment for task in tasks):
        own = [task for task in tasks if task.settings.experiment == name]
        waiting = [task for task in own if task in found]
        counts = [one.operations for task in waiting for one in found[task]]
        minutes = sum(estimate.seconds_of(task, found, rates) for task in waiting) / 60
        cost = str(len(counts)), estimate.with_unit(sum(counts)), f"{minutes:.1f}"
        table.add_row(name, str(len(own)), str(len(own) - len(waiting)), str(len(waiting)), *cost)
    return table


class Board:
    """A live table of trainings, the running ones last: loss, speed and share of the peak of a matrix product."""

    def __init__(self, peak: float) -> None:
        self.peak, self.title = peak, ""
        self.rows: dict[tuple[int, str], list[str]] = {}
        self.expected: dict[str, Cost] = {}  # by the label of a progress bar
        self._began: dict[tuple[int, str], tuple[float, int]] = {}

    def expect(self, costs: Sequence[Cost]) -> None:
        """Be ready for some trainings."""
        self.expected |= {cost.title: cost for cost in costs}

    def update(self, worker: int, label: str, done: int, steps: int, loss: float) -> None:
        """Tell what is known of a training."""
        now, place = time.perf_counter(), (worker, label)
        began, first = self._began.setdefault(place, (now, done))
        row = self.rows.setdefault(place, [label, "0%", "", "", ""])
        row[1:3] = f"{done / steps:.0%}", f"{loss:.4g}"
        if label in self.expected and now > began:
            speed = (done - first) * self.expected[label].batch_size / (now - began)
            row[3:] = f"{speed:,.0f}", f"{speed * self.expected[label].per_image / self.peak:.0%}"

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Make every progress bar of a training in this process a row of this table."""
        before, loop.progress_bar = loop.progress_bar, self.bar
        try:
            yield
        finally:
            loop.progress_bar = before

    @contextmanager
    def bar(self, label: str, steps: int, enabled: bool = True) -> Iterator[Callable[[int, float], None]]:
        """In the place of `training.progress_bar`: a row that tells what is known after each epoch."""
        done = 0
        self._began[0, label] = time.perf_counter(), 0

        def report(count: int, loss: float) -> None:
            nonlocal done
            done += count
            self.update(0, label, done, steps, loss)

        yield report

    def __rich__(self) -> Table:
        """What is drawn, several times a second."""
        table = Table("training", "done", "loss", "images/s", "of the peak", title=self.title)
        for row in list(self.rows.values())[-SHOWN:]:
            table.add_row(*row)
        return table


def grouped(waiting: Sequence[PlannedCell], branches: int) -> deque[list[PlannedCell]]:
    """Cells that differ in nothing but the seed, at most so many at once, in the order of the first of them."""
    alike: dict[Any, list[PlannedCell]] = {}
    for task in waiting:
        kind = (task.settings, task.cell.prefix, str(task.cell.part)) if branches > 1 else task
        alike.setdefault(kind, []).append(task)
    return deque(group[at : at + branches] for group in alike.values() for at in range(0, len(group), branches))


def train(
    tasks: Sequence[PlannedCell],
    root: Path,
    *,
    data_dir: Path | None = None,
    device: str = "auto",
    budget: float = float("inf"),
    count: int | None = None,
) -> None:
    """Train the missing cells, each into its record; prints the plan, a live table on a terminal, a line per cell.

    Parameters
    ----------
    tasks
        From `plan.of_profile`.
    root
        Folder of records.
    data_dir, device
        See `data.load` and `training.compute`.
    budget
        Seconds. A cell that is not expected to fit is not begun, and one that takes longer is given up.
    count
        Worker processes on a CPU, as far as the memory allows; None: one for each core.

    Raises
    ------
    RunError
        If a record cannot be opened or written; at the end, if cells could not be trained, or none fits the budget.
    """
    deadline, console = time.monotonic() + budget, Console()
    with ExitStack() as stack:
        on = training.compute(device)
        if on.device.type == "cpu":
            stack.enter_context(runner.one_thread())
        records = {
            settings: stack.enter_context(_opened(settings, on, root))
            for settings in dict.fromkeys(task.settings for task in tasks)
        }
        waiting = [task for task in tasks if str(task.cell) not in records[task.settings].cells]
        lacking = {task: f"the package {task.lacks} is not installed" for task in waiting if task.lacks}
        waiting = [task for task in waiting if task not in lacking]
        found = estimate.costs(waiting)
        rates, board = estimate.measured_rates(waiting, found, on), Board(estimate.matmul_peak(on))
        console.print(plan_table([task for task in tasks if task not in lacking], found, rates))
        for (name, reason), lost in Counter((task.settings.experiment, lacking[task]) for task in lacking).items():
            _say(console, f"{name}: {reason}, so its {lost} missing cells are left out")
        _say(console, f"{on.description}; {estimate.with_unit(board.peak)} operations/s in a matrix product")
        grid = _Grid(records, found, rates, board, console, deadline, failed=lacking)
        with board.shown(), Live(board, console=console, transient=True) if console.is_terminal else nullcontext():
            if on.device.type == "cpu":
                grid.train_by_workers(waiting, count, data_dir)
            else:
                place = Workplace(on, data_dir, interrupt=lambda: time.monotonic() > deadline)
                grid.train_here(grouped(waiting, training.BRANCHES), place)
        for settings, record in records.items():
            own = [str(task.cell) in record.cells for task in tasks if task.settings == settings]
            _say(console, f"{record.folder}: {sum(own)} of {len(own)} cells recorded")
    grid.conclude()


@contextmanager
def _opened(settings: Any, on: training.Compute, root: Path) -> Iterator[Record]:
    with locked(folder_of(settings, root)):
        yield open_record(settings, root, runner.conditions_of(on))


@dataclass
class _Grid:
    """One pass over the cells that are missing, and what became of them."""

    records: dict[Any, Record]
    found: Costs
    rates: Rates
    board: Board
    console: Console
    deadline: float
    finished: int = 0
    failed: dict[PlannedCell, str] = field(default_factory=dict)
    stopped: str = ""
    foreseen: float = 0.0
    spent: float = 0.0

    # ---- by processes, on a CPU

    def train_by_workers(self, waiting: Sequence[PlannedCell], wanted: int | None, data_dir: Path | None) -> None:
        """Give cell after cell to a pool of processes, until all are done or the time is over."""
        needs = [one.bytes for task in waiting for one in self.found[task]]
        count, why = workers.affordable(wanted, needs, len(waiting))
        if why:
            _say(self.console, why)
        if not waiting or not self._fits(waiting[:1]):
            return
        left: list[PlannedCell] = list(waiting)
        running: dict[int, PlannedCell] = {}
        there: set[str] = set()  # networks that several cells need

        def kept(order: Order, label: str, seed: int) -> None:
            there.add(self.found.shared[running[id(order)]].get((label, seed), ""))

        with workers.pool(count, data_dir, self.board.update, kept) as pool:
            while left or running:
                while pool.free and not self.stopped and (task := self._next(left, running, there)):
                    if not self._fits([task]):
                        break
                    left.remove(task)
                    order = self._order(task)
                    running[id(order)] = task
                    self.board.expect(self.found[task])
                    pool.give(order)
                if not running:
                    return
                if time.monotonic() > self.deadline:
                    first = next(iter(running.values()))
                    self.stopped = f"the time was over in {first}, which goes on from where it is"
                    return
                ended = pool.finished(min(1.0, max(0.0, self.deadline - time.monotonic())))
                for order, outcome in ended:
                    self._take(running.pop(id(order)), order, outcome, left)

    def _next(
        self, left: Sequence[PlannedCell], running: dict[int, PlannedCell], there: set[str]
    ) -> PlannedCell | None:
        """The first cell that needs no network which a running cell is about to train: nothing is trained twice."""
        shared = self.found.shared
        at_work = {key for task in running.values() for key in shared[task].values()} - there
        return next((task for task in left if at_work.isdisjoint(shared[task].values())), None)

    def _take(self, task: PlannedCell, order: Order, outcome: Measured | Failure, left: list[PlannedCell]) -> None:
        """Record a cell, or say why it is left out, and with it what is `left` of a data set that is not there."""
        if isinstance(outcome, Measured):
            runner.keep(self.records[task.settings], order, outcome)
            self._report(task, outcome.cost.seconds)
            return
        if outcome.mistake:  # a mistake in the program is not hidden
            raise RuntimeError(f"{task} failed in a worker:\n{outcome.mistake}")
        lost = [other for other in left if outcome.no_data and other.cell.dataset == task.cell.dataset]
        left[:] = [other for other in left if other not in lost]
        self._leave_out([task, *lost], outcome.reason)

    # ---- in this process, on CUDA

    def train_here(self, groups: deque[list[PlannedCell]], workplace: Workplace) -> None:
        """Train group after group side by side, until all are done or the time is over."""
        while groups and not self.stopped:
            group = groups.popleft()
            if not self._fits(group):
                break
            self.board.expect([one for task in group for one in self.found[task]])
            orders = [self._order(task) for task in group]
            try:
                workplace.prepare(orders)
            except (RunError, UsageError) as error:  # without its data, no cell of a data set can be trained
                lost = [group, *(other for other in groups if other[0].cell.dataset == group[0].cell.dataset)]
                groups = deque(other for other in groups if other not in lost)
                self._leave_out([task for other in lost for task in other], workers.first_line(error))
                continue
            try:
                measured = workplace.measure(orders)
            except training.Interrupted:
                self.stopped = f"the time was over in {group[0]}, which goes on from where it is"
            except Exception as error:
                self._lose(group, groups, error)
                workplace.runs.clear()
            else:
                for task, order, result in zip(group, orders, measured, strict=True):
                    runner.keep(self.records[task.settings], order, result)
                    self._report(task, result.cost.seconds)

    def _lose(self, group: list[PlannedCell], groups: deque[list[PlannedCell]], error: Exception) -> None:
        """Try the halves of a group that failed; a single cell is left out."""
        if not workers.is_full(error) and not isinstance(error, workers.EXPECTED):
            raise error
        traceback.clear_frames(error.__traceback__)  # they hold what fills the memory
        gc.collect()
        torch.cuda.empty_cache()
        reason, half = workers.first_line(error), len(group) // 2
        if half:
            groups.extendleft((group[half:], group[:half]))
            _say(self.console, f"{group[0]}: {reason}; not {len(group)} at once, but {half}")
        else:
            self._leave_out(group, reason)

    # ---- both

    def _order(self, task: PlannedCell) -> Order:
        return runner.order_of(task.experiment, task.settings, task.cell, self.records[task.settings])

    def _fits(self, group: Sequence[PlannedCell]) -> bool:
        pace = self.spent / self.foreseen if self.foreseen else 1.0
        need = sum(estimate.seconds_of(task, self.found, self.rates) for task in group) * pace
        left = self.deadline - time.monotonic()
        self.board.title = f"{group[0]}, {self.finished + len(self.failed)} of {len(self.found)} cells before it"
        if need < left:
            return True
        self.stopped = f"{group[0]} needs about {need / 60:.1f} minutes, {max(left, 0) / 60:.1f} are left"
        return False

    def _leave_out(self, lost: Sequence[PlannedCell], reason: str) -> None:
        self.failed |= dict.fromkeys(lost, reason)
        whom = "it is" if len(lost) == 1 else f"it and the {len(lost) - 1} cells of its data set that follow are"
        _say(self.console, f"{lost[0]}: {reason}; {whom} left out")

    def _report(self, task: PlannedCell, seconds: float) -> None:
        self.finished += 1
        alone = estimate.seconds_of(task, self.found, self.rates)
        self.foreseen += alone
        self.spent += seconds if alone else 0
        operations = sum(one.operations for one in self.found[task])
        share = f", {operations / seconds / self.board.peak:.0%} of the peak of a matrix product" if operations else ""
        _say(self.console, f"{task}: {seconds:.1f} s{share}")

    def conclude(self) -> None:
        """Say why the pass ended before all was done, if it did."""
        if self.failed:
            task, reason = next(iter(self.failed.items()))
            raise RunError(f"{len(self.failed)} cells could not be trained; {task}: {reason}")
        if self.stopped and not self.finished:
            raise RunError(f"The time is too short for one cell: {self.stopped}.")
        if self.stopped:
            _say(self.console, f"Stopped: {self.stopped}. The same command goes on from here.")


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)
