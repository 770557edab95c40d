"""The ladder from the plain loop to the project's: one rung for each thing that is done differently."""

import copy
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch._dynamo  # the first optimiser would import it, at the expense of the loop that comes first
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain
from cladec_companion.engine.estimate import matmul_peak
from cladec_core import data, networks, training
from cladec_core.networks import Frozen
from cladec_core.training import Compute, Recipe, loop

DECODED = "conv3"
BRANCHES = 8
Epochs = Iterator[Any]  # each `next` trains for one epoch


@dataclass
class Case:
    """One training to be measured.

    Attributes
    ----------
    name
        For the table.
    model, inputs, targets, loss, recipe
        As for `training.fit`.
    plain
        Starts the plain loop of the same training on a number of images.
    """

    name: str
    model: nn.Module
    inputs: Tensor
    targets: tuple[Tensor, ...]
    loss: Callable[..., Tensor]
    recipe: Recipe
    plain: Callable[[int], Epochs]
    batch: int

    def operations(self) -> int:
        """Floating-point operations of one step of PyTorch's layers, forward and backward, of the model alone."""
        model = plain.stock(self.model).train()
        batch = [part[: self.batch] for part in (self.inputs.float(), *self.targets)]
        with FlopCounterMode(display=False) as counter:
            self.loss(model(batch[0]), *batch[1:]).backward()
        return counter.get_total_flops()

    def job(self, on: Compute, images: int, seed: int = 0, epochs: int = 10_000) -> training.Job:
        """A training on so many images, of a copy of the model."""
        return training.Job(
            copy.deepcopy(self.model), self.inputs[:images], tuple(target[:images] for target in self.targets),
            self.loss, self.recipe, epochs=epochs, seed=seed, on=on, batch_size=self.batch,
        )  # fmt: skip


