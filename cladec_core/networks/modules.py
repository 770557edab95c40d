"""Modules and contexts that wrap a network: frozen, in eval mode, some of its channels, the shape it puts out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cladec_core.data import SIZE


class Frozen(nn.Module):
    """A module that takes no part in training: always in eval mode, never given gradients."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.train(False)

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in eval mode whatever is asked."""
        super().train(False)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Apply the module without recording gradients; shapes as the module's."""
        with torch.no_grad():
            return self.module(images)


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a module in eval mode for a block, and every part of it back into the mode that it had.

    Parts may be shared with a model in another mode: a new chain of a frozen classifier's layers starts in
    training mode, and `train(True)` on it would let BatchNorm change the classifier.
    """
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


class Select(nn.Module):
    """Keep some channels (or units) of an activation: the subset S(X) of L(X)."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("channels", torch.tensor(channels), persistent=False)

    def extra_repr(self) -> str:
        """How many channels are kept."""
        return f"{len(self.channels)} channels"

    def forward(self, activations: Tensor) -> Tensor:
        """(n, channels, ...) -> (n, kept, ...)."""
        return activations.index_select(1, self.channels)


def activation_shape(encoder: nn.Module, channels: int) -> tuple[int, ...]:
    """Shape of one image's activation: (units,) or (channels, height, width)."""
    device = next((part.device for part in (*encoder.parameters(), *encoder.buffers())), None)
    with torch.no_grad(), in_eval_mode(encoder):
        return tuple(encoder(torch.zeros(1, channels, SIZE, SIZE, device=device)).shape[1:])
