"""Reading a named layer of any module by a forward hook that always comes off, and saying why where it cannot."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cladec_core import measures
from cladec_core.errors import UsageError
from cladec_core.networks import capture, check_layer, in_eval_mode
from cladec_core.training import Compute

CLASS_TOKEN = ("keep", "drop")
# What torch says where the types of a layer and of its input differ.
OTHER_TYPE = re.compile(r"dtype|scalar type|(input|weight|bias) type", re.IGNORECASE)
CASTS = (
    "The model casts to another type inside its forward, while the explainer's copy is in float32 ({}); leave the cast "
    "out, or let it follow the weights, such as images.to(next(self.parameters()).dtype)."
)
Adapters = Mapping[str, Callable[[Any], Tensor]]
Preprocess = Callable[[Tensor], Tensor] | None


def checked_layers(model: Any, layer: str | None, layers: Sequence[str] | None) -> tuple[str, ...]:
    """Name the layers of a model that are to be explained, each once.

    Parameters
    ----------
    model
        Any module.
    layer, layers
        Names of one layer or of several, as of `ClaDec`.

    Raises
    ------
    UsageError
        If it is no module, for both or neither of the arguments, or for an unknown layer.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"model is a {type(model).__name__}; valid: a torch.nn.Module.")
    if (layer is None) == (not layers) or isinstance(layers, str):
        raise UsageError("Name one layer=..., or several layers=[...].")
    names = tuple(dict.fromkeys(layers or [str(layer)]))
    for name in names:
        check_layer(model, name)
    return names


def named_adapters(adapter: Callable[[Any], Tensor] | Adapters | None) -> dict[str, Callable[[Any], Tensor]]:
    """Name adapters by what they are for, as of `ClaDec`; a single function is for the model."""
    named = adapter if isinstance(adapter, Mapping) else {"": adapter}
    return {name: function for name, function in named.items() if function}


class Logits(nn.Module):
    """A classifier from images, in the user's units, to (n, classes): preprocessing before, adapter after it."""

    def __init__(self, model: nn.Module, preprocess: Preprocess, adapters: Adapters) -> None:
        super().__init__()
        self.model, self.preprocess, self.adapters = model, preprocess or nn.Identity(), adapters

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, height, width) -> (n, classes)."""
        return _adapted(self.model(self.preprocess(images)), "", self.adapters)


class Tap(Logits):
    """A classifier up to a layer: images, in the user's units, to that layer's activation as a vector or a map.

    Tokens (n, tokens, c) are laid out on the grid of the image's patches. With `class_token` "keep", those that are
    no patches are repeated at every place of the grid, as further channels. Where only the first two sides of
    (n, height, width, c) have the ratio of the image's (Swin, blocks of ConvNeXt), the channels are put in front; what
    an adapter makes is taken as it is.
    """

    def __init__(self, layer: str, class_token: str, *classifier: Any) -> None:
        super().__init__(*classifier)
        self.layer, self.class_token = layer, class_token

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, height, width) -> (n, units) or (n, channels', height', width')."""
        inputs = self.preprocess(images)
        with capture(self.model, self.layer, stop=True) as outputs:
            self.model(inputs)
        activation = _adapted(outputs[0], self.layer, self.adapters)
        # What is made under inference_mode would be of no use to a decoder that learns.
        return self.as_maps(activation.clone() if activation.is_inference() else activation, inputs.shape[-2:])

    def as_maps(self, activation: Tensor, size: Sequence[int]) -> Tensor:
        """Lay out the layer's activation as a vector or a map.

        Parameters
        ----------
        activation
            As the layer, or its adapter, puts it out.
        size
            Of the image: (height, width).

        Returns
        -------
        Tensor
            (n, units) or (n, channels', height', width').

        Raises
        ------
        UsageError
            For tokens that fill no grid with the ratio of the image's sides.
        """
        shape = activation.shape[1:]
        if len(shape) == 3 and self.layer not in self.adapters and like_image(shape[:2], size):
            return activation if like_image(shape[1:], size) else activation.movedim(3, 1)
        if len(shape) != 2:
            return activation
        extra, grid = token_grid(self.layer, shape[0], size)
        maps: Tensor = activation[:, extra:].transpose(1, 2).unflatten(2, grid)
        if not extra or self.class_token == "drop":
            return maps
        others = activation[:, :extra].flatten(1)[:, :, None, None].expand(-1, -1, *grid)
        return torch.cat([maps, others], 1)