def images_of(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """So many digits (repeated where there are not enough), with their labels."""
    digits = data.load("digits")
    rows = torch.arange(count) % len(digits.train_images)
    return digits.train_images[rows].to(device), digits.train_labels[rows].to(device)


def cases(on: Compute, steps: int, batch: int = training.BATCH_SIZE, width: float = 1.0) -> Iterator[Case]:
    """VGG-11, ResNet-10 and the decoder of a middle layer; ResNet-10, ten times slower, with a third of the steps."""
    images, labels = images_of(steps * batch, on.device)
    few = max(1, steps // 3) * batch
    at_home = images.cpu(), labels.cpu()  # where a DataLoader takes its batches from
    for architecture, count in (("vgg11", len(images)), ("resnet10", few)):
        with training.seeded(0):
            model = networks.classifier(architecture, 1, 10, width).to(on.device)

        def classify(images: int, model: nn.Module = model) -> Epochs:
            return plain.classifier(plain.stock(model), *(part[:images] for part in at_home), on.device, batch)

        yield Case(
            architecture, model, images[:count], (labels[:count],), training.classification_loss, training.SGD,
            classify, batch,
        )  # fmt: skip
        if architecture == "vgg11":
            explained = model.eval()
    encoder = Frozen(explained.up_to(DECODED))
    with training.seeded(0):
        decoder = networks.decoder(networks.activation_shape(encoder, images.shape[1:]), images.shape[1:]).to(on.device)

    def decode(images: int) -> Epochs:
        parts = plain.stock(decoder), plain.stock(explained).up_to(DECODED), plain.stock(explained)
        return plain.decoder(*parts, *(part[:images] for part in at_home), on.device, batch)

    yield Case(
        f"decoder of {DECODED}", decoder, training.apply(encoder, images, on), (images, labels),
        training.ClaDecLoss(None, 0.0), training.ADAM, decode, batch,
    )  # fmt: skip


def on_the_device(case: Case, on: Compute, images: int, channels_last: bool) -> Epochs:
    """The plain loop with the data (for a decoder: the activations) on the device, and no waiting in each step."""
    model = plain.stock(case.model).train()
    model.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    kind = torch.optim.SGD if case.recipe.optimiser == "sgd" else torch.optim.Adam
    extra = {"momentum": 0.9} if case.recipe.optimiser == "sgd" else {}
    optimiser = kind(
        model.parameters(), lr=case.recipe.learning_rate, weight_decay=case.recipe.weight_decay, **extra
    )  # fmt: skip
    inputs = case.inputs[:images].to(on.dtype)
    while True:
        total = torch.zeros((), device=on.device)
        for rows in torch.randperm(images)[: images // case.batch * case.batch].to(on.device).split(case.batch):
            batch = inputs[rows]
            if channels_last and batch.ndim == 4:
                batch = batch.contiguous(memory_format=torch.channels_last)
            with torch.autocast(on.device.type, on.dtype, enabled=on.dtype != torch.float32):
                loss = case.loss(model(batch).float(), *(target[rows] for target in case.targets))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach()
        yield total.item()


def ours(case: Case, on: Compute, images: int, branches: int = 1) -> Epochs:
    """The project's loop; several trainings at once are that many times the images."""
    trainings = [loop.epochs(case.job(on, images, seed)) for seed in range(branches)]
    for each in trainings:
        next(each)  # up to the first epoch
    while True:
        for each in trainings:
            next(each)
        yield None


def rungs(case: Case, on: Compute) -> dict[str, Callable[[int], Epochs]]:
    """Name -> start the loop on a number of images. Each rung keeps what the one before it has."""
    single = Compute(on.device, torch.float32)
    steps = replace(on, graph=False)
    found = {
        "plain loop": case.plain,
        "data on the device": lambda images: on_the_device(case, single, images, False),
        f"{'bf16' if on.dtype == torch.bfloat16 else 'float32'}, channels last": lambda images: on_the_device(
            case, on, images, True
        ),
        "the project's step": lambda images: ours(case, steps, images),
    }
    if on.device.type == "cuda":
        free = replace(on, deterministic=False)
        found |= {
            "graph": lambda images: ours(case, on, images),
            f"{BRANCHES} branches": lambda images: ours(case, on, images, BRANCHES),
            f"{BRANCHES} branches, not deterministic": lambda images: ours(case, free, images, BRANCHES),
        }
    return found


def measure(case: Case, on: Compute, repeats: int) -> Iterator[dict[str, Any]]:
    """Climb the ladder of one training.

    Yields
    ------
    dict
        One row for each rung: medians over interleaved repeats, and what one step needs. Memory is that of all
        tensors of a training on one batch, data set apart. The last column is about the project's loop.
    """
    images = len(case.inputs)
    operations = case.operations()
    starts = rungs(case, on)
    same = repeats_bit_for_bit(case, on)
    peak: list[float] = []
    seconds: dict[str, list[float]] = {name: [] for name in starts}
    needs = {name: _needs(start, case.batch, on) for name, start in starts.items()}
    running = {name: start(images) for name, start in starts.items()}
    for repeat in range(repeats + 1):  # the first one warms up
        peak.append(matmul_peak(on))
        for name, epochs in running.items():
            spent = timed(lambda epochs=epochs: next(epochs), on)
            if repeat:
                seconds[name].append(spent / (BRANCHES if "branches" in name else 1))
    first = statistics.median(seconds["plain loop"])
    before = first
    for name, spent in seconds.items():
        middle = statistics.median(spent)
        rate = images / middle
        yield {
            "training": case.name, "rung": name, "images_per_second": rate, "times_plain": first / middle,
            "times_before": before / middle, "operations_per_second": rate * operations / case.batch,
            "share_of_peak": rate * operations / case.batch / max(peak), **needs[name],
            "spread": (max(spent) - min(spent)) / middle, "repeats_bit_for_bit": same,
        }  # fmt: skip
        before = middle


def _needs(start: Callable[[int], Epochs], batch: int, on: Compute) -> dict[str, float]:
    """Seconds from nothing to the end of the first step; then the memory of two steps, and the casts of one."""

    def begin() -> Epochs:
        epochs = start(batch)
        next(epochs)
        return epochs

    first = timed(begin, on)
    if on.device.type == "cuda":
        before = torch.cuda.memory_allocated(on.device)
        torch.cuda.reset_peak_memory_stats(on.device)
        next(begin())
        memory = torch.cuda.max_memory_allocated(on.device) - before
    else:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
            next(begin())
        events = sorted(found.profiler.kineto_results.events(), key=lambda event: event.start_ns())
        memory = max(itertools.accumulate(event.nbytes() for event in events if event.name() == "[memory]"))
    epochs = begin()
    with Casts() as casts:
        next(epochs)
    return {"first_step_seconds": first, "megabytes": memory / 1e6, "casts_per_step": casts.count}


class Casts(TorchDispatchMode):
    """Counts the `_to_copy` operations that change the precision of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Look at each operation, also on the way back."""
        result = operation(*args, **(kwargs or {}))
        if operation is torch.ops.aten._to_copy.default:
            self.count += result.dtype != args[0].dtype
        return result


def timed(work: Callable[[], Any], on: Compute) -> float:
    """Seconds until the device has done some work."""
    wait = torch.accelerator.synchronize if on.device.type != "cpu" else lambda: None
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def repeats_bit_for_bit(case: Case, on: Compute) -> bool:
    """Whether the same training gives the same weights twice."""
    found = []
    for _ in range(2):
        job = case.job(on, len(case.inputs), epochs=2)
        found.append((training.fit(job), job.model.state_dict()))
    (history, weights), (again, others) = found
    return history == again and all(torch.equal(tensor, others[name]) for name, tensor in weights.items())
