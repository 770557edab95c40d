"""Training steps on CUDA, recorded once as a graph and replayed."""

import warnings
from collections.abc import Callable

import torch

from cladec_core.training.devices import random_numbers
from cladec_core.training.step import Step

UNROLLED = 12  # at most so many steps in one CUDA graph: each launch of a graph costs the host some microseconds


def captured(step: Step, steps: int, label: str) -> tuple[Callable[[], None], int]:
    """Record some steps of an epoch as a CUDA graph; returns what replays them, and how many they are.

    Libraries need a few real steps before a capture. These leave no trace: weights and BatchNorm's statistics
    are put back, the optimiser's state is again all zeros, and the random numbers are others.
    """
    kept = [*step.networks.parameters(), *step.networks.buffers()]
    before = [tensor.detach().clone() for tensor in kept]
    with random_numbers(torch.Generator(step.on.device)):
        for _ in range(3):
            step.position.zero_()
            step.run(1)
    with torch.no_grad():
        for tensor, value in zip(kept, before, strict=True):
            tensor.copy_(value)
        for optimiser, weight in step.optimised:
            for tensor in optimiser.state[weight].values():
                tensor.zero_()
    at_once = max(count for count in range(1, UNROLLED + 1) if steps % count == 0)
    try:
        return record(lambda: step.run(at_once)), at_once
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        for optimiser, _ in step.optimised:
            optimiser.zero_grad(set_to_none=True)
        reason = str(error).partition("\n")[0]
        warnings.warn(f"{label}: no CUDA graph ({reason}); it is trained step by step", stacklevel=2)
        return lambda: step.run(1), 1


def record(work: Callable[[], None]) -> Callable[[], None]:
    """Capture work on the current stream; it is done when the returned function is called, and not before."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        work()
    return graph.replay
