"""Running a trained network over many inputs."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from cladec_core.networks import in_eval_mode
from cladec_core.training.devices import Compute, exact_float32, moved, precision
from cladec_core.training.guard import trusted_precision


def _channels_last(batch: Tensor) -> Tensor:
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


@torch.no_grad()
@exact_float32()
def calibrate(model: nn.Module, inputs: Tensor, on: Compute, *, batch_size: int = 1024) -> None:
    """Estimate the running statistics of every BatchNorm on images, in place; no weight is touched (finding 5).

    Each batch counts once, in float32, with the statistics of the batch itself inside the network, as while
    training. The model is left in eval mode.
    """
    moved(model, on).eval()
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
        default returns the precision of `on`, for tensors that feed a training; where bf16 goes wrong here, it
        computes in float32 with a warning.

    Returns
    -------
    Tensor
        The outputs, (n, ...).
    """
    moved(model, on)
    dtype = torch.float32 if exact else on.dtype
    rounding = exact_float32() if exact else nullcontext()
    outputs = torch.empty(0)
    with in_eval_mode(model), rounding:
        safe = trusted_precision(model, inputs[:batch_size], Compute(on.device, dtype))
        for start in range(0, max(1, len(inputs)), batch_size):
            part = inputs[start : start + batch_size]
            with precision(safe):
                wide = exact or (safe.dtype == torch.float32 and part.is_floating_point())
                output = model(_channels_last(part.float() if wide else part))
            if not start:  # made once: to join the parts at the end would take the memory twice
                outputs = _like(output, len(inputs), dtype)
            outputs[start : start + len(part)] = output
    return outputs


def _like(output: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """An empty tensor for `count` rows such as those of `output`, in the same order in memory."""
    last = output.ndim == 4 and output.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    return torch.empty((count, *output.shape[1:]), dtype=dtype, device=output.device, memory_format=order)