def like_image(grid: Sequence[int], size: Sequence[int]) -> bool:
    """Whether (height, width) are no larger than the image's sides, and in their ratio up to rounding."""
    height, width = grid
    return height <= size[0] and width <= size[1] and abs(height * size[1] / (width * size[0]) - 1) < 0.15


def token_grid(layer: str, tokens: int, size: Sequence[int]) -> tuple[int, tuple[int, int]]:
    """Split tokens into those that are no patches, in front, and a grid with the ratio of the image's sides.

    There are as few of the first as leave such a grid, and at most half as many as patches: up to two for a class and
    its distillation, five in DINOv2 with registers, more with learnt prompts.

    Raises
    ------
    UsageError
        If no number of other tokens leaves such a grid.
    """
    for extra in range(tokens // 3 + 1):
        height = max(1, round(((tokens - extra) * size[0] / size[1]) ** 0.5))
        width = (tokens - extra) // height
        if height * width == tokens - extra and like_image((height, width), size):
            return extra, (height, width)
    raise UsageError(
        f"Layer {layer!r} puts out {tokens} tokens, no grid on images of {size[0]}x{size[1]}; pass adapter="
        f"{{{layer!r}: ...}} with a function that makes them (n, units) or (n, channels, height, width)."
    )


def _adapted(output: Any, name: str, adapters: Adapters) -> Tensor:
    output = adapters[name](output) if name in adapters else output
    if isinstance(output, Tensor):
        return output
    pick = f"output[{next(iter(output), '...')!r}]" if isinstance(output, Mapping) else "output[0]"
    raise UsageError(
        f"{f'Layer {name!r}' if name else 'The model'} puts out a {type(output).__name__}, not a tensor; pass "
        f"adapter={{{name!r}: lambda output: {pick}}}, or whatever picks the {'activation' if name else 'logits'}."
    )


def probe(logits: Logits, layers: Sequence[str], images: Tensor) -> Tensor:
    """Run a classifier on at least 3 images and check that each layer can be explained; returns the logits.

    Two batches of different sizes are run: the axis of the batch is the one that changes.

    Raises
    ------
    UsageError
        If the model does not take the images, or its output or an activation is no floating-point tensor with one
        row per image, or a layer is never called, or more than once.
    """
    with torch.no_grad(), in_eval_mode(logits):
        for batch in (images[:2], images):
            outputs, found = _run(logits, layers, batch)
            if outputs.shape[:-1] != batch.shape[:1] or outputs.shape[1] < 2 or not outputs.is_floating_point():
                raise UsageError(
                    f"The model puts out {_described(outputs)} for {len(batch)} images; one row of at least two logits "
                    f"per image is needed: pass adapter={{'': lambda output: ...}} that makes them."
                )
            for layer, activations in found.items():
                _check_activation(layer, activations, len(batch), logits.adapters)
    return outputs


def _run(logits: Logits, layers: Sequence[str], images: Tensor) -> tuple[Tensor, dict[str, list[Any]]]:
    at = "preprocess fails on"
    try:
        inputs = logits.preprocess(images)
        at = "The model does not take"
        with ExitStack() as stack:
            found = {layer: stack.enter_context(capture(logits.model, layer)) for layer in layers}
            outputs = logits.model(inputs)
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if at != "preprocess fails on" and OTHER_TYPE.search(reason):
            raise UsageError(CASTS.format(reason)) from error
        raise UsageError(f"{at} images of {'x'.join(map(str, images.shape[1:]))}: {reason}") from error
    return _adapted(outputs, "", logits.adapters), found


def _check_activation(layer: str, activations: list[Any], images: int, adapters: Adapters) -> None:
    parent = layer.rpartition(".")[0]
    instead = f"choose the block around it ({parent!r})" if parent else "choose a layer before or after it"
    if not activations:
        raise UsageError(f"The forward pass never calls layer {layer!r}; {instead}.")
    if len(activations) > 1:
        raise UsageError(
            f"Layer {layer!r} is called {len(activations)} times in a forward pass and has no single activation; "
            f"{instead}, or give each call a module of its own."
        )
    activation = _adapted(activations[0], layer, adapters)
    wrong = ""
    if not activation.is_floating_point():
        wrong = "integers carry no gradient; choose the layer before it"
    elif activation.ndim < 2 or len(activation) != images:
        wrong = "the first axis must be the batch"
    elif activation.ndim > 4:
        wrong = "valid: (n, units), (n, channels, height, width), (n, height, width, channels) or (n, tokens, channels)"
    elif not activation.isfinite().all():
        wrong = "some values are NaN or infinite"
    if wrong:
        raise UsageError(
            f"Layer {layer!r} puts out {_described(activation)} for {images} images: {wrong}, or pass "
            f"adapter={{{layer!r}: lambda output: ...}} that puts it right."
        )


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


@dataclass(frozen=True)
class Learning:
    """Which modules of a model a training of one of its layers would reach, by their names.

    Attributes
    ----------
    learning
        Modules with weights of their own that get a gradient.
    deaf
        Modules with weights that run on the way to the layer, and of whose weights none gets a gradient.
    """

    learning: list[str]
    deaf: list[str]


def learning(tap: Tap, images: Tensor) -> Learning:
    """Find out which modules a training of a tapped layer would change, by one step on a few images.

    Parameters
    ----------
    tap
        With weights that require gradients; they get them here.
    images
        (n, channels, height, width), in the user's units.
    """
    ran: dict[str, None] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda *_: ran.setdefault(name)

    own = {name: list(part.parameters(recurse=False)) for name, part in tap.model.named_modules()}
    with ExitStack() as stack:
        for name, part in tap.model.named_modules():
            stack.callback(part.register_forward_pre_hook(note(name)).remove)
        with torch.enable_grad():
            activation = tap(images)
    if activation.requires_grad:
        with suppress(RuntimeError):  # of an operation that has no gradient
            weights = torch.linspace(1, 2, activation.numel()).to(
                activation
            )  # the plain sum of a LayerNorm is constant
            (activation * weights.view_as(activation)).sum().backward()
    if not any(value.grad is not None and value.grad.any() for value in tap.parameters()):
        return Learning([], [name for name in ran if own[name]])  # such as behind a rounding
    reached = [name for name, values in own.items() if any(value.grad is not None for value in values)]
    return Learning(reached, [name for name in ran if own[name] and name not in reached])


def reinitialise(model: nn.Module) -> list[nn.Module]:
    """Give every layer fresh weights by its own rule, in place.

    Torch's global generator draws them on the CPU: they are the same for every device.

    Parameters
    ----------
    model
        Any module, on one device.

    Returns
    -------
    list of Module
        Those that cannot be re-initialised: without `reset_parameters`, or with a matrix that is as before after it.
        Their values are put in random order, which keeps the spread and takes away what was learnt.
    """
    stuck = []
    device = next((value.device for value in model.parameters()), torch.device("cpu"))
    model.cpu()
    for part in model.modules():
        values = list(part.parameters(recurse=False))
        before = [value.detach().clone() for value in values]
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if reset is not None:
            reset()
        same = any(value.ndim > 1 and torch.equal(value, old) for value, old in zip(values, before, strict=True))
        if values and (reset is None or same):
            stuck.append(part)
            with torch.no_grad():
                for value in values:
                    value.copy_(value.flatten()[torch.randperm(value.numel())].view_as(value))
    model.to(device)
    return stuck


def without_dropout(model: nn.Module) -> None:
    """Drop nothing in training mode, in place: an auto-encoder only suffers from it (reading C-5)."""
    for part in model.modules():
        if "Drop" in type(part).__name__ or type(part).__name__ == "StochasticDepth":
            for name in ("p", "drop_prob"):
                setattr(part, name, 0.0)


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the names, types, shapes and values of a module's state."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {_described(value)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def heat_maps(logits: Logits, tap: Tap, images: Tensor, *, flat: bool, at_once: int, on: Compute) -> Tensor:
    """GradCAM of the predicted class at a layer of any model (`measures.gradcam`).

    Parameters
    ----------
    logits, tap
        The classifier and the layer of it.
    images
        (n, channels, height, width), in the user's units, on the CPU.
    flat
        Whether the layer has units without places, so that maps before it are looked for.
    at_once, on
        Images in a batch, and where.

    Returns
    -------
    Tensor
        (n, height, width), from 0 to 1, on the CPU.

    Raises
    ------
    UsageError
        For a layer without maps before it.
    """
    size = logits.preprocess(images[:1].to(on.device)).shape[-2:]
    layout = None if flat else partial(tap.as_maps, size=size)
    batches = (batch.to(on.device) for batch in images.split(at_once))
    return torch.cat([measures.gradcam(logits, f"model.{tap.layer}", batch, layout=layout) for batch in batches]).cpu()
