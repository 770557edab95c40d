"""ONE training loop for every training of the project, and the inference that goes with it.

The data set is a tensor on the device, a batch is an index into it. Precision, batching, devices and
repeatability are decided here and nowhere else.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
    """Where and in which precision the arithmetic happens."""

    device: torch.device
    dtype: torch.dtype

    @property
    def description(self) -> str:
        """One line for a manifest: device, its name, precision and CPU threads."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else _cpu_name()
        precision = str(self.dtype).removeprefix("torch.")
        return f"{self.device.type} ({name}), {precision}, {torch.get_num_threads()} threads"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        import platform

        return platform.processor() or platform.machine()


def compute(device: str = "auto") -> Compute:
    """Choose the device, and bf16 where the hardware has it natively.

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
    native = {
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        "cpu": torch.ops.mkldnn._is_mkldnn_bf16_supported,  # emulated bf16 is slower than float32
    }
    return Compute(chosen, torch.bfloat16 if native.get(chosen.type, bool)() else torch.float32)


def derive_seed(seed: int, *labels: object) -> int:
    """A seed of its own for each training of a run, so that none depends on which others ran before it."""
    text = "/".join(str(label) for label in (seed, *labels))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator for a block (initial weights, dropout) and put it back afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def reconstruction_loss(output: Tensor, images: Tensor) -> Tensor:
    """Squared error summed over pixels, averaged over the batch: the paper's RefAE loss and Eq. 1 at α = 0."""
    return (output - images).square().flatten(1).sum(1).mean()


def classification_loss(output: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy in nats, averaged over the batch."""
    return F.cross_entropy(output, labels)


@dataclass(frozen=True)
class ClaDecLoss:
    """Eq. 1: (1-α) Σ (X - X̂)² + α · Loss(C(X̂), Y), sum over pixels, mean over the batch (reading C-8).

    `classifier` must be in eval mode with gradients off for its parameters; at α = 0 it is not needed.
    """

    classifier: nn.Module | None
    alpha: float

    def __call__(self, output: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of reconstructions (n, channels, 32, 32), as a scalar."""
        loss = (1 - self.alpha) * reconstruction_loss(output, images)
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


def fit(
    model: nn.Module,
    inputs: Tensor,
    targets: tuple[Tensor, ...],
    loss: Callable[..., Tensor],
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    on: Compute,
    batch_size: int = BATCH_SIZE,
    label: str = "training",
    progress: bool = False,
) -> list[float]:
    """Train a model in place and leave it in eval mode.

    Parameters
    ----------
    model
        Any module; the parameters that require gradients are trained.
    inputs
        What the model is given, (n, ...), on the device.
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

    Returns
    -------
    list of float
        Mean training loss of each epoch.

    Raises
    ------
    RunError
        If the loss of an epoch is not finite; the model is then of no use.
    """
    model.to(on.device, memory_format=torch.channels_last).train()
    size = min(batch_size, len(inputs))
    steps = len(inputs) // size
    decay_at = {round(fraction * steps * epochs) for fraction in DECAY_FRACTIONS}
    optimiser = _optimiser(model, recipe)
    order = torch.Generator().manual_seed(seed)
    history = []
    with seeded(seed), progress_bar(label, steps * epochs, progress) as report:
        for epoch in range(epochs):
            permutation = torch.randperm(len(inputs), generator=order)[: steps * size].to(on.device)
            total = torch.zeros((), device=on.device)
            for step, index in enumerate(permutation.split(size), start=epoch * steps):
                if step in decay_at:
                    for group in optimiser.param_groups:
                        group["lr"] *= 0.1
                total += _step(model, inputs[index], [target[index] for target in targets], loss, optimiser, on)
            # The only synchronisation with the device: once per epoch.
            history.append(total.item() / steps)
            if not math.isfinite(history[-1]):
                raise RunError(
                    f"{label}: the loss is {history[-1]} after epoch {epoch + 1} of {epochs} with learning rate "
                    f"{recipe.learning_rate}; nothing of this training was kept."
                )
            report(steps, history[-1])
    model.eval()
    return history


def _step(
    model: nn.Module,
    inputs: Tensor,
    targets: list[Tensor],
    loss: Callable[..., Tensor],
    optimiser: torch.optim.Optimizer,
    on: Compute,
) -> Tensor:
    """One step of the optimiser; returns the loss without waiting for the device."""
    with _precision(on):
        value = loss(model(_channels_last(inputs)).float(), *targets)
    value.backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return value.detach()


def _optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    common = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(parameters, momentum=0.9, **common)
    return torch.optim.Adam(parameters, **common)


def _precision(on: Compute) -> torch.autocast:
    return torch.autocast(on.device.type, dtype=on.dtype, enabled=on.dtype != torch.float32)


def _channels_last(batch: Tensor) -> Tensor:
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


@torch.no_grad()
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
    with in_eval_mode(model), _precision(Compute(on.device, dtype)):
        parts = [model(_channels_last(part.float() if exact else part)).to(dtype) for part in inputs.split(batch_size)]
    return torch.cat(parts)
