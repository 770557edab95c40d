"""A pool of processes that train cells, one thread each; a process that dies costs its cell only."""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

import torch

from cladec_companion.engine.runner import Measured, Order, Workplace, one_thread
from cladec_core import training
from cladec_core.errors import RunError, UsageError
from cladec_core.explainer import intake
from cladec_core.training import Interrupted, loop

BASE_BYTES = 900_000_000  # of a process that has imported torch and trains a small network
MEMORY_SHARE = 0.8  # of what is free, for all workers together
EXPECTED = (RunError, UsageError, ImportError)  # failures of the machine, the data or the parameters
SECONDS_TO_END = 30.0  # for a worker that was asked to stop: a step of a large training, and writing its state
Progress = Callable[[int, str, int, int, float], None]  # worker, label, steps done, steps in all, loss
Kept = Callable[[Order, str, int], None]  # cell; label and seed of a network that others can have now


@dataclass(frozen=True)
class Failure:
    """Why a cell was not trained.

    Attributes
    ----------
    reason
        In one line.
    no_data
        Whether the data set could not be loaded, so that no other cell of it can be trained either.
    mistake
        What Python says of a mistake in the program; else empty.
    """

    reason: str
    no_data: bool = False
    mistake: str = ""


Outcome = Measured | Failure


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    lifeline: Connection  # nothing is ever sent: the worker ends when this end is gone
    order: Order | None = None

    def forget(self) -> None:
        """Close what leads to a process that has ended."""
        self.connection.close()
        self.lifeline.close()


