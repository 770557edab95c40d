"""The whole grid of a profile: its cells in the order of training, what they cost, and training them within a time.

The order is that of the most evidence per second: data set by data set; for each, the paper's tables one after the
other, then the chapters that belong to none; in each, the first seed of everything before the second. So the cells
of a run stand together and share its classifier. On CUDA, a cell is trained for several seeds side by side.
"""

import gc
import signal
import threading
import time
import traceback
from _thread import interrupt_main
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.live import Live
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cladec_core import models, training
from cladec_core.data import SIZE
from cladec_core.errors import RunError, UsageError, one_of
from cladec_core.explainer import fitting, shapes
from companion import prototype_network
from companion.experiments import EXPERIMENTS, controls, encoder_training, subsets, your_own
from companion.experiments.layers import CLASSIFIER
from companion.experiments.runner import Cell, Trainer, opened, plan
from companion.settings import BASELINE, SETTINGS, last_convolution, settings_for
from companion.study import span

# The paper's tables -> experiment and network.
TABLES = {
    "table2": ("layers", "vgg11"), "table3": ("layers", "resnet10"),
    "table4": ("alpha", "vgg11"), "table5": ("alpha", "resnet10"), "table6": ("encoder_training", "vgg11"),
    "table7": ("occlusion", "vgg11"), "table8": ("occlusion", "resnet10"),
}  # fmt: skip
# Training images, channels and classes, so that a plan needs no data.
SIZES = {
    "digits": (1_437, 1, 10), "mnist": (60_000, 1, 10), "fashion_mnist": (60_000, 1, 10),
    "cifar10": (50_000, 3, 10), "cifar100": (50_000, 3, 100),
}  # fmt: skip
SHOWN = 12  # rows of the live table


@dataclass(frozen=True)
class Job:
    """A cell, and the configuration to whose record it belongs."""

    settings: Any
    cell: Cell

    def __str__(self) -> str:
        return f"{self.settings.experiment}/{self.cell}"

    @property
    def lacks(self) -> str:
        """The package that it needs and that is not installed; empty if there is none."""
        needs = EXPERIMENTS[self.settings.experiment].needs.get(str(self.cell.part), "")
        return needs if needs and find_spec(needs) is None else ""


def jobs(profile: str, only: str | None = None, changes: dict[str, Any] | None = None) -> list[Job]:
    """All cells of a profile, in the order of training.

    Parameters
    ----------
    profile
        One of `settings.PROFILES`.
    only
        An experiment, a table (`table2`...) or one cell (`layers/digits/vgg11/conv2/0`).
    changes
        Parameters; each goes to those experiments that have it.

    Raises
    ------
    UsageError
        For anything that does not exist.
    """
    name = only.partition("/")[0] if only else None
    if name:
        one_of("experiment or table", name, [*EXPERIMENTS, *TABLES])
    experiment, architecture = TABLES.get(name, (name, None))
    changes = ({"architectures": [architecture]} if architecture else {}) | (changes or {})
    chosen = [experiment] if experiment else list(EXPERIMENTS)
    parameters = {name: {item.name for item in fields(SETTINGS[name])} - {"profile"} for name in chosen}
    for name in changes:
        one_of("parameter", name, sorted(set().union(*parameters.values())))
    found = []
    for name in chosen:
        settings = settings_for(name, profile, **{key: changes[key] for key in changes if key in parameters[name]})
        found += [Job(settings, cell) for cell in plan(settings)]
    datasets, tables = list(dict.fromkeys(job.cell.dataset for job in found)), list(TABLES.values())

    def place(job: Job) -> tuple[int, int]:
        table = (job.settings.experiment, job.cell.architecture)
        return datasets.index(job.cell.dataset), tables.index(table) if table in tables else len(tables)

    found.sort(key=place)  # stable: what is alike stays in the order of `plan`
    if only and "/" in only:
        cells = [job for job in found if str(job) == only]
        if not cells:
            raise UsageError(f"No cell {only!r} in the profile; valid: what --list prints, such as {str(found[0])!r}.")
        return cells
    return found


# ---- what it costs


