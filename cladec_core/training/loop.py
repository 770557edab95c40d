"""ONE training loop for every training of the project.

The data set is a tensor on the device, a batch is an index into it. The step is the same code everywhere; on CUDA it is
recorded once as a graph and replayed, and several trainings can share the device.
"""

import copy
import ctypes
import math
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from cladec_core.errors import RunError
from cladec_core.training.devices import Compute, moved, random_numbers, repeatable
from cladec_core.training.graphs import captured
from cladec_core.training.guard import trusted
from cladec_core.training.history import Cost, History
from cladec_core.training.job import Job
from cladec_core.training.state import Interrupted, State
from cladec_core.training.step import Step

# The authors' program multiplies the learning rate by 0.1 after epochs 29 and 58 of 64 (reading C-25); for
# other lengths the same fractions of the steps.
DECAY_FRACTIONS = (29 / 64, 58 / 64)
BRANCHES = 8  # trainings side by side on one CUDA device


@contextmanager
def progress_bar(label: str, steps: int, enabled: bool = True) -> Iterator[Callable[[int, float], None]]:
    """Show a tqdm bar with the loss and the seconds left; it disappears when the training is done."""
    with tqdm(total=steps, desc=label, unit="step", leave=False, disable=not enabled, mininterval=0.5) as bar:

        def update(done: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
            bar.update(done)

        yield update


def fit(job: Job) -> History:
    """Train a model in place and leave it in eval mode.

    Returns
    -------
    History
        Mean training loss of each epoch; with the loss of each step, and what the training cost.

    Raises
    ------
    RunError
        If the loss of an epoch is not finite; the model is then of no use.
    Interrupted
        If the job's `interrupt` said so.
    """
    training = epochs(job)
    while True:
        try:
            next(training)
        except StopIteration as end:
            history: History = end.value
            return history


def fit_many(jobs: Sequence[Job], *, branches: int | None = None) -> list[History]:
    """Train several models side by side on CUDA, each bit for bit what `fit` alone makes of it.

    Each training has a stream, a graph and random numbers of its own; this one thread hands them their epochs in
    turn. Where memory runs out, fewer are trained at once, and a warning says so. On a CPU they would only contend,
    so they are trained one after the other.

    Parameters
    ----------
    jobs
        No two share weights that are trained.
    branches
        At most so many at once; None: `BRANCHES` on CUDA, 1 on a CPU.

    Returns
    -------
    list of History
        What `fit` returns for each job.

    Raises
    ------
    RunError
        As `fit`.
    Interrupted
        As `fit`, once every training that had begun has ended or was interrupted, too.
    """
    if branches is None:
        branches = BRANCHES if any(job.on.device.type == "cuda" for job in jobs) else 1
    waiting = deque(enumerate(jobs))
    running: dict[int, tuple[Iterator[None], dict[str, Tensor]]] = {}
    histories: dict[int, History] = {}
    interrupted = None
    while waiting or running:
        while waiting and len(running) < branches:
            place, job = waiting.popleft()
            running[place] = epochs(job), copy.deepcopy(job.networks.state_dict())
        for place, (training, start) in list(running.items()):
            try:
                next(training)
            except StopIteration as end:
                histories[place] = end.value
            except Interrupted as interruption:
                interrupted = interruption
                waiting.clear()
            except torch.OutOfMemoryError:
                if len(running) == 1:
                    raise
                branches = len(running) // 2
                warnings.warn(f"out of memory; at most {branches} trainings at once from here on", stacklevel=2)
                jobs[place].networks.load_state_dict(start)
                waiting.appendleft((place, jobs[place]))
            else:
                continue
            del running[place], training
    if interrupted:
        raise interrupted
    return [histories[place] for place in range(len(jobs))]


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one; fresh pages cost ResNet-10 a tenth of its time on a CPU."""
    with suppress(OSError, AttributeError):  # another C library has other habits
        library = ctypes.CDLL(None)
        library.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD: larger tensors, such as data sets, are still given back
        library.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def epochs(job: Job) -> Generator[None, None, History]:
    """Train as `fit` does, and pause whenever work is queued, so that other trainings can queue theirs.

    Parameters
    ----------
    job
        The training.

    Returns
    -------
    generator
        Yields before each wait for the device; its return value is what `fit` returns.

    Raises
    ------
    RunError, Interrupted
        As `fit`.
    """
    _keep_freed_memory()
    history = History()
    with history.cost.counting():
        training = _Training(job, history)
    yield
    with progress_bar(job.label, training.steps * job.epochs, job.progress) as report:
        if history:
            report(training.done, history[-1])
        while not training.ended:
            before = training.done
            with history.cost.counting():
                training.run_epoch()
            yield
            with history.cost.counting():
                training.end_epoch()
            report(training.done - before, history[-1])
    with history.cost.counting():
        training.end()
    return history


class _Training:
    """One training: what happens between two pauses of the loop, and everything that a resumed one needs."""

    def __init__(self, job: Job, history: History) -> None:
        self.job, self.history = job, history
        moved(job.networks, job.on).train()
        self.file = State(job) if job.state else None
        self.count = len(job.inputs)
        recipes = [job.recipe, *([job.opponent.recipe] if job.opponent else [])]
        batches = job.opponent.steps if job.opponent else 1  # of a step
        size = min(job.batch_size, self.count // batches)
        self.steps = self.count // (batches * size)
        self.shape = (self.steps, batches, size)  # of the rows of an epoch
        rates = [learning_rates(recipe.learning_rate, self.steps * job.epochs) for recipe in recipes]
        self.rates = torch.stack(rates, 1).split(self.steps)
        self.order = torch.Generator().manual_seed(job.seed)
        self.before = self.order.get_state()  # where the permutation of the epoch is drawn from
        self.numbers = torch.Generator(job.on.device).manual_seed(job.seed)
        self.turn = _turns(self.numbers, job.on)
        self.place, self.ended = 0, False  # steps of this epoch that are done; whether there is another one
        with self.turn():
            self.step = Step(trusted(job), self.shape)
            self.run: Callable[[], None] = lambda: self.step.run(1)
            self.at_once = 1
            if job.on.graph:
                self.run, self.at_once = captured(self.step, self.steps, job.label)
        if self.file and (found := self.file.read()):
            self._restore(*found)

    @property
    def done(self) -> int:
        """Steps that are done."""
        return len(self.history.steps) + self.place

    def run_epoch(self) -> None:
        """Queue what is left of an epoch, unless the job interrupts it; keep the state where it is time."""
        self.before = self.order.get_state()
        rows = torch.randperm(self.count, generator=self.order)[: math.prod(self.shape)]
        with self.turn():
            self.step.begin_epoch(rows.view(self.shape), self.rates[len(self.history)], self.place)
        while self.place < self.steps:
            interrupted = self._run_some()
            if self.file and (interrupted or self.file.due()):
                self._keep()
            if interrupted:
                raise Interrupted(f"{self.job.label}: interrupted after {self.done} of {self._steps} steps")

    def _run_some(self) -> bool:
        """Queue steps up to the end of the epoch, the next time to keep the state, or an interruption: then True."""
        with self.turn():
            while self.place < self.steps:
                if self.job.interrupt is not None and self.job.interrupt():
                    return True
                self.run()
                self.place += self.at_once
                if self.file and self.file.due():
                    break
        return False

    def end_epoch(self) -> None:
        """Wait for the device, and look at the losses."""
        job = self.job
        with self.turn():  # the only wait for the device: once per epoch
            self.history.add_epoch(self.step.losses.tolist())
        self.place = 0
        loss, epoch = self.history[-1], len(self.history)
        if not math.isfinite(loss):
            if self.file:
                self.file.delete()
            raise RunError(
                f"{job.label}: the loss is {loss} after epoch {epoch} of {job.epochs} with learning "
                f"rate {job.recipe.learning_rate}; nothing of this training was kept."
            )
        self.ended = (job.stop is not None and job.stop(self.history)) or epoch == job.epochs

    def end(self) -> None:
        """Leave the model ready for use, and the file as the job wants it."""
        self.job.networks.eval()
        if self.file and self.job.keep_finished:
            self.before = self.order.get_state()
            self._keep()
        elif self.file:
            self.file.delete()

    @property
    def _steps(self) -> int:
        return self.steps * self.job.epochs

    def _tensors(self) -> dict[str, Tensor]:
        """What a step changes, by name: weights and statistics, the optimiser's state, the losses of this epoch."""
        found = dict([*self.job.networks.named_parameters(), *self.job.networks.named_buffers()])
        found = {f"networks.{name}": tensor for name, tensor in found.items()}
        for place, (optimiser, weight) in enumerate(self.step.optimised):
            for name, tensor in optimiser.state.get(weight, {}).items():
                found[f"optimiser.{place}.{name}"] = tensor
        return found | {"losses": self.step.losses}

    def _keep(self) -> None:
        assert self.file is not None
        facts = {
            "done": self.done, "steps": self._steps, "epoch": len(self.history), "place": self.place,
            "ended": self.ended, "wall": self.history.cost.wall, "cpu": self.history.cost.cpu,
        }  # fmt: skip
        past = torch.tensor(self.history.steps, dtype=torch.float64)
        numbers = {"history": past, "order": self.before, "numbers": self.numbers.get_state()}
        with self.turn():
            self.file.write(facts, self._tensors() | numbers)

    def _restore(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        for losses in tensors.pop("history").view(-1, self.steps).tolist():
            self.history.add_epoch(losses)
        self.place, self.ended = facts["place"], facts["ended"]
        self.history.cost += Cost(facts["wall"], facts["cpu"])
        self.order.set_state(tensors.pop("order"))
        self.numbers.set_state(tensors.pop("numbers"))
        with torch.no_grad(), self.turn():
            here = self._tensors()
            for name, tensor in tensors.items():
                if name in here:
                    here[name].copy_(tensor)
                else:  # the optimiser makes its state in its first step
                    _, place, part = name.split(".")
                    optimiser, weight = self.step.optimised[int(place)]
                    optimiser.state[weight][part] = tensor.to(self.job.on.device)


def _turns(numbers: torch.Generator, on: Compute) -> Callable[[], AbstractContextManager[None]]:
    """What surrounds each piece of a training: its random numbers, its stream, and the choice of algorithms."""
    stream = None
    if on.device.type == "cuda":
        stream = torch.cuda.Stream(on.device)
        stream.wait_stream(torch.cuda.current_stream(on.device))  # where the inputs are made

    @contextmanager
    def turn() -> Iterator[None]:
        on_stream = torch.cuda.stream(stream) if stream else nullcontext()
        with random_numbers(numbers), repeatable(on), on_stream:
            yield

    return turn


def learning_rates(rate: float, steps: int) -> Tensor:
    """The learning rate of each step, float64: multiplied by 0.1 at `DECAY_FRACTIONS`, but never before the first."""
    decays = {round(fraction * steps) for fraction in DECAY_FRACTIONS} - {0}
    rates = []
    for step in range(steps):
        rate *= 0.1 if step in decays else 1
        rates.append(rate)
    return torch.tensor(rates, dtype=torch.float64)
