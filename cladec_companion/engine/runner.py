"""The driver of every experiment: which cells are missing, train them, put each into the record."""

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from cladec_companion.engine.code import training_code
from cladec_companion.engine.models import Jobs, Models, side_by_side
from cladec_companion.engine.plan import Cell, Experiment, plan
from cladec_companion.engine.setup import Setup
from cladec_companion.records.cells import Conditions, Cost, Misfit
from cladec_companion.records.files import BUILT, locked, model_cache
from cladec_companion.records.record import Record, folder_of, open_record
from cladec_companion.records.settings import Settings
from cladec_core import data, training
from cladec_core.data import ImageData

Rows = list[dict[str, Any]]
Samples = dict[str, np.ndarray]
# A cell says which networks it needs, is given them trained, and returns what it measured.
CellRun = Generator[list[Any], list[Any], tuple[Rows, Samples]]


def run(
    experiment: Experiment,
    settings: Settings,
    *,
    root: Path | None = None,
    data_dir: Path | str | None = None,
    device: str = "auto",
    progress: bool = True,
    deadline: float = float("inf"),
    report: Callable[[str], None] = lambda line: None,
) -> Record:
    """Train the cells that are missing in a record, and return the record.

    Parameters
    ----------
    experiment, settings
        A chapter and its checked configuration.
    root
        Folder of records; the default is `build/results`, or `$CLADEC_RESULTS`.
    data_dir
        Folder of data sets (see `data.load`).
    device
        See `training.compute`.
    progress
        Show progress bars.
    deadline
        `time.monotonic()` after which no further cell is begun.
    report
        Called with one line per finished cell.

    Raises
    ------
    UsageError, RunError
        See the modules that raise them. What was finished before stays in the record.
    """
    root = root or default_root()
    record = open_record(settings, root)
    if not missing(experiment, settings, record):
        return record
    alone = training.compute(device).device.type == "cpu"
    with one_thread() if alone else nullcontext(), locked(folder_of(settings, root)):
        on = training.compute(device)
        workplace = Workplace(on, data_dir, progress)
        record = open_record(settings, root, conditions_of(on))
        for cell in missing(experiment, settings, record):
            if time.monotonic() > deadline:
                break
            order = order_of(experiment, settings, cell, record)
            workplace.prepare([order])
            (measured,) = workplace.measure([order])
            keep(record, order, measured)
            report(f"{cell}: {measured.cost.seconds:.0f} s")
    return record


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread for a block: then no result depends on how many cores there are.

    That includes the matrix products of NumPy and SciPy, such as those of a linear probe.
    """
    import scipy.linalg  # noqa: F401 - its BLAS must be there to be limited

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def default_root() -> Path:
    """Where records of this machine go: `$CLADEC_RESULTS`, or `build/results`."""
    return Path(os.environ.get("CLADEC_RESULTS") or BUILT)


def set_aside(settings: Settings, root: Path, on: training.Compute) -> Path | None:
    """Move away a record that cannot be continued here: of other training code, precision or number of threads.

    Returns
    -------
    Path or None
        Where the record is now; None if it can be continued, or there is none.
    """
    folder = folder_of(settings, root)
    with locked(folder):
        try:
            open_record(settings, root, conditions_of(on))
        except Misfit:
            place = folder.with_name(f".{folder.name}-{time.strftime('%Y%m%d-%H%M%S')}")
            folder.rename(place)
            return place
    return None


def conditions_of(on: training.Compute) -> Conditions:
    """What the numbers of a training depend on beside its parameters."""
    threads = torch.get_num_threads() if on.device.type == "cpu" else 0
    precision = str(on.dtype).removeprefix("torch.")
    return Conditions(on.device.type, precision, threads, training_code()[:32], on.description)


def missing(experiment: Experiment, settings: Settings, record: Record) -> list[Cell]:
    """The cells of a configuration that its record lacks."""
    return [cell for cell in plan(experiment, settings) if str(cell) not in record.cells]


@dataclass(frozen=True)
class Order:
    """A cell to be trained, with what a process needs for that."""

    experiment: Experiment
    settings: Settings
    cell: Cell
    keep_samples: bool


@dataclass(frozen=True)
class Measured:
    """What a cell found: rows, images, what it cost, seconds of each training, and which classifiers it explains.

    `states` are files that have done their work when the cell is in the record.
    """

    rows: Rows
    samples: Samples
    cost: Cost
    trainings: dict[str, float]
    classifiers: dict[str, str]
    states: list[Path]


@dataclass
class Workplace:
    """Where cells are trained: a device, a folder of data, and the networks of the runs that are at work.

    `interrupt` is asked between the steps of a training; True ends it with its state kept. `told` is called with
    label and seed of each network that other cells may need, when it is trained or loaded.
    """

    on: training.Compute
    data_dir: Path | str | None = None
    progress: bool = False
    interrupt: Callable[[], bool] | None = None
    told: Callable[[str, int], None] = lambda label, seed: None
    runs: dict[tuple[Any, ...], tuple[Setup, Models]] = field(default_factory=dict)

    def prepare(self, orders: Sequence[Order]) -> None:
        """Load the images of some cells of one data set, and forget all networks of other runs."""
        places = [(order.settings, order.cell.run) for order in orders]
        self.runs = {place: self.runs[place] for place in places if place in self.runs}
        for place, order in zip(places, orders, strict=True):
            if place not in self.runs:
                settings, cell = order.settings, order.cell
                limits = (settings.resize, settings.train_limit, settings.test_limit)
                images = _data(cell.dataset, self.data_dir, *limits, self.on.device)
                setup = Setup(images, cell.architecture, cell.seed, settings, self.on, data_dir=self.data_dir)
                self.runs[place] = setup, Models(model_cache(), self.progress, self.interrupt, self.told, cell.seed)

    def measure(self, orders: Sequence[Order]) -> list[Measured]:
        """Train prepared cells of different runs, side by side if there are several; their time is shared equally."""
        began, cpu_began = time.perf_counter(), time.process_time()
        places = [self.runs[order.settings, order.cell.run] for order in orders]
        for _, models in places:
            models.begin()
        found = side_by_side([
            cell_jobs(_asking(order, setup), models) for order, (setup, models) in zip(orders, places, strict=True)
        ])  # fmt: skip
        count = len(orders)
        cost = Cost((time.perf_counter() - began) / count, (time.process_time() - cpu_began) / count)
        return [
            Measured(
                rows,
                samples,
                cost,
                {label: round(took / count, 2) for label, took in models.seconds.items()},
                models.classifiers,
                models.states,
            )
            for (rows, samples), (_, models) in zip(found, places, strict=True)
        ]


def order_of(experiment: Experiment, settings: Settings, cell: Cell, record: Record) -> Order:
    """All images of a run are of one seed, whichever seeds are added later."""
    return Order(experiment, settings, cell, cell.seed == _shown(cell, settings, record))


def keep(record: Record, order: Order, measured: Measured) -> None:
    """Put what a cell found into its record."""
    cell = order.cell
    axes = {"dataset": cell.key, "architecture": cell.architecture, "layer": str(cell.part), "seed": cell.seed}
    samples = {f"{cell.prefix}/{name}": array for name, array in measured.samples.items()}
    samples[f"{cell.prefix}/seed"] = np.array(_shown(cell, order.settings, record))
    rows = [axes | row for row in measured.rows]
    record.add(str(cell), rows, samples, measured.cost, measured.trainings, measured.classifiers)
    for state in measured.states:
        state.unlink(missing_ok=True)


def _shown(cell: Cell, settings: Settings, record: Record) -> int:
    return int(record.samples.get(f"{cell.prefix}/seed", settings.seeds[0]))


def _asking(order: Order, setup: Setup) -> CellRun:
    assert order.experiment.run_cell is not None
    return order.experiment.run_cell(setup, order.cell.part, order.keep_samples)


def cell_jobs(asking: CellRun, models: Models) -> Jobs[tuple[Rows, Samples]]:
    """Ask for the trainings of a cell, each once, send the cell its networks, and return what it measured."""
    wanted = next(asking)
    networks: dict[str, Any] = {}
    for one in wanted:
        if one.key not in networks:  # a cell may name one training twice
            networks[one.key] = yield from models.jobs(one)
    try:
        asking.send([networks[one.key] for one in wanted])
    except StopIteration as end:
        return end.value
    raise RuntimeError("a cell asks for its trainings once")


@lru_cache(maxsize=1)
def _data(
    name: str, data_dir: Path | str | None, resize: str, train: int | None, test: int | None, device: torch.device
) -> ImageData:
    return data.load(name, data_dir, resize=resize, train_limit=train, test_limit=test).to(device)