@dataclass(frozen=True)
class Training:
    """One training of a cell.

    Attributes
    ----------
    label, epochs
        The label is that of the record.
    layer
        Whose activations are turned into images; empty for a classifier.
    encoder, judged
        Whether the encoder is trained, too (RefAE), and whether a classifier is part of the loss (Eq. 1, α > 0).
    channels
        How many of the layer's; None for all.
    variant
        Which classifier, data or loss, where there are several.
    architecture, style
        Of the classifier and of the decoder, where they are not those of the cell.
    halved
        Whether only half of the images are trained on.
    prototypes
        How many a prototype network learns; 0 for all other networks.
    explainer
        Width of the decoder where it is `ClaDec`'s, which is trained in its own way; 0 elsewhere.
    """

    label: str
    epochs: int
    layer: str = ""
    encoder: bool = False
    judged: bool = False
    channels: int | None = None
    variant: str = ""
    architecture: str = ""
    style: str = ""
    halved: bool = False
    prototypes: int = 0
    explainer: int = 0


Costs = dict[Job, dict[Training, float]]  # operations of each training
Rates = dict[tuple[str, bool], float]  # (network, whether it makes images) -> operations per second


def trainings(job: Job) -> list[Training]:
    """What a cell trains, with the classifier to explain; those of `ClaDec` may end after fewer epochs."""
    settings, part = job.settings, job.cell.part
    layer = getattr(part, "layer", str(part))
    classifier = Training(CLASSIFIER, settings.classifier_epochs)
    decoder = Training(f"decoder {layer}", settings.decoder_epochs, layer, variant=str(classifier.epochs))
    reference = Training(f"RefAE {layer}", settings.decoder_epochs, layer, encoder=True)
    judges = {
        name: Training(f"evaluation {name} {layer}", classifier.epochs)
        for name in ("ClaDec", "RefAE", "cladec", "refae")
    }
    match settings.experiment:
        case "layers" | "occlusion" if part == CLASSIFIER:
            return [classifier]
        case "layers":
            return [classifier, decoder, reference, judges["ClaDec"], judges["RefAE"]]
        case "controls":
            return _controlled(job, classifier, decoder, reference, judges["ClaDec"], judges["RefAE"])
        case "prototypes":
            label = f"{part.prototypes} prototypes"
            return [classifier, decoder, Training(label, settings.prototype_epochs, prototypes=part.prototypes)]
        case "occlusion":
            return [classifier, decoder]
        case "alpha":
            label = decoder.label + (f" α={part.alpha}" if part.alpha else "")
            return [classifier, replace(decoder, label=label, judged=part.alpha > 0), judges["ClaDec"]]
        case "encoder_training" if part.batchnorm == encoder_training.REFERENCE:
            return [reference, judges["refae"]]
        case "encoder_training" if part.batchnorm == encoder_training.SLOW:
            return [replace(classifier, epochs=part.epochs, variant=part.batchnorm)]
        case "encoder_training" if part.epochs:
            decoder = replace(decoder, variant=str(part.epochs))
            return [replace(classifier, epochs=part.epochs), decoder, judges["cladec"]]
        case "encoder_training":
            return [replace(decoder, variant=part.batchnorm), judges["cladec"]]
        case "subsets" if part.subset == subsets.FLOORS:
            return [classifier]
        case "subsets":
            total = _channels(job.cell.architecture, settings.width)
            if part.size < total:
                label = f"{decoder.label} channels {span(part.channels(total, job.cell.seed))}"
                decoder = replace(decoder, label=label, channels=part.size)
            return [classifier, decoder]
        case "your_own":
            pair = (your_own.BIASED, your_own.HONEST)
            explained = [] if part == CLASSIFIER else [decoder, reference]
            width = fitting.decoder_width(_available(job))
            return [replace(classifier, variant=name) for name in pair] + [
                replace(model, variant=name, explainer=width) for name in pair for model in explained
            ]
    raise NotImplementedError(settings.experiment)


