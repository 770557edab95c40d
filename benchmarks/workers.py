"""Every core busy: one process with as many threads as there are cores, against as many processes with one thread.

The grid trains one cell in each of so many processes. Each process here is pinned to a core, and all begin at once.
"""

import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks import cell, ladder
from cladec_core import training

CELL = "whole cell"
MOST = 8  # processes


@dataclass(frozen=True)
class Setting:
    """One way to use the cores: which loop, in how many processes, with how many threads each."""

    loop: str
    processes: int
    threads: int


def cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def measure(
    steps: int, images: int, repeats: int, only: list[str] | None = None, width: float = 1.0
) -> Iterator[dict[str, Any]]:
    """Train in each setting in turns, one training after the other.

    Parameters
    ----------
    steps, images, width
        Steps and width as for `ladder.cases`; images of a whole cell.
    repeats
        Of which the median counts.
    only
        Names of cases; None: all, and a whole cell.

    Yields
    ------
    dict
        One row for each training and setting: images per second of all its processes together, CPU seconds for a
        thousand images, times the project's loop with all threads in one process, and times the plain loop in as
        many processes.
    """
    count = min(len(cores()), MOST)
    settings = [
        Setting("ours", 1, count), Setting("ours", 1, 1), Setting("ours", count, 1), Setting("plain", 1, count),
        Setting("plain", count, 1),
    ]  # fmt: skip
    settings = list(dict.fromkeys(settings))  # of a single core
    with _Pool(count, (steps, images, width)) as pool:
        for name in only or [*pool.names, CELL]:
            rates: dict[Setting, list[float]] = {setting: [] for setting in settings}
            cpu: dict[Setting, list[float]] = {setting: [] for setting in settings}
            for repeat in range(repeats + 1):  # the first one warms up
                for setting in settings:
                    found = pool.train(name, setting)
                    if repeat:
                        rates[setting].append(sum(done / wall for done, wall, _ in found))
                        cpu[setting].append(sum(spent for *_, spent in found) / sum(done for done, *_ in found))
            medians = {setting: statistics.median(found) for setting, found in rates.items()}
            for setting, rate in medians.items():
                yield {
                    "training": name, "loop": setting.loop, "processes": setting.processes, "threads": setting.threads,
                    "images_per_second": rate, "cpu_seconds_per_1000": 1000 * statistics.median(cpu[setting]),
                    "times_all_threads": rate / medians[settings[0]],
                    "times_plain": rate / next(
                        other for plain, other in medians.items()
                        if plain.loop == "plain" and plain.processes == setting.processes
                    ),
                }  # fmt: skip


class _Pool:
    """Processes that train on demand, all at the same moment."""

    def __init__(self, count: int, sizes: tuple[int, int, float]) -> None:
        processes = multiprocessing.get_context("spawn")
        self.connections: list[Connection] = []
        self.members = []
        for core in cores()[:count]:
            ours, theirs = processes.Pipe()
            member = processes.Process(target=_serve, args=(theirs, core, *sizes), daemon=True)
            member.start()
            theirs.close()  # so that the end of the process is seen
            self.connections.append(ours)
            self.members.append(member)
        for connection in self.connections:
            self.names: list[str] = connection.recv()  # the same ones from each

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.close()
        for member in self.members:
            member.join()

    def train(self, name: str, setting: Setting) -> list[tuple[int, float, float]]:
        """Images, seconds by the clock and CPU seconds of each process."""
        chosen = self.connections[: setting.processes]
        for connection in chosen:
            connection.send((name, setting))
        for connection in chosen:
            connection.recv()  # it has made its network
        for connection in chosen:
            connection.send("go")
        return [connection.recv() for connection in chosen]


def _serve(connection: Connection, core: int, steps: int, images: int, width: float) -> None:
    """Train what is asked for, until nobody asks any more."""
    every, on = cores(), training.compute("cpu")
    cases = {case.name: case for case in ladder.cases(on, steps, width=width)}
    connection.send(list(cases))
    begun: dict[tuple[str, str], Callable[[], int]] = {}
    while True:
        try:
            name, setting = connection.recv()
        except EOFError:
            return
        _use([core] if setting.threads == 1 else every, setting.threads)
        if (name, setting.loop) not in begun:
            begun[name, setting.loop] = _work(cases.get(name), setting.loop, on, images)
            begun[name, setting.loop]()
        connection.send("ready")
        connection.recv()
        cost = training.Cost()
        with cost.counting():
            done = begun[name, setting.loop]()
        connection.send((done, cost.wall, cost.cpu))


def _use(chosen: list[int], threads: int) -> None:
    torch.set_num_threads(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, chosen)


def _work(case: ladder.Case | None, loop: str, on: training.Compute, images: int) -> Callable[[], int]:
    """What trains for an epoch each time that it is called, and returns the number of images; None: a whole cell."""
    if case is None:
        task = cell.task(on, images)
        train = cell.ours if loop == "ours" else cell.simple

        def whole() -> int:
            train(*task, on)
            return 4 * images  # in as many trainings

        return whole
    count = len(case.inputs)
    epochs = ladder.ours(case, on, count) if loop == "ours" else case.plain(count)

    def epoch() -> int:
        next(epochs)
        return count

    return epoch
