"""What is wrapped around a network: frozen, in eval mode, some of its channels; and what one of its layers puts out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from cladec_core.errors import UsageError


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
            output: Tensor = self.module(images)
        return output


class Select(nn.Module):
    """Keep some channels (or units) of an activation: the subset S(X) of L(X)."""

    channels: Tensor

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("channels", torch.tensor(channels), persistent=False)

    def extra_repr(self) -> str:
        """How many channels are kept."""
        return f"{len(self.channels)} channels"

    def forward(self, activations: Tensor) -> Tensor:
        """(n, channels, ...) -> (n, kept, ...)."""
        return activations.index_select(1, self.channels)


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


def activation_shape(encoder: nn.Module, image: Sequence[int]) -> tuple[int, ...]:
    """Measure the shape of one image's activation.

    Parameters
    ----------
    encoder
        From images `(n, *image)` to activations.
    image
        Shape of an image: (channels, height, width).

    Returns
    -------
    tuple of int
        (units,) or (channels, height, width).
    """
    device = next((part.device for part in (*encoder.parameters(), *encoder.buffers())), None)
    with torch.no_grad(), in_eval_mode(encoder):
        return tuple(encoder(torch.zeros(1, *image, device=device)).shape[1:])


class _LayerReached(BaseException):
    """Leaves a forward pass whose rest is not needed; no `except Exception` of the model's may catch it."""


@contextmanager
def capture(model: nn.Module, layer: str, *, stop: bool = False) -> Iterator[list[Any]]:
    """Collect what a layer puts out in a block; the hook comes off whatever happens.

    Parameters
    ----------
    model, layer
        Any module, and the name of one of its submodules.
    stop
        Leave the block as soon as the layer is reached: no later part of the model can then change the activation in
        place, and none costs time.

    Yields
    ------
    list
        The layer's outputs, one for each call.
    """
    outputs: list[Any] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        outputs.append(output)
        if stop:
            raise _LayerReached

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        yield outputs
    except _LayerReached:
        pass
    finally:
        handle.remove()


def check_layer(model: nn.Module, layer: str) -> None:
    """Refuse a layer that the model does not have.

    Raises
    ------
    UsageError
        It names near matches.
    """
    names = [name for name, _ in model.named_modules() if name]
    if layer not in names:
        near = get_close_matches(str(layer), names, n=5, cutoff=0.4) or names[:5]
        raise UsageError(
            f"Unknown layer {layer!r} of {type(model).__name__}; near: {', '.join(near)} ({len(names)} in all: "
            f"[name for name, _ in model.named_modules()])."
        )