def _controlled(
    job: Job, classifier: Training, decoder: Training, reference: Training, *judges: Training
) -> list[Training]:
    """What a cell of `layers` trains, as a control changes it."""
    control = job.cell.part.control
    if control == BASELINE:
        return [classifier, decoder, reference, *judges]
    if control == controls.ORIGINALS:
        return [classifier, decoder, reference, replace(classifier, label=f"evaluation {controls.ORIGINALS}")]
    if control in controls.ALPHAS:
        decoder = replace(decoder, label=f"{decoder.label} α={controls.ALPHAS[control]}", judged=True)
    changes = {
        "variant": control, "halved": control in {"same_half", "other_half"},
        "architecture": controls.POOLED[job.cell.architecture] if control == "max_pooling" else "",
        "style": control if control == "table1" else "",
    }  # fmt: skip
    decoder, reference, *judges = (replace(part, **changes) for part in (decoder, reference, *judges))
    if control not in {"mean_loss", controls.SMALL_ALPHA, "table1"}:
        classifier = replace(classifier, **changes | {"variant": "unit" if control == "sigmoid" else control})
    twin = {"other_half": "same_half", controls.SMALL_ALPHA: "mean_loss"}.get(control)  # has the same RefAE
    return [classifier, decoder, replace(reference, variant=twin or control), *judges]


@cache
def _channels(architecture: str, width: float) -> int:
    return last_convolution(architecture, width)[1]


def costs(waiting: Sequence[Job]) -> Costs:
    """Operations of what each cell trains; a model that several cells share is counted with the first of them."""
    found: Costs = {}
    shared = set()
    for job in waiting:
        settings, parts = job.settings, trainings(job)
        alike = (settings.train_limit, settings.batch_size, settings.width, settings.decoder_style, settings.resize)
        new = [part for part in parts if (job.cell.run, alike, part) not in shared]
        shared |= {(job.cell.run, alike, part) for part in new if not part.label.startswith("evaluation")}
        found[job] = {part: per_image(job, part) * _images(job, part) * part.epochs for part in new}
    return found


def _available(job: Job) -> int:
    """How many training images there are."""
    return min(SIZES[job.cell.dataset][0], job.settings.train_limit or SIZES[job.cell.dataset][0])


def _images(job: Job, part: Training) -> int:
    """How many images an epoch uses: whole batches."""
    images = _available(job) // (2 if part.halved else 1)
    images -= fitting.held_out(images) if part.explainer else 0
    return images - images % min(_batch_size(job, part), images)


def _batch_size(job: Job, part: Training) -> int:
    if part.explainer:
        images = _available(job)
        return fitting.plan(images - fitting.held_out(images), SIZES[job.cell.dataset][1] * SIZE**2)[0]
    return job.settings.prototype_batch_size if part.prototypes else job.settings.batch_size


def per_image(job: Job, part: Training) -> float:
    """Operations of a training step per image (see `operations`)."""
    return operations(replace(part, label="", epochs=0, variant="", halved=False), *_network(job, part))


def _network(job: Job, part: Training) -> tuple[str, int, int, float, str]:
    settings, sizes = job.settings, SIZES[job.cell.dataset][1:]
    return part.architecture or job.cell.architecture, *sizes, settings.width, part.style or settings.decoder_style


def _kind(job: Job, part: Training) -> tuple[str, bool]:
    """What trainings of the same speed have in common: the network, and whether it makes images."""
    return ("prototypes", True) if part.prototypes else (_network(job, part)[0], bool(part.layer))


