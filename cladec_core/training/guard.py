"""Before bf16 is trusted with a training, its first step is compared with float32.

On some processors kernels of some shapes return garbage without a word: stock convolutions of PyTorch 2.13 over
narrow maps do with AMX. A trial costs about five steps, once for each kind of training, and leaves no trace.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode

from cladec_core.training.devices import Compute, exact_float32, precision, random_numbers
from cladec_core.training.job import Job

EPSILON = 2.0**-8  # bf16 keeps 8 bits
# A product that is summed in float32 is off by one rounding, at most EPSILON / 2 of its norm; some kernels also round
# partial sums over images or pixels. The worst of the project's networks came to 3.5 EPSILON.
PRODUCT = 16 * EPSILON
# Through ReLUs, which roundings switch on and off, and BatchNorm over few values, errors grow by a factor of each
# network's own. It shows in float32 when the weights alone are rounded. The output and the gradients of a step in
# bf16, where all else is rounded, too, were off by up to 2.7 times as much in the project's networks with batches of
# 4 to 128, and by 5.6 with biases before BatchNorm. Past this bound float32 is the better choice in any case.
ROUNDED_WEIGHTS = 8
# A gradient that should be zero, as of a bias before BatchNorm, consists of roundings; it is compared with the others.
SMALL = 0.1

PRODUCTS = {
    torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default, torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default, torch.ops.aten.bmm.default, torch.ops.aten.baddbmm.default,
}  # fmt: skip

_verdicts: dict[Any, str] = {}


def trusted(job: Job) -> Job:
    """The training as it is safe: in float32, with a warning, where bf16 goes wrong in its first step.

    The step has the shape of all later ones; its rows are the first.
    """
    if job.on.dtype == torch.float32:
        return job
    if job.opponent:  # whose gradients, such as those of a penalty on gradients, no trial here covers
        return replace(job, on=replace(job.on, dtype=torch.float32))
    count = min(job.batch_size, len(job.inputs))
    batch = job.inputs[:count]
    targets = [target[:count] for target in job.targets]
    trained = [parameter for parameter in job.model.parameters() if parameter.requires_grad]

    def step(dtype: torch.dtype) -> list[Tensor]:
        with torch.enable_grad(), _precision(job.on, dtype):
            output = job.model(_as(batch, job.on.dtype, dtype)).float()
            value = job.loss(output, *targets)
        gradients = torch.autograd.grad(value, trained, allow_unused=True)
        return [output.detach(), *(gradient for gradient in gradients if gradient is not None)]

    key = ("training", str(job.model), _name(job.loss), batch.shape, _settings(job.on))
    if key not in _verdicts:
        fault = _trial(job.model, step, job.on)
        _verdicts[key] = fault
        if fault:
            warnings.warn(f"{job.label}: {fault}; it is trained in float32", stacklevel=2)
    return replace(job, on=replace(job.on, dtype=torch.float32)) if _verdicts[key] else job


def trusted_precision(model: nn.Module, batch: Tensor, on: Compute) -> Compute:
    """Where and in which precision a model may be run: as asked, or in float32 with a warning."""
    if on.dtype == torch.float32 or not len(batch):
        return on

    def run(dtype: torch.dtype) -> list[Tensor]:
        with torch.no_grad(), _precision(on, dtype):
            return [model(_as(batch, on.dtype, dtype)).float()]

    key = ("inference", str(model), batch.shape[1:], _settings(on))
    if key not in _verdicts:
        fault = _trial(model, run, on)
        _verdicts[key] = fault
        if fault:
            warnings.warn(f"{type(model).__name__}: {fault}; it is run in float32", stacklevel=3)
    return replace(on, dtype=torch.float32) if _verdicts[key] else on


def _trial(model: nn.Module, run: Callable[[torch.dtype], list[Tensor]], on: Compute) -> str:
    """What is wrong in bf16, as words; empty if nothing is."""

    def again(dtype: torch.dtype) -> list[Tensor]:
        with random_numbers(torch.Generator(on.device)):  # the same ones in each run
            return run(dtype)

    with _without_trace(model):
        with Products() as products:
            found = again(on.dtype)
        with exact_float32():
            exact = again(torch.float32)
            for weight in model.parameters():
                weight.data.copy_(weight.to(on.dtype))
            shifted = again(torch.float32)
    if not all(tensor.isfinite().all() for tensor in exact):
        return ""  # nothing to compare with; the training itself will say so
    if products.worst > PRODUCT:
        return f"{products.name} in bf16 is off by {products.worst:.2g} of its norm on this processor"
    values = sum(gradient.numel() for gradient in exact[1:])
    typical = math.sqrt(sum(gradient.double().square().sum().item() for gradient in exact[1:]) / max(1, values))
    for what, part, smallest in (("output", slice(1), 0.0), ("gradient", slice(1, None), SMALL * typical)):
        error, shift = (
            max((_error(*pair, smallest) for pair in zip(other[part], exact[part], strict=True)), default=0.0)
            for other in (found, shifted)
        )
        bound = PRODUCT + ROUNDED_WEIGHTS * shift
        if error > bound:
            return f"its first {what} in bf16 is off by {error:.2g} of its norm (rounding explains {bound:.2g})"
    return ""


def _error(found: Tensor, exact: Tensor, smallest: float = 0.0) -> float:
    """Norm of a difference, relative to the exact tensor's or to that of as many values of size `smallest`."""
    found, exact = found.double(), exact.double()
    scale = exact.norm().item() + smallest * math.sqrt(exact.numel())
    error = (found - exact).norm().item()
    return error / scale if scale and math.isfinite(error) else math.inf if error else 0.0


