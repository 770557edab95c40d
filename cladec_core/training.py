"""ONE training loop for every training of the project, and the inference that goes with it.

The data set is a tensor on the device, a batch is an index into it. Precision, batching, devices and
repeatability are decided here and nowhere else. The step is the same code everywhere; on CUDA it is recorded once
as a graph and replayed, and several trainings can share the device.
"""

import copy
import ctypes
import hashlib
import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import KW_ONLY, dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from cladec_core.errors import RunError, UsageError
from cladec_core.models import in_eval_mode

# The authors' program multiplies the learning rate by 0.1 after epochs 29 and 58 of 64 (reading C-25); for
# other lengths the same fractions of the steps.
DECAY_FRACTIONS = (29 / 64, 58 / 64)
BATCH_SIZE = 128
UNROLLED = 12  # at most so many steps in one CUDA graph: each launch of a graph costs the host some microseconds
BRANCHES = 8  # trainings side by side on one CUDA device


@dataclass(frozen=True)
class Recipe:
    """How one kind of model is optimised (section A.0; values the paper omits are the authors' program's)."""

    optimiser: str
    learning_rate: float
    weight_decay: float


SGD = Recipe("sgd", 0.1, 1e-4)
ADAM = Recipe("adam", 3e-4, 1e-5)


@dataclass(frozen=True)
class Compute:
    """Where and in which precision the arithmetic happens.

    Attributes
    ----------
    device, dtype
        `dtype` is the precision of the networks' arithmetic; weights and losses are float32.
    deterministic
        Whether a training repeats bit for bit on the same machine. On a CPU it always does, with the same number
        of threads.
    graph
        Whether training steps are replayed from a CUDA graph.
    """

    device: torch.device
    dtype: torch.dtype
    deterministic: bool = True
    graph: bool = False

    @property
    def description(self) -> str:
        """One line for a manifest with device, its name, precision and CPU threads."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else _cpu_name()
        precision = str(self.dtype).removeprefix("torch.")
        free = "" if self.deterministic else ", not deterministic"
        return f"{self.device.type} ({name}), {precision}, {torch.get_num_threads()} threads{free}"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        import platform

        return platform.processor() or platform.machine()


def compute(device: str = "auto") -> Compute:
    """Choose the device, and bf16 where the hardware has it natively.

    `CLADEC_DETERMINISTIC=0` in the environment lets CUDA use algorithms that may be faster and do not repeat bit for
    bit; a manifest says so.

    Parameters
    ----------
    device
        "auto" (CUDA, then MPS, then the CPU) or a name that torch knows.

    Raises
    ------
    UsageError
        If the device does not exist here.
    """
    available = ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        available.append("mps")
    if device == "auto":
        device = "cuda" if "cuda:0" in available else available[-1]
    if device not in [*available, "cuda"] or (device == "cuda" and "cuda:0" not in available):
        raise UsageError(f"No device {device!r} on this machine; valid: auto, {', '.join(available)}.")
    chosen = torch.device(device)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs in order to repeat its results
    native = {
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        "cpu": torch.ops.mkldnn._is_mkldnn_bf16_supported,  # emulated bf16 is slower than float32
    }
    dtype = torch.bfloat16 if native.get(chosen.type, bool)() else torch.float32
    deterministic = os.environ.get("CLADEC_DETERMINISTIC") != "0"
    return Compute(chosen, dtype, deterministic, graph=chosen.type == "cuda")


def derive_seed(seed: int, *labels: object) -> int:
    """A seed of its own for each training of a run, so that none depends on which others ran before it."""
    text = "/".join(str(label) for label in (seed, *labels))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator for a block (initial weights, dropout) and put it back afterwards."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):  # named, as torch warns of several it finds itself
        torch.manual_seed(seed)
        yield


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute in float32 as it is for a block: CUDA's convolutions round to TF32's 10 bits unless told not to."""
    kinds = (
        torch.backends.cudnn.conv, torch.backends.cuda.matmul, torch.backends.mkldnn.conv, torch.backends.mkldnn.matmul
    )  # fmt: skip
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "ieee"
    try:
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