@cache
def operations(part: Training, architecture: str, channels: int, classes: int, width: float, style: str) -> float:
    """Floating-point operations of a training step per image, forward and backward.

    Those of convolutions and matrix products, counted on tensors without data; a multiplication and its addition
    are two. Passes of frozen encoders are left out.
    """
    batch = 2
    with torch.device("meta"):
        model, shape, loss = _task(part, architecture, channels, classes, width, style)
        images, labels = torch.zeros(batch, channels, SIZE, SIZE), torch.zeros(batch, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            loss(model.train()(torch.zeros(batch, *shape)), images, labels).backward()
    return counter.get_total_flops() / batch


def _task(
    part: Training, architecture: str, channels: int, classes: int, width: float, style: str
) -> tuple[nn.Module, tuple[int, ...], Callable[..., Tensor]]:
    """The model that is trained, the shape of what it is given, and its loss."""
    image = (channels, SIZE, SIZE)
    if part.prototypes:
        network = prototype_network.PrototypeNetwork(channels, classes, part.prototypes)
        compare = prototype_network.PrototypeLoss(network)
        return network, image, lambda output, images, labels: compare(output, labels)
    classifier = models.classifier(architecture, channels, classes, width)
    if not part.layer:
        return classifier, image, lambda output, images, labels: training.classification_loss(output, labels)
    encoder = classifier.up_to(part.layer)
    shape = models.activation_shape(encoder, channels)
    shape = (part.channels or shape[0], *shape[1:])
    decoder = (
        shapes.decoder(shape, channels, (SIZE, SIZE), part.explainer)
        if part.explainer
        else models.decoder(shape, channels, style)
    )
    loss = training.ClaDecLoss(classifier.eval().requires_grad_(False) if part.judged else None, 0.5)
    return (nn.Sequential(encoder, decoder), image, loss) if part.encoder else (decoder, shape, loss)


def measured_rates(found: Costs, on: training.Compute) -> Rates:
    """Time real training steps of each network, on images of noise."""
    rates: Rates = {}
    for job, counts in found.items():
        for part in counts:
            key = _kind(job, part)
            if key not in rates:
                rates[key] = per_image(job, part) / _seconds_per_image(job, part, on)
    return rates


def _seconds_per_image(job: Job, part: Training, on: training.Compute) -> float:
    batch, channels = _batch_size(job, part), SIZES[job.cell.dataset][1]

    def seconds(steps: int) -> float:
        with training.seeded(0):
            model, shape, loss = _task(part, *_network(job, part))
            inputs, images = (torch.randn(steps * batch, *size) for size in (shape, (channels, SIZE, SIZE)))
        inputs, images, labels = (
            tensor.to(on.device) for tensor in (inputs, images, torch.zeros(steps * batch, dtype=torch.int64))
        )
        recipe = training.ADAM if part.layer or part.prototypes else training.SGD
        began = time.perf_counter()
        trial = training.Job(
            model.to(on.device), inputs, (images, labels), loss, recipe, epochs=1, seed=0, on=on, batch_size=batch
        )
        training.fit(trial)
        return time.perf_counter() - began

    steps = 100 if on.device.type == "cuda" else 2
    seconds(steps)  # warms up
    short, long = seconds(steps), seconds(3 * steps)
    return max(long - short, long / 10) / (2 * steps * batch)  # without what happens once in a training


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


def seconds_of(job: Job, found: Costs, rates: Rates) -> float:
    """Seconds that the trainings of a cell are expected to take; 0 if other cells have trained all its models."""
    return sum(count / rates[_kind(job, part)] for part, count in found[job].items())


def plan_table(chosen: Sequence[Job], found: Costs, rates: Rates) -> Table:
    """By experiment: what is done and missing, and what that takes."""
    table = Table("experiment", "cells", "done", "missing", "trainings", "operations", "minutes")
    for name in dict.fromkeys(job.settings.experiment for job in chosen):
        own = [job for job in chosen if job.settings.experiment == name]
        waiting = [job for job in own if job in found]
        counts = [count for job in waiting for count in found[job].values()]
        minutes = sum(seconds_of(job, found, rates) for job in waiting) / 60
        cost = str(len(counts)), with_unit(sum(counts)), f"{minutes:.1f}"
        table.add_row(name, str(len(own)), str(len(own) - len(waiting)), str(len(waiting)), *cost)
    return table


def with_unit(number: float) -> str:
    """1.2e13 -> `12 T`."""
    power = max((power for power in range(7) if number >= 1000**power), default=0)
    return f"{number / 1000**power:.3g} {' kMGTPE'[power]}".strip()


# ---- training it


class Board:
    """A live table of trainings, the running ones last: loss, speed and share of the peak of a matrix product."""

    def __init__(self, peak: float) -> None:
        self.peak, self.rows, self.title = peak, [], ""
        self.expected: dict[str, tuple[int, float]] = {}  # images in a step, operations per image

    def expect(self, group: Sequence[Job], found: Costs, title: str) -> None:
        """Be ready for the trainings of some cells."""
        self.title = title
        self.expected = {
            f"{job.cell.dataset} {_network(job, part)[0]} {part.label}, seed {job.cell.seed}": (
                _batch_size(job, part), per_image(job, part)
            )
            for job in group
            for part in found[job]
        }  # fmt: skip

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Make every progress bar of a training a row of this table."""
        before, training.progress_bar = training.progress_bar, self.bar
        try:
            yield
        finally:
            training.progress_bar = before

    @contextmanager
    def bar(self, label: str, steps: int, _enabled: bool) -> Iterator[Callable[[int, float], None]]:
        """In the place of `training.progress_bar`: a row that tells what is known after each epoch."""
        row, done, began = [label, "0%", "", "", ""], 0, time.perf_counter()
        self.rows.append(row)

        def update(count: int, loss: float) -> None:
            nonlocal done
            done += count
            row[1:3] = f"{done / steps:.0%}", f"{loss:.4g}"
            if label in self.expected:
                batch, operations_per_image = self.expected[label]
                speed = done * batch / (time.perf_counter() - began)
                row[3:] = f"{speed:,.0f}", f"{speed * operations_per_image / self.peak:.0%}"

        yield update

    def __rich__(self) -> Table:
        """What is drawn, several times a second."""
        table = Table("training", "done", "loss", "images/s", "of the peak", title=self.title)
        for row in self.rows[-SHOWN:]:
            table.add_row(*row)
        return table


def grouped(waiting: Sequence[Job], branches: int) -> deque[list[Job]]:
    """Cells that differ in nothing but the seed, at most so many at once, in the order of the first of them."""
    alike: dict[Any, list[Job]] = {}
    for job in waiting:
        alike.setdefault((job.settings, job.cell.prefix, str(job.cell.part)) if branches > 1 else job, []).append(job)
    return deque(group[at : at + branches] for group in alike.values() for at in range(0, len(group), branches))


def train(
    chosen: Sequence[Job],
    root: Path,
    *,
    data_dir: Path | None = None,
    device: str = "auto",
    budget: float = float("inf"),
) -> None:
    """Train the missing cells, each into its record; prints the plan, a live table on a terminal, a line per cell.

    Parameters
    ----------
    chosen
        From `jobs`.
    root
        Folder of records.
    data_dir, device
        See `data.load` and `training.compute`.
    budget
        Seconds. A cell that is not expected to fit is not begun, and one that takes longer is given up.

    Raises
    ------
    RunError
        If a record cannot be opened or written; at the end, if cells could not be trained, or none fits the budget.
    """
    deadline = time.monotonic() + budget
    console, on = Console(), training.compute(device)
    with ExitStack() as stack:
        trainers = {
            settings: stack.enter_context(opened(settings, on, root, data_dir))
            for settings in dict.fromkeys(job.settings for job in chosen)
        }
        waiting = [job for job in chosen if str(job.cell) not in trainers[job.settings].record.cells]
        lacking = {job: f"the package {job.lacks} is not installed" for job in waiting if job.lacks}
        waiting = [job for job in waiting if job not in lacking]
        found = costs(waiting)
        rates, board = measured_rates(found, on), Board(matmul_peak(on))
        console.print(plan_table([job for job in chosen if job not in lacking], found, rates))
        for (name, reason), count in Counter((job.settings.experiment, lacking[job]) for job in lacking).items():
            _say(console, f"{name}: {reason}, so its {count} missing cells are left out")
        _say(console, f"{on.description}; {with_unit(board.peak)} operations/s in a matrix product")
        grid = _Grid(trainers, found, rates, board, console, deadline, failed=lacking)
        with board.shown(), Live(board, console=console, transient=True) if console.is_terminal else nullcontext():
            grid.train(grouped(waiting, training.BRANCHES if on.device.type == "cuda" else 1))
        for settings, trainer in trainers.items():
            own = [str(job.cell) in trainer.record.cells for job in chosen if job.settings == settings]
            _say(console, f"{trainer.record.folder}: {sum(own)} of {len(own)} cells recorded")
    grid.conclude()


@dataclass
class _Grid:
    """One pass over the cells that are missing, and what became of them."""

    trainers: dict[Any, Trainer]
    found: Costs
    rates: Rates
    board: Board
    console: Console
    deadline: float
    finished: int = 0
    failed: dict[Job, str] = field(default_factory=dict)
    stopped: str = ""
    foreseen: float = 0.0
    spent: float = 0.0

    def train(self, groups: deque[list[Job]]) -> None:
        """Train group after group, until all are done or the time is over."""
        while groups and not self.stopped:
            group = groups.popleft()
            cells, trainer = [job.cell for job in group], self.trainers[group[0].settings]
            if not self._fits(group):
                break
            try:
                trainer.prepare(cells)
            except RunError as error:  # without its data, no cell of a data set can be trained
                lost = [group, *(other for other in groups if other[0].cell.dataset == cells[0].dataset)]
                groups = deque(other for other in groups if other not in lost)
                self.failed |= {job: str(error) for other in lost for job in other}
                continue
            try:
                with _interrupted_at(self.deadline):
                    measured = trainer.measure(cells)
            except KeyboardInterrupt:
                if time.monotonic() < self.deadline:
                    raise
                self.stopped = f"{group[0]} took longer than expected and was given up"
            except (ImportError, MemoryError, RuntimeError) as error:
                self._lose(group, groups, error)
                trainer.studies.clear()
            else:
                for job, result in zip(group, measured, strict=True):
                    trainer.keep(job.cell, result)
                    self._report(job, result.seconds)

    def _fits(self, group: list[Job]) -> bool:
        pace = self.spent / self.foreseen if self.foreseen else 1.0
        need = sum(seconds_of(job, self.found, self.rates) for job in group) * pace
        left = self.deadline - time.monotonic()
        title = f"{group[0]}, {self.finished + len(self.failed)} of {len(self.found)} cells before it"
        self.board.expect(group, self.found, title)
        if need < left:
            return True
        self.stopped = f"{group[0]} needs about {need / 60:.1f} minutes, {max(left, 0) / 60:.1f} are left"
        return False

    def _lose(self, group: list[Job], groups: deque[list[Job]], error: Exception) -> None:
        """Try the halves of a group that failed; a single cell is left out."""
        full = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
        if not full and not isinstance(error, (RunError, ImportError)):
            raise error
        traceback.clear_frames(error.__traceback__)  # they hold what fills the memory
        gc.collect()
        torch.cuda.empty_cache()
        reason, half = str(error).partition("\n")[0] or "out of memory", len(group) // 2
        if half:
            groups.extendleft((group[half:], group[:half]))
            _say(self.console, f"{group[0]}: {reason}; not {len(group)} at once, but {half}")
        else:
            self.failed[group[0]] = reason
            _say(self.console, f"{group[0]}: {reason}; it is left out")

    def _report(self, job: Job, seconds: float) -> None:
        self.finished += 1
        alone = seconds_of(job, self.found, self.rates)
        self.foreseen += alone
        self.spent += seconds if alone else 0
        operations = sum(self.found[job].values())
        share = f", {operations / seconds / self.board.peak:.0%} of the peak of a matrix product" if operations else ""
        _say(self.console, f"{job}: {seconds:.1f} s{share}")

    def conclude(self) -> None:
        """Say why the pass ended before all was done, if it did."""
        if self.failed:
            job, reason = next(iter(self.failed.items()))
            raise RunError(f"{len(self.failed)} cells could not be trained; {job}: {reason}")
        if self.stopped and not self.finished:
            raise RunError(f"The time is too short for one cell: {self.stopped}.")
        if self.stopped:
            _say(self.console, f"Stopped: {self.stopped}. The same command goes on from here.")


@contextmanager
def _interrupted_at(deadline: float) -> Iterator[None]:
    """Raise KeyboardInterrupt in the main thread at the deadline (of `time.monotonic`)."""
    timer = threading.Timer(min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX), interrupt_main)
    timer.daemon = True
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:  # as a script's `command &` is started; the timer would then do nothing
        signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if before is signal.SIG_IGN:
            signal.signal(signal.SIGINT, before)


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)
