"""Trainings of decoders behind encoders: how long they are, in which rounds, and who does them."""

import copy
import math
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cladec_core import training
from cladec_core.explainer.protocol import PRACTICAL, Protocol
from cladec_core.networks import WIDTHS
from cladec_core.training import Compute, History, Job, Recipe
from cladec_core.training.guard import trusted

STEPS = 500  # of a round, as far as the number of epochs stays between these bounds
FEWEST_EPOCHS, MOST_EPOCHS = 6, 100
SMALLEST_BATCH, LARGEST_BATCH = 16, 128
VALUES_PER_STEP = 2**21  # in a batch, so that a training step fits into memory
FLAT = 0.01  # a loss that falls by less than this share in a round is flat
FEWEST_HELD_OUT, MOST_HELD_OUT = 16, 512
Loss = Callable[..., Tensor]
# Yields trainings, and is sent the mean losses of each one's epochs.
Trainings = Generator[list[Job], Sequence[History], None]


def drive(trainings: Trainings) -> None:
    """Train whatever is asked for, several trainings at a time side by side (`side_by_side`).

    Parameters
    ----------
    trainings
        As `ClaDec.trainings`.
    """
    with suppress(StopIteration):
        jobs = next(trainings)
        while True:
            jobs = trainings.send(side_by_side(jobs))