class Pool:
    """Processes that are given one cell at a time.

    Where the system can, they are forked from one process that has imported what all of them need.

    Parameters
    ----------
    count
        How many.
    data_dir
        Folder of data sets.
    progress, kept
        Called with what the trainings report, and when a network is there that several cells need.
    """

    def __init__(self, count: int, data_dir: Path | str | None, progress: Progress, kept: Kept) -> None:
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        self._context = multiprocessing.get_context("forkserver" if forks else "spawn")
        self._context.set_forkserver_preload([__name__, "torch._dynamo"])  # an optimiser imports the second
        self._data_dir, self._progress, self._kept = data_dir, progress, kept
        self._workers = [self._started() for _ in range(count)]

    def _started(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        their_end, lifeline = self._context.Pipe(duplex=False)
        given = theirs, their_end, self._data_dir, dict(os.environ)
        # Every context has processes; the class that they share declares none.
        process = self._context.Process(target=_work, args=given, daemon=True)  # type: ignore[attr-defined]
        with _without_interrupts():
            process.start()
        theirs.close()
        their_end.close()
        return _Worker(process, ours, lifeline)

    @property
    def free(self) -> int:
        """How many workers wait for a cell."""
        return sum(worker.order is None for worker in self._workers)

    @property
    def busy(self) -> list[Order]:
        """The cells that are being trained."""
        return [worker.order for worker in self._workers if worker.order]

    def give(self, order: Order) -> None:
        """Let a free worker train a cell."""
        place = next(place for place, worker in enumerate(self._workers) if worker.order is None)
        if not self._workers[place].process.is_alive():  # killed while it waited, such as for lack of memory
            self._replace(place)
        worker = self._workers[place]
        worker.order = order
        with suppress(OSError):  # a worker that has died since is found by `finished`
            worker.connection.send(order)

    def finished(self, timeout: float) -> list[tuple[Order, Outcome]]:
        """Wait until a cell is trained or lost, at most so many seconds."""
        ended: list[tuple[Order, Outcome]] = []
        busy = {worker.connection: place for place, worker in enumerate(self._workers) if worker.order}
        for connection in cast(list[Connection], wait(list(busy), timeout)):
            place = busy[connection]
            worker = self._workers[place]
            order = worker.order
            assert order is not None
            try:
                kind, *content = worker.connection.recv()
            except (EOFError, OSError):
                worker.process.join(SECONDS_TO_END)
                ended.append((order, Failure(f"its process ended ({_why(worker.process.exitcode)})")))
                self._replace(place)
                continue
            if kind == "progress":
                self._progress(place, *content)
            elif kind == "kept":
                self._kept(order, *content)
            if kind != "ended":
                continue
            ended.append((order, content[0]))
            worker.order = None
        return ended

    def _replace(self, place: int) -> None:
        self._workers[place].forget()
        self._workers[place] = self._started()

    def close(self) -> None:
        """End all workers, and with them the cells that they are at; trainings keep their states for the next time."""
        for worker in self._workers:
            with suppress(OSError):
                worker.connection.send(None)
        last = time.monotonic() + SECONDS_TO_END
        for worker in self._workers:
            worker.process.join(max(0.1, last - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
            worker.forget()


@contextmanager
def pool(count: int, data_dir: Path | str | None, progress: Progress, kept: Kept) -> Iterator[Pool]:
    """A pool for a block; its processes end with the block, however that ends."""
    made = Pool(count, data_dir, progress, kept)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let a process that is started in the block never see Ctrl-C, which goes to all: its parent ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # the start of this helper would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _why(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}, perhaps for lack of memory"
    return f"exit code {code}"


def _work(
    connection: Connection, lifeline: Connection, data_dir: Path | str | None, environment: Mapping[str, str]
) -> None:
    """What a worker does: one cell after the other, until the other end of the connection is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where the parent could not see to it
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    os.environ.clear()  # a fork has that of the first pool
    os.environ.update(environment)
    loop.progress_bar = _reporting(connection)

    def told(label: str, seed: int) -> None:
        with suppress(OSError):
            connection.send(("kept", label, seed))

    # While a cell is trained, all that can come is the word to stop, or the end of the connection.
    with one_thread(), suppress(EOFError, OSError, Interrupted):
        workplace = Workplace(training.compute("cpu"), data_dir, interrupt=connection.poll, told=told)
        while order := connection.recv():
            connection.send(("ended", measured(workplace, order)))


def measured(workplace: Workplace, order: Order) -> Outcome:
    """Train one cell; whatever goes wrong is told, not raised."""
    try:
        workplace.prepare([order])
    except EXPECTED as error:
        return Failure(first_line(error), no_data=not isinstance(error, ImportError))
    except Exception as error:
        return Failure(first_line(error), mistake="".join(traceback.format_exception(error)))
    try:
        return workplace.measure([order])[0]
    except Interrupted:
        raise
    except Exception as error:
        workplace.runs.clear()
        known = isinstance(error, EXPECTED) or is_full(error)
        return Failure(first_line(error), mistake="" if known else "".join(traceback.format_exception(error)))


def first_line(error: Exception) -> str:
    """What an error says first; the name of its kind if it says nothing."""
    return str(error).partition("\n")[0] or ("out of memory" if is_full(error) else type(error).__name__)


def is_full(error: Exception) -> bool:
    """Whether an error says that memory ran out."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _end_with(lifeline: Connection) -> None:
    """End this process soon after its parent: two must never train into one record.

    A training ends by itself as soon as it sees that the parent is gone, and keeps its state; other work does not.
    """
    with suppress(EOFError, OSError):
        lifeline.recv()
    time.sleep(SECONDS_TO_END)
    os._exit(1)


def _reporting(connection: Connection) -> Any:
    """Make what stands in the place of `training.progress_bar`: messages to the parent, at most two a second."""

    @contextmanager
    def bar(label: str, steps: int, _enabled: bool = True) -> Iterator[Callable[[int, float], None]]:
        done, told = 0, 0.0

        def update(count: int, loss: float) -> None:
            nonlocal done, told
            done += count
            if done >= steps or time.monotonic() - told > 0.5:
                told = time.monotonic()
                with suppress(OSError):
                    connection.send(("progress", label, done, steps, loss))

        yield update

    return bar


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def affordable(wanted: int | None, needs: Sequence[float], tasks: int) -> tuple[int, str]:
    """How many workers there is memory for.

    Parameters
    ----------
    wanted
        Asked for; None: one for each core.
    needs
        Bytes of the trainings.
    tasks
        How many cells are waiting: more workers than cells would idle.

    Returns
    -------
    count
        At least 1.
    said
        Why there are fewer than wanted; else empty.
    """
    count = min(wanted or cores(), max(tasks, 1))
    each = BASE_BYTES + max(needs, default=0.0)
    fits = max(1, int(MEMORY_SHARE * intake.free_memory(torch.device("cpu")) / each))
    if fits < count:
        return fits, f"{fits} workers, not {count}: each may need {each / 1e9:.1f} GB"
    return count, ""
