"""What cells cost: each is asked which trainings it needs, and these are counted without being done.

Networks are built on the meta device, which has shapes and no values; operations are counted there, and seconds
follow from some real steps of each kind of network on this device.
"""

import copy
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cladec_companion.engine.plan import Cell, PlannedCell
from cladec_companion.engine.setup import Setup
from cladec_companion.engine.trainings import Training
from cladec_companion.records.settings import Settings
from cladec_core import data, training
from cladec_core.data import SIZE, ImageData

PER_CLASS = 4  # images of each class that stand for all in a plan

Kind = tuple[str, bool]  # what trainings of the same speed have in common: the network, and whether it makes images


@dataclass(frozen=True)
class Cost:
    """What one training of a cell costs.

    Attributes
    ----------
    label, title
        As in the record, and as in the progress bar.
    kind
        What decides the speed.
    key, kept
        Tells trainings apart; whether cells that need the same one share it.
    seed
        Of the network, if that is not the cell's: cells of all seeds share it.
    images, batch_size, epochs
        Images of an epoch, in whole batches; images in a step; epochs.
    per_image
        Operations of a training step per image (see `operations`).
    bytes
        Memory that the training is given: images or activations, targets, and the weights with their gradients and
        the optimiser's state.
    """

    label: str
    title: str
    kind: Kind
    key: str
    kept: bool
    seed: int | None
    images: int
    batch_size: int
    epochs: int
    per_image: float
    bytes: int

    @property
    def operations(self) -> float:
        """Of the whole training."""
        return self.per_image * self.images * self.epochs