def side_by_side(jobs: Sequence[Job]) -> list[History]:
    """Train as `training.fit_many` does, but on a CPU each in a thread of its own with its share of the cores.

    Two trainings with a core each are done sooner than one after the other with both. Where networks draw random
    numbers (dropout), they take them from the one generator of the process, and have to follow one another.

    Parameters
    ----------
    jobs
        No two share weights that are trained.

    Returns
    -------
    list of History
        As of `training.fit_many`.

    Raises
    ------
    RunError
        As `training.fit`, once every training has ended or was interrupted.
    """
    threads = torch.get_num_threads()
    if min(len(jobs), threads) < 2 or any(job.on.device.type != "cpu" or _draws(job) for job in jobs):
        return training.fit_many(jobs)
    for job in jobs:
        trusted(job)  # whose comparison with float32 changes settings of the whole process, here and not in a thread
    stopped = threading.Event()
    stopping = [replace(job, interrupt=partial(_interrupted, stopped, job)) for job in jobs]
    with training.seeded(0), ThreadPoolExecutor(min(len(jobs), threads)) as pool:
        running = [pool.submit(_with_threads, max(1, threads // len(jobs)), job) for job in stopping]
        try:
            return [one.result() for one in running]
        finally:
            stopped.set()
            wait(running)
            torch.set_num_threads(threads)


def _with_threads(count: int, job: Job) -> History:
    torch.set_num_threads(count)  # of this thread
    return training.fit(job)


def _interrupted(stopped: threading.Event, job: Job) -> bool:
    return stopped.is_set() or (job.interrupt is not None and job.interrupt())


def _draws(job: Job) -> bool:
    """Whether a step of a training draws random numbers, as one on a copy of the model does."""
    some = job.inputs[:2]
    with torch.random.fork_rng([]), torch.no_grad():
        before = torch.get_rng_state()
        copy.deepcopy(job.model).train()(some.float() if some.is_floating_point() else some)  # codes may be bf16
        return not torch.equal(before, torch.get_rng_state())


def decoder_width(images: int, protocol: Protocol = PRACTICAL) -> int:
    """Choose the width of the decoder for so many images."""
    full = WIDTHS[protocol.style]
    return full if images >= protocol.narrow_below else full // 2


def held_out(images: int) -> int:
    """Choose how many of the images are not trained on: their loss says when to end."""
    return min(max(images // 10, FEWEST_HELD_OUT), MOST_HELD_OUT)


def plan(images: int, values: int, steps: int = STEPS) -> tuple[int, int, int]:
    """Choose the length of a round of training, by the data alone.

    Parameters
    ----------
    images, values
        How many there are, and how many values each of them has.
    steps
        About so many in all.

    Returns
    -------
    batch
        Images per step.
    epochs, steps
        Passes over the images, and steps in each.
    """
    batch = min(max(2 ** int(math.log2(max(1, images // 16))), SMALLEST_BATCH), LARGEST_BATCH)
    batch = min(batch, max(8, VALUES_PER_STEP // values), images)
    return batch, min(max(math.ceil(steps / (images // batch)), FEWEST_EPOCHS), MOST_EPOCHS), images // batch


@dataclass(frozen=True, eq=False)
class Training:
    """One training of a decoder behind an encoder, on all images but those held out, which are the last.

    Attributes
    ----------
    name
        Of the progress bar.
    encoder, decoder
        From standardised images to codes, and back.
    kept
        Bytes of the codes, if they are computed once; 0 if the encoder is run for each batch.
    loss, targets
        As of `training.Job`; the first of the targets are the images.
    order
        Seed of the order of the images.
    protocol, on, at_once
        How and where; images in a batch where nothing is trained.
    """

    name: str
    encoder: nn.Module
    decoder: nn.Module
    kept: int
    loss: Loss
    targets: tuple[Tensor, ...]
    order: int
    protocol: Protocol
    on: Compute
    at_once: int

    @property
    def held_out(self) -> int:
        """How many images are not trained on."""
        return held_out(len(self.targets[0])) if self.protocol.hold_out else 0

    @property
    def plan(self) -> tuple[int, int, int]:
        """What `plan` returns for the images that are trained on, where the protocol does not say otherwise."""
        images = len(self.targets[0]) - self.held_out
        batch, epochs, steps = plan(images, self.targets[0][0].numel())
        if self.protocol.batch_size is not None:
            batch = min(self.protocol.batch_size, images)
            steps = images // batch
        return batch, self.protocol.epochs or epochs, steps

    def job(self, epochs: int, progress: bool = False, codes: Tensor | None = None, budget: float = math.inf) -> Job:
        """Ask for the training; the activations are computed here, if they are kept.

        Parameters
        ----------
        epochs
            So many, within the budget.
        progress
            Show a progress bar.
        codes
            The activations of all images, where somebody has them.
        budget
            Seconds of training, after which no further epoch is begun.

        Returns
        -------
        Job
            It trains the modules of this object.
        """
        inputs = self._inputs(self.targets[0]) if codes is None else codes
        count = len(self.targets[0]) - self.held_out
        job = self._job(self.model, inputs, count, epochs)
        return replace(job, progress=progress, seed=self.order, stop=None if budget == math.inf else _spent(budget))

    def seconds_per_step(self) -> float:
        """Time two steps of a copy, after one that is not counted."""
        batch, trial = self.plan[0], copy.deepcopy(self.model)
        inputs = self._inputs(self.targets[0][: 2 * batch])
        for steps in (1, 2):
            began = time.perf_counter()
            training.fit(self._job(trial, inputs, steps * batch, epochs=1))
        return (time.perf_counter() - began) / 2

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        return self.decoder if self.kept else nn.Sequential(self.encoder, self.decoder)

    def _inputs(self, images: Tensor) -> Tensor:
        """What that is given for standardised images."""
        return training.apply(self.encoder, images, self.on, batch_size=self.at_once) if self.kept else images

    def _job(self, model: nn.Module, inputs: Tensor, count: int, epochs: int) -> Job:
        """A training on the first so many images."""
        targets = tuple(target[:count] for target in self.targets)
        return Job(
            model, inputs[:count], targets, self.loss, self.protocol.recipe, epochs=epochs, seed=0, on=self.on,
            batch_size=self.plan[0], label=self.name,
        )  # fmt: skip

    def loss_held_out(self) -> float:
        """Mean loss of the images held out."""
        rest = tuple(target[-self.held_out :] for target in self.targets)
        outputs = training.apply(self.model, self._inputs(rest[0]), self.on, batch_size=self.at_once).float()
        with torch.no_grad():
            return self.loss(outputs, *rest).item()


class Searched(Training):
    """A training that ends by the loss of half of the images held out: the first half, so that the other can judge it.

    Whatever decides which weights are kept has seen images that it cannot judge any more.
    """

    def loss_held_out(self) -> float:
        """Mean loss of the first half of the images held out."""
        deciding, _ = halves(self.held_out)
        rest = tuple(target[deciding] for target in self.targets)
        outputs = training.apply(self.model, self._inputs(rest[0]), self.on, batch_size=self.at_once).float()
        with torch.no_grad():
            return self.loss(outputs, *rest).item()


def halves(count: int) -> tuple[slice, slice]:
    """Find the two halves of the images held out, which are the last so many: what decides, and what judges."""
    return slice(-count, -(count // 2)), slice(-(count // 2), None)


def _spent(budget: float) -> Callable[[list[float]], bool]:
    """Whether a training has taken so many seconds, to be asked after each epoch."""

    def stop(history: list[float]) -> bool:
        return isinstance(history, History) and history.cost.wall >= budget

    return stop


@dataclass(eq=False)
class Course:
    """One training in rounds, until the loss of the images held out is flat.

    Each round goes through all learning rates, so that the losses at the ends of two rounds can be compared. In the
    middle of a round, while the learning rate is high, a loss can look flat that is far from its end.

    Attributes
    ----------
    training, progress
        What is trained, and whether to show progress bars.
    epochs, most
        Of a round, and rounds at most.
    budget
        Seconds; no epoch is begun after so many.
    done, spent
        Epochs and seconds so far.
    losses
        Of the images held out, if there are any, after each round. The weights are those of the best one.
    flat
        Whether the last round brought next to nothing.
    """

    training: Training
    progress: bool
    epochs: int
    most: int
    budget: float
    done: int = 0
    spent: float = 0.0
    losses: list[float] = field(default_factory=list)
    flat: bool = False
    _rounds: int = 0
    _best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether there is no further round."""
        return self.flat or self._rounds >= self.most or self.cut

    @property
    def cut(self) -> bool:
        """Whether the budget ended the training."""
        return self.spent >= self.budget

    def job(self) -> Job:
        """Ask for the next round, which has an order of its own."""
        asked = self.training.job(self.epochs, self.progress, budget=self.budget - self.spent)
        again = self._rounds
        return replace(asked, seed=training.derive_seed(asked.seed, "round", again)) if again else asked

    def keep_start(self) -> None:
        """Let the weights before the first round count as those of a round."""
        self.losses, self._best = [self.training.loss_held_out()], copy.deepcopy(self.training.model.state_dict())

    def add(self, history: History) -> None:
        """Note a round that is done, and go back to the weights before it if it did not help."""
        self.done, self.spent, self._rounds = self.done + len(history), self.spent + history.cost.wall, self._rounds + 1
        if not self.training.held_out:
            return
        model, loss = self.training.model, self.training.loss_held_out()
        best = min(self.losses, default=math.inf)
        self.flat = loss > (1 - FLAT) * best
        if loss < best or not self._best:
            self._best = {} if self.ended else copy.deepcopy(model.state_dict())
        else:
            model.load_state_dict(self._best)
        self.losses.append(loss)


def in_rounds(courses: Sequence[Course]) -> Trainings:
    """Ask for the rounds of some trainings, those of one turn together, until all have ended."""
    while waiting := [course for course in courses if not course.ended]:
        for course, history in zip(waiting, (yield [course.job() for course in waiting]), strict=True):
            course.add(history)


def judging(model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, on: Compute, **how: Any) -> Job:
    """Describe the training of an evaluation classifier: on reconstructions, with the true labels (reading C-10).

    Parameters
    ----------
    model
        The classifier, with fresh weights.
    images, labels
        Reconstructions (n, channels, height, width), and labels (n,) of what they are reconstructions of.
    recipe, on, how
        As of `training.Job`.
    """
    return Job(model, images, (labels,), training.classification_loss, recipe, on=on, **how)


def reconstruction(mean: bool) -> Loss:
    """The loss of a reconstruction: squared errors summed over pixels, or averaged."""
    return F.mse_loss if mean else training.reconstruction_loss
