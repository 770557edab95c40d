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

import torch
from torch import Tensor
from tqdm import tqdm

from cladec_core.errors import RunError
from cladec_core.training.devices import Compute, random_numbers, repeatable
from cladec_core.training.graphs import captured
from cladec_core.training.job import Job
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


def fit(job: Job) -> list[float]:
    """Train a model in place and leave it in eval mode.

    Returns
    -------
    list of float
        Mean training loss of each epoch.

    Raises
    ------
    RunError
        If the loss of an epoch is not finite; the model is then of no use.
    """
    training = epochs(job)
    while True:
        try:
            next(training)
        except StopIteration as end:
            return end.value


def fit_many(jobs: Sequence[Job], *, branches: int | None = None) -> list[list[float]]:
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
    list of list of float
        What `fit` returns for each job.

    Raises
    ------
    RunError
        As `fit`.
    """
    if branches is None:
        branches = BRANCHES if any(job.on.device.type == "cuda" for job in jobs) else 1
    waiting = deque(enumerate(jobs))
    running: dict[int, tuple[Iterator[None], dict[str, Tensor]]] = {}
    histories: dict[int, list[float]] = {}
    while waiting or running:
        while waiting and len(running) < branches:
            place, job = waiting.popleft()
            running[place] = epochs(job), copy.deepcopy(job.model.state_dict())
        for place, (training, start) in list(running.items()):
            try:
                next(training)
            except StopIteration as end:
                histories[place] = end.value
            except torch.OutOfMemoryError:
                if len(running) == 1:
                    raise
                branches = len(running) // 2
                warnings.warn(f"out of memory; at most {branches} trainings at once from here on", stacklevel=2)
                jobs[place].model.load_state_dict(start)
                waiting.appendleft((place, jobs[place]))
            else:
                continue
            del running[place], training
    return [histories[place] for place in range(len(jobs))]


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one; fresh pages cost ResNet-10 a tenth of its time on a CPU."""
    with suppress(OSError, AttributeError):  # another C library has other habits
        library = ctypes.CDLL(None)
        library.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD: larger tensors, such as data sets, are still given back
        library.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def epochs(job: Job) -> Generator[None, None, list[float]]:
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
    RunError
        As `fit`.
    """
    _keep_freed_memory()
    model, on, count = job.model, job.on, len(job.inputs)
    model.to(on.device, memory_format=torch.channels_last).train()
    size = min(job.batch_size, count)
    steps = count // size
    rates = learning_rates(job.recipe.learning_rate, steps * job.epochs).split(steps)
    order = torch.Generator().manual_seed(job.seed)
    turn = _turns(job.seed, on)
    history: list[float] = []
    with turn():
        step = Step(job, (steps, size))
        run_steps = captured(step, steps, job.label) if on.graph else lambda: step.run(steps)
    yield
    with progress_bar(job.label, steps * job.epochs, job.progress) as report:
        for epoch in range(job.epochs):
            permutation = torch.randperm(count, generator=order)[: steps * size]
            with turn():
                step.begin_epoch(permutation.view(steps, size), rates[epoch])
                run_steps()
            yield
            with turn():  # the only wait for the device: once per epoch
                history.append(step.total.item() / steps)
            if not math.isfinite(history[-1]):
                raise RunError(
                    f"{job.label}: the loss is {history[-1]} after epoch {epoch + 1} of {job.epochs} with learning "
                    f"rate {job.recipe.learning_rate}; nothing of this training was kept."
                )
            report(steps, history[-1])
            if job.stop is not None and job.stop(history):
                break
    model.eval()
    return history


def _turns(seed: int, on: Compute) -> Callable[[], AbstractContextManager[None]]:
    """What surrounds each piece of a training: its random numbers, its stream, and the choice of algorithms."""
    numbers = torch.Generator(on.device).manual_seed(seed)
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