class Costs(dict[PlannedCell, list[Cost]]):
    """What each cell trains that no cell before it does.

    Attributes
    ----------
    shared
        Of each cell, the networks that others may need, too: label and seed -> key.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shared: dict[PlannedCell, dict[tuple[str, int], str]] = {}


Rates = dict[Kind, float]  # operations per second


def costs(tasks: Iterable[PlannedCell]) -> Costs:
    """What each cell trains; a network that several cells share is counted with the first of them."""
    found = Costs()
    counted: dict[tuple[Any, ...], list[Cost]] = {}
    shared: set[str] = set()
    built: dict[str, nn.Module] = {}
    priced: dict[str, Cost] = {}  # as for the first cell that needs the training
    for task in tasks:
        cell = task.cell
        alike = task.settings, cell.dataset, cell.architecture, cell.part  # no seed changes what a cell costs
        if alike not in counted:
            priced |= {wanted.key: _cost(task, wanted, job) for wanted, job in dry_run(task, built)}
            counted[alike] = [
                replace(priced[one.key], label=one.label, seed=_own_seed(one, cell))
                for one in _in_order(_asked(task))
                if one.key in priced
            ]
        seeds = [cell.seed if one.seed is None else one.seed for one in counted[alike]]
        own = {f"{one.key}/{seed}": one for one, seed in zip(counted[alike], seeds, strict=True)}
        named = zip(own, seeds, strict=True)
        found.shared[task] = {(own[key].label, seed): key for key, seed in named if own[key].kept}
        own = {key: replace(one, key=key) for key, one in own.items() if key not in shared}
        shared |= {key for key, one in own.items() if one.kept}
        found[task] = list(own.values())
    return found


def dry_run(task: PlannedCell, built: dict[str, nn.Module] | None = None) -> Iterator[tuple[Training, training.Job]]:
    """Every training of a cell, as the training loop would be asked for it, without values; nothing is computed.

    `built` holds networks by the keys of their trainings: those of other cells, of which nothing is told again, and
    afterwards those of this cell.
    """
    yield from _dry(_asked(task), {} if built is None else built)


def _asked(task: PlannedCell) -> list[Training]:
    assert task.experiment.run_cell is not None
    asking = task.experiment.run_cell(blank(task.cell.run, task.settings), task.cell.part, False)
    wanted = next(asking)
    asking.close()
    return wanted


def _in_order(asked: Iterable[Training]) -> list[Training]:
    """Trainings and those that they need, each once and after what it needs."""
    found: dict[str, Training] = {}
    for one in asked:
        found |= {other.key: other for other in _in_order(one.needs) if other.key not in found}
        found.setdefault(one.key, one)
    return list(found.values())


def _dry(asked: Iterable[Training], built: dict[str, nn.Module]) -> Iterator[tuple[Training, training.Job]]:
    for one in _in_order(asked):
        if one.key not in built:
            needed = [built[other.key] for other in one.needs]
            network = one.build(*needed)
            job = one.job(network, *needed)
            if job is not None:
                yield one, job
            built[one.key] = one.finish(network, *needed)


@lru_cache(maxsize=64)
def blank(run: tuple[str, str, int], settings: Settings) -> Setup:
    """The setup of a run with some images in the place of all."""
    dataset, architecture, seed = run
    kind = data.data_set(dataset)
    channels, classes = kind.channels or 3, len(kind.classes)
    labels = torch.arange(PER_CLASS * classes) % classes
    noise = torch.Generator().manual_seed(settings.train_limit or 0)  # other images where more are used
    images = torch.randn(len(labels), channels, SIZE, SIZE, generator=noise)
    one = torch.ones(channels, 1, 1)
    some = ImageData(dataset, kind.title, kind.classes, images, labels, images, labels, 0 * one, one)
    on = training.Compute(torch.device("meta"), torch.float32)
    return Setup(some, architecture, seed, settings, on, shapes_only=True)


def _cost(task: PlannedCell, wanted: Training, job: training.Job) -> Cost:
    kind = data.data_set(task.cell.dataset)
    available = min(kind.train_count, task.settings.train_limit or kind.train_count)
    images = available * len(job.inputs) // (PER_CLASS * len(kind.classes))
    batch = min(job.batch_size, images)
    weights = sum(value.numel() for value in job.networks.parameters() if value.requires_grad)
    tensors = {id(one): one for one in (job.inputs, *job.targets)}.values()
    rows = sum(one[0].numel() * (2 if one.is_meta else one.element_size()) for one in tensors)
    return Cost(
        wanted.label, job.label, (wanted.setup.architecture, wanted.makes_images), wanted.key, wanted.kept,
        _own_seed(wanted, task.cell),
        images - images % batch, batch, job.epochs, operations(job), images * rows + 16 * weights,
    )  # fmt: skip


def _own_seed(wanted: Training, cell: Cell) -> int | None:
    return None if wanted.setup.seed == cell.seed else wanted.setup.seed


_counted: dict[str, float] = {}


def per_image(wanted: Training) -> float:
    """Operations of a training step per image, of a training in a `blank` setup (see `operations`)."""
    return next(operations(job) for one, job in _dry([wanted], {}) if one is wanted)


def operations(job: training.Job) -> float:
    """Floating-point operations of a training step per image, forward and backward.

    Those of convolutions and matrix products, counted on tensors without data; a multiplication and its addition
    are two. Passes of frozen encoders are left out. An opponent learns from each image, the model from one batch in
    each of its own steps.
    """
    inputs = job.inputs[:2].to("meta")
    targets = [target[:2].to("meta") for target in job.targets]
    loss = type(job.loss).__name__, getattr(job.loss, "classifier", None)
    alike = repr((job.model, tuple(inputs.shape), loss, job.opponent))
    if alike not in _counted:
        with FlopCounterMode(display=False) as counter:
            job.loss(job.model.train()(inputs), *targets).backward()
        found: float = counter.get_total_flops()
        if job.opponent:
            with FlopCounterMode(display=False) as counter:
                with torch.no_grad():
                    output = job.model(inputs)
                job.opponent.loss(output, *targets).backward()
            found = found / job.opponent.steps + counter.get_total_flops()
        _counted[alike] = found / len(inputs)
    return _counted[alike]


def measured_rates(tasks: Sequence[PlannedCell], found: Costs, on: training.Compute) -> Rates:
    """Time real training steps of each kind of network, on images of noise."""
    rates: Rates = {}
    for task in tasks:
        for one in found[task]:
            if one.kind not in rates:
                job = next(job for wanted, job in dry_run(task) if wanted.label == one.label)
                rates[one.kind] = one.per_image / _seconds_per_image(job, on)
    return rates


def _seconds_per_image(planned: training.Job, on: training.Compute) -> float:
    shown = planned.batch_size * (planned.opponent.steps if planned.opponent else 1)  # images of a step

    def seconds(steps: int) -> float:
        job = _real(planned, steps * shown, on)
        began = time.perf_counter()
        training.fit(job)
        return time.perf_counter() - began

    steps = 100 if on.device.type == "cuda" else 2
    seconds(steps)  # warms up
    short, long = seconds(steps), seconds(3 * steps)
    # Without what happens once in a training.
    return max(long - short, long / 10) / (2 * steps * shown)


def _real(planned: training.Job, rows: int, on: training.Compute) -> training.Job:
    """A planned training with fresh weights, on noise, for one epoch."""
    model, loss, opponent = copy.deepcopy((planned.model, planned.loss, planned.opponent))
    inside = [value for value in getattr(loss, "__dict__", {}).values() if isinstance(value, nn.Module)]
    inside += [opponent.model] if opponent else []
    with training.seeded(0):
        for network in (model, *inside):
            network.to_empty(device=on.device)
            for module in network.modules():
                reset = getattr(module, "reset_parameters", None)
                if reset is not None:
                    reset()
        inputs, *targets = (_noise(tensor, rows, on) for tensor in (planned.inputs, *planned.targets))
    made = replace(planned, model=model, loss=loss, opponent=opponent, epochs=1, on=on)
    return replace(made, inputs=inputs, targets=tuple(targets))


def _noise(like: Tensor, rows: int, on: training.Compute) -> Tensor:
    shape = (rows, *like.shape[1:])
    made = torch.randn(shape) if like.is_floating_point() else torch.zeros(shape, dtype=like.dtype)
    return made.to(on.device)


def matmul_peak(on: training.Compute) -> float:
    """Operations per second of a large matrix product in the precision of `on`: the best of some."""
    size = 8192 if on.device.type == "cuda" else 2048
    first, second = (torch.randn(size, size, device=on.device, dtype=on.dtype) for _ in range(2))
    took = []
    for _ in range(6):
        began = time.perf_counter()
        (first @ second)[0, 0].item()  # waits for the device
        took.append(time.perf_counter() - began)
    return 2 * size**3 / min(took)


def seconds_of(task: PlannedCell, found: Costs, rates: Rates) -> float:
    """Seconds that the trainings of a cell are expected to take; 0 if other cells have trained all its networks."""
    return sum(one.operations / rates[one.kind] for one in found[task])


def with_unit(number: float) -> str:
    """1.2e13 -> `12 T`."""
    power = max((power for power in range(7) if number >= 1000**power), default=0)
    return f"{number / 1000**power:.3g} {' kMGTPE'[power]}".strip()