class Products(TorchDispatchMode):
    """Do each product of bf16 matrices or maps again in float32, and remember the worst relative error.

    Inside a product nothing is switched on or off, so that its error is bounded far more tightly than a gradient's.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own has no types
        self.worst, self.name = 0.0, ""

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Look at each operation, also on the way back."""
        found = operation(*args, **(kwargs or {}))
        parts = found if isinstance(found, tuple) else (found,)
        if operation in PRODUCTS and any(part is not None and part.dtype == torch.bfloat16 for part in parts):
            wide = [part.float() if isinstance(part, Tensor) else part for part in args]
            with exact_float32():
                exact = operation(*wide, **(kwargs or {}))
            for part, other in zip(parts, exact if isinstance(exact, tuple) else (exact,), strict=True):
                if part is not None and part.numel() and other.isfinite().all():
                    error = _error(part, other)
                    if error > self.worst:
                        self.worst, self.name = error, operation.__name__
        return found


@contextmanager
def _without_trace(model: nn.Module) -> Iterator[None]:
    """Put back what a trial changes, weights and statistics; leave dropout out of it."""
    before = [(tensor, tensor.detach().clone()) for tensor in (*model.parameters(), *model.buffers())]
    dropouts = [part for part in model.modules() if isinstance(part, _DropoutNd) and part.training]
    for part in dropouts:
        part.training = False
    try:
        yield
    finally:
        for part in dropouts:
            part.training = True
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)


def _precision(on: Compute, dtype: torch.dtype) -> torch.autocast:
    return precision(replace(on, dtype=dtype))


def _as(batch: Tensor, rounded: torch.dtype, dtype: torch.dtype) -> Tensor:
    """A batch as a training gets it: rounded, and channels last; then in the precision of the trial."""
    batch = batch.to(rounded).to(dtype) if batch.is_floating_point() else batch
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


def _name(loss: Callable[..., Tensor]) -> str:
    """What tells losses apart, but not two equal ones."""
    return getattr(loss, "__qualname__", None) or str(loss)


def _settings(on: Compute) -> tuple[str, int]:
    return str(on), torch.get_num_threads()