def reconstruction_loss(output: Tensor, images: Tensor) -> Tensor:
    """Squared error summed over pixels, averaged over the batch: the paper's RefAE loss and Eq. 1 at α = 0."""
    return (output - images).square().flatten(1).sum(1).mean()


def classification_loss(output: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of logits (n, classes) and labels (n,) in nats, averaged over the batch."""
    return F.cross_entropy(output, labels)


@dataclass(frozen=True)
class ClaDecLoss:
    """Eq. 1: (1-α) Σ (X - X̂)² + α · Loss(C(X̂), Y), sum over pixels, mean over the batch (reading C-8).

    `classifier` must be in eval mode with gradients off for its parameters; at α = 0 it is not needed. With `mean`
    the squares are averaged over pixels, as in the authors' code (I13).
    """

    classifier: nn.Module | None
    alpha: float
    mean: bool = False

    def __call__(self, output: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of reconstructions (n, channels, 32, 32), as a scalar."""
        difference = F.mse_loss if self.mean else reconstruction_loss
        loss = (1 - self.alpha) * difference(output, images)
        if self.classifier is not None:
            loss = loss + self.alpha * classification_loss(self.classifier(output).float(), labels)
        return loss


@contextmanager
def progress_bar(label: str, steps: int, enabled: bool = True) -> Iterator[Callable[[int, float], None]]:
    """Show a tqdm bar with the loss and the seconds left; it disappears when the training is done."""
    with tqdm(total=steps, desc=label, unit="step", leave=False, disable=not enabled, mininterval=0.5) as bar:

        def update(done: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
            bar.update(done)

        yield update


@dataclass(frozen=True, eq=False)
class Job:
    """One training, as `fit` is asked for it.

    Attributes
    ----------
    model
        Any module; the parameters that require gradients are trained.
    inputs
        What the model is given, (n, ...), on the device. Where `on` is bf16, images and activations are rounded
        to it.
    targets
        Tensors of n rows that the loss compares the output with.
    loss
        `loss(output, *targets)` of a batch, as a scalar; the output arrives in float32.
    recipe
        `SGD` or `ADAM`.
    epochs, batch_size
        Passes over the data and images per step. The last partial batch of an epoch is dropped; with a new
        order each epoch every image has the same chance to be in it.
    seed
        Decides the order of the batches and the dropout masks.
    on
        Device and precision.
    label, progress
        Name of the progress bar, and whether to show it.
    stop
        Asked after each epoch with the mean losses so far; True ends the training early.
    """

    model: nn.Module
    inputs: Tensor
    targets: tuple[Tensor, ...]
    loss: Callable[..., Tensor]
    recipe: Recipe
    _: KW_ONLY
    epochs: int
    seed: int
    on: Compute
    batch_size: int = BATCH_SIZE
    label: str = "training"
    progress: bool = False
    stop: Callable[[list[float]], bool] | None = None


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
    training = _epochs(job)
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
            running[place] = _epochs(job), copy.deepcopy(job.model.state_dict())
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


def _epochs(job: Job) -> Generator[None, None, list[float]]:
    """The training loop of `fit`. It pauses when it has queued work, so that other trainings can queue theirs."""
    _keep_freed_memory()
    model, on, count = job.model, job.on, len(job.inputs)
    model.to(on.device, memory_format=torch.channels_last).train()
    size = min(job.batch_size, count)
    steps = count // size
    rates = _learning_rates(job.recipe.learning_rate, steps * job.epochs).split(steps)
    order = torch.Generator().manual_seed(job.seed)
    turn = _turns(job.seed, on)
    history: list[float] = []
    with turn():
        step = _Step(job, (steps, size))
        run_steps = _captured(step, steps, job.label) if on.graph else lambda: step.run(steps)
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


class _Step:
    """One step of a training: gather a batch by index, forward, loss, backward, optimiser, learning rate.

    Whatever changes from step to step is read from tensors that keep their place in memory. So a CUDA graph can
    replay the same step, and nothing has to come from the host within an epoch.
    """

    def __init__(self, job: Job, shape: tuple[int, int]) -> None:
        self.model, self.targets, self.loss, self.on = job.model, job.targets, job.loss, job.on
        on, inputs = job.on, job.inputs
        inputs = inputs.to(on.dtype) if inputs.is_floating_point() else inputs  # once, not in each step
        self.maps = inputs.ndim == 4
        # A batch that is gathered from rows in channels-last order has the layout that convolutions want.
        self.inputs = _in_memory_order(inputs).contiguous()
        # The kernels take a double on the CPU, and a float32 on the device elsewhere.
        precision = torch.float64 if on.device.type == "cpu" else torch.float32
        self.order = torch.zeros(shape, dtype=torch.int64, device=on.device)
        self.rates = torch.zeros(shape[0], dtype=precision, device=on.device)
        self.rate = torch.zeros((), dtype=precision, device=on.device)
        self.position = torch.zeros(1, dtype=torch.int64, device=on.device)
        self.total = torch.zeros((), device=on.device)
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        # The optimiser sees each weight, and below each gradient, in the order of memory: the CPU's fused kernels copy
        # anything else in every step.
        self.weights = [_in_memory_order(parameter.detach()) for parameter in self.trained]
        self.optimiser = _optimiser(self.weights, job.recipe, self.rate)

    def begin_epoch(self, order: Tensor, rates: Tensor) -> None:
        """Take the rows (steps, size) and the learning rates (steps,) of an epoch."""
        self.order.copy_(order)
        self.rates.copy_(rates)
        self.position.zero_()
        self.total.zero_()

    def run(self, steps: int) -> None:
        """Do some steps; adds their losses to `total` without waiting for the device."""
        for _ in range(steps):
            rows = self.order.index_select(0, self.position)[0]
            self.rate.copy_(self.rates.index_select(0, self.position)[0])
            batch = self.inputs.index_select(0, rows)
            with _precision(self.on):
                output = self.model(batch.permute(0, 3, 1, 2) if self.maps else batch).float()
                value = self.loss(output, *(target.index_select(0, rows) for target in self.targets))
            value.backward()
            for parameter, weight in zip(self.trained, self.weights, strict=True):
                weight.grad = None if parameter.grad is None else _in_memory_order(parameter.grad)
                parameter.grad = None
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            self.total += value.detach()
            self.position += 1


def _captured(step: _Step, steps: int, label: str) -> Callable[[], None]:
    """Record the steps of an epoch as a CUDA graph; the returned function replays them.

    Libraries need a few real steps before a capture. These leave no trace: weights and BatchNorm's statistics
    are put back, the optimiser's state is again all zeros, and the random numbers are others.
    """
    kept = [*step.model.parameters(), *step.model.buffers()]
    before = [tensor.detach().clone() for tensor in kept]
    with _random_numbers(torch.Generator(step.on.device)):
        for _ in range(3):
            step.position.zero_()
            step.run(1)
    with torch.no_grad():
        for tensor, value in zip(kept, before, strict=True):
            tensor.copy_(value)
        for state in step.optimiser.state.values():
            for tensor in state.values():
                tensor.zero_()
    at_once = max(count for count in range(1, UNROLLED + 1) if steps % count == 0)
    try:
        replay = _record(lambda: step.run(at_once))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        step.optimiser.zero_grad(set_to_none=True)
        reason = str(error).partition("\n")[0]
        warnings.warn(f"{label}: no CUDA graph ({reason}); it is trained step by step", stacklevel=2)
        return lambda: step.run(steps)

    def replay_all() -> None:
        for _ in range(steps // at_once):
            replay()

    return replay_all


def _record(work: Callable[[], None]) -> Callable[[], None]:
    """Capture work on the current stream; it is done when the returned function is called, and not before."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        work()
    return graph.replay


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
        with _random_numbers(numbers), _repeatable(on), on_stream:
            yield

    return turn


@contextmanager
def _random_numbers(own: torch.Generator) -> Iterator[None]:
    """Let a device's default generator go on from another one's state for a block, and that one from there."""
    if own.device.type == "cuda":
        # The states themselves change places: a graph keeps drawing from the one that it was captured with.
        default = torch.cuda.default_generators[own.device.index]
        outside = default.graphsafe_get_state()
        default.graphsafe_set_state(own)
        try:
            yield
        finally:
            default.graphsafe_set_state(outside)
        return
    module = torch if own.device.type == "cpu" else torch.get_device_module(own.device)
    outside = module.get_rng_state()
    module.set_rng_state(own.get_state())
    try:
        yield
    finally:
        own.set_state(module.get_rng_state())
        module.set_rng_state(outside)


@contextmanager
def _repeatable(on: Compute) -> Iterator[None]:
    """Allow only algorithms that repeat bit for bit, if `on` says so. A CPU has no others here."""
    if on.device.type != "cuda":
        yield
        return
    before = (
        torch.get_deterministic_debug_mode(),
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.benchmark,
    )

    def choose(mode: int | str, fill: bool, benchmark: bool) -> None:
        torch.set_deterministic_debug_mode(mode)
        torch.utils.deterministic.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = benchmark

    # An operation without such an algorithm is named in a warning. Filling fresh memory, a help for debugging,
    # would cost a kernel for each tensor. Without `deterministic`, cuDNN may take what it finds fastest.
    choose("warn" if on.deterministic else "default", False, not on.deterministic)
    try:
        yield
    finally:
        choose(*before)


def _learning_rates(rate: float, steps: int) -> Tensor:
    """The learning rate of each step, float64: multiplied by 0.1 at `DECAY_FRACTIONS`, but never before the first."""
    decays = {round(fraction * steps) for fraction in DECAY_FRACTIONS} - {0}
    rates = []
    for step in range(steps):
        rate *= 0.1 if step in decays else 1
        rates.append(rate)
    return torch.tensor(rates, dtype=torch.float64)


def _optimiser(weights: list[Tensor], recipe: Recipe, rate: Tensor) -> torch.optim.Optimizer:
    common = {"lr": rate, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(weights, momentum=0.9, **common)
    return torch.optim.Adam(weights, capturable=rate.device.type == "cuda", **common)


def _in_memory_order(maps: Tensor) -> Tensor:
    """View (n, channels, height, width) as (n, height, width, channels); anything else stays as it is."""
    return maps.permute(0, 2, 3, 1) if maps.ndim == 4 else maps


def _precision(on: Compute) -> torch.autocast:
    return torch.autocast(on.device.type, dtype=on.dtype, enabled=on.dtype != torch.float32)


def _channels_last(batch: Tensor) -> Tensor:
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


@torch.no_grad()
@exact_float32()
def calibrate(model: nn.Module, inputs: Tensor, on: Compute, *, batch_size: int = 1024) -> None:
    """Estimate the running statistics of every BatchNorm on images, in place; no weight is touched (finding 5).

    Each batch counts once, in float32, with the statistics of the batch itself inside the network, as while
    training. The model is left in eval mode.
    """
    model.to(on.device, memory_format=torch.channels_last).eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average instead of a moving one
        norm.train()
    for part in inputs.split(batch_size):
        model(_channels_last(part.float()))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


@torch.no_grad()
def apply(model: nn.Module, inputs: Tensor, on: Compute, *, exact: bool = False, batch_size: int = 1024) -> Tensor:
    """Run a model over many inputs, in eval mode, without gradients.

    Parameters
    ----------
    model
        Any module; its mode is put back afterwards.
    inputs
        (n, ...) on the device.
    on
        Device and precision.
    exact
        Compute and return float32 whatever the precision of `on`: everything that is reported is exact. The
        default returns the precision of `on`, for tensors that feed a training.

    Returns
    -------
    Tensor
        The outputs, (n, ...).
    """
    model.to(on.device, memory_format=torch.channels_last)
    dtype = torch.float32 if exact else on.dtype
    rounding = exact_float32() if exact else nullcontext()
    outputs = torch.empty(0)
    with in_eval_mode(model), rounding, _precision(Compute(on.device, dtype)):
        for start in range(0, max(1, len(inputs)), batch_size):
            part = inputs[start : start + batch_size]
            output = model(_channels_last(part.float() if exact else part))
            if not start:  # made once: to join the parts at the end would take the memory twice
                outputs = _like(output, len(inputs), dtype)
            outputs[start : start + len(part)] = output
    return outputs


def _like(output: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """An empty tensor for `count` rows such as those of `output`, in the same order in memory."""
    last = output.ndim == 4 and output.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    return torch.empty((count, *output.shape[1:]), dtype=dtype, device=output.device, memory_format=order)
