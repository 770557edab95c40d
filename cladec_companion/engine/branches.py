"""Cells of several runs side by side: their trainings share the device, everything else comes one after the other."""

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

from cladec_core import training
from cladec_core.training import Job

Result = TypeVar("Result")
Train = Callable[[Job], list[float]]  # as `training.fit`


def alone(job: Job) -> list[float]:
    """One training by itself."""
    return training.fit(job)


def side_by_side(tasks: Sequence[Callable[[Train], Result]]) -> list[Result]:
    """Run tasks that train; the trainings for which they wait at the same time are given to `training.fit_many`.

    One task runs at a time, until it wants to train. So each gives what it gives alone: the random state and the
    device are never shared by two.

    Parameters
    ----------
    tasks
        Each is called with the function that does its trainings.

    Raises
    ------
    Exception
        Of the first task that fails, or of its training; all others are given up.
    """
    if len(tasks) == 1:
        return [tasks[0](alone)]
    moves: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    answers: list[SimpleQueue[Any]] = [SimpleQueue() for _ in tasks]
    wanted: dict[int, Job] = {}
    results: dict[int, Result] = {}

    def work(place: int) -> None:
        def train(job: Job) -> list[float]:
            moves.put(("wanted", job))
            return _taken(answers[place])

        try:
            _taken(answers[place])
            moves.put(("result", tasks[place](train)))
        except BaseException as error:  # raised again in the thread that waits for the move
            moves.put(("error", error))

    def turn(place: int, answer: Any) -> None:
        answers[place].put(answer)
        kind, value = moves.get()
        if kind == "error":
            raise value
        (wanted if kind == "wanted" else results)[place] = value

    for place in range(len(tasks)):
        threading.Thread(target=work, args=(place,), daemon=True).start()
    try:
        for place in range(len(tasks)):
            turn(place, None)
        while wanted:
            places, jobs = list(wanted), list(wanted.values())
            wanted.clear()
            for place, history in zip(places, training.fit_many(jobs), strict=True):
                turn(place, history)
    finally:
        for waiting in answers:
            waiting.put(_GivenUp())
    return [results[place] for place in range(len(tasks))]


class _GivenUp(BaseException):
    """Ends a task that waits after another has failed."""


def _taken(answers: "SimpleQueue[Any]") -> Any:
    answer = answers.get()
    if isinstance(answer, _GivenUp):
        raise answer
    return answer
