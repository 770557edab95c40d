"""What a training tells when it is done: its losses, what it cost, and whether it would have gone on falling."""

import itertools
import math
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

WINDOWS = 100  # equal parts of a training over which losses are averaged before they are judged
FALL = 0.01  # of the mean loss: what falls by less over the last tenth of the steps has converged
STANDARD_ERRORS = 2.0  # a fall of fewer is noise


@dataclass
class Cost:
    """Time spent on some work.

    Attributes
    ----------
    wall, cpu
        Seconds by the clock, and seconds of all threads of this process. On a machine that does other work at the
        same time the second says what the work itself takes.
    """

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Add what a block takes."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.cpu + other.cpu)


class History(list[float]):
    """The mean loss of each epoch.

    Attributes
    ----------
    steps
        The loss of each step.
    cost
        What the training took; of one that was resumed, both parts together.
    """

    def __init__(self, means: Iterable[float] = ()) -> None:
        super().__init__(means)
        self.steps: list[float] = []
        self.cost = Cost()

    def add_epoch(self, losses: list[float]) -> None:
        """Add the losses of an epoch's steps."""
        self.steps += losses
        self.append(math.fsum(losses) / len(losses))


def windows(losses: list[float], count: int = WINDOWS) -> list[float]:
    """Means of the losses over equal parts of a training: `count` of them, or one for each step of a shorter one."""
    count = min(count, len(losses))
    ends = [round(part * len(losses) / count) for part in range(count + 1)] if count else [0]
    return [statistics.fmean(losses[low:high]) for low, high in itertools.pairwise(ends)]


def still_falling(history: History) -> bool:
    """Whether a training would have gone on: its loss still fell over the last tenth of the steps.

    A line is fitted to the mean losses of the last ten of 100 equal parts of the training (of a shorter training, of
    its last tenth of steps). The loss still falls if that line falls by more than 1 % of the mean loss there, and
    by more than two standard errors, so that noise between batches is no fall. Both numbers were chosen before any
    record was looked at. A tenth of fewer than three steps cannot tell, and counts as falling.
    """
    means = windows(history.steps)
    last = means[len(means) - round(len(means) / 10) :]
    if len(last) < 3:
        return True
    places = range(len(last))
    slope, intercept = statistics.linear_regression(places, last)
    scatter = math.sqrt(sum((y - slope * x - intercept) ** 2 for x, y in zip(places, last, strict=True)))
    centre = statistics.fmean(places)
    error = scatter / math.sqrt((len(last) - 2) * sum((x - centre) ** 2 for x in places))
    fall = -slope * len(last)
    return fall > FALL * abs(statistics.fmean(last)) and -slope > STANDARD_ERRORS * error
