"""Heat maps of a classifier."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cladec_core.errors import UsageError
from cladec_core.networks import check_layer, in_eval_mode
from cladec_core.training import exact_float32


@exact_float32()
def gradcam(
    model: nn.Module, layer: str, images: Tensor, *, layout: Callable[[Tensor], Tensor] | None = None,
    target: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """GradCAM of a class, brought to the images' size and to [0, 1] per image (reading C-16).

    Tests hold it against captum's, which knows neither vectors nor tokens.

    Parameters
    ----------
    model
        Maps images to logits (n, classes); it is run in eval mode, and its own modes are put back.
    layer
        Name of a submodule that puts out maps (n, channels', height', width'). For one that puts out vectors
        (n, units), the last maps before it that a module with weights has made: pooling alone does not count.
    images
        (n, channels, height, width), as the model takes them.
    layout
        For a layer with another output, such as tokens: rearranges it, and its gradient, as maps.
    target
        The class of each image, (n,); None for the predicted one.

    Returns
    -------
    Tensor
        (n, height, width); all zero where the map is constant, as it is for a 1x1 map.

    Raises
    ------
    UsageError
        For an unknown layer, one that puts out neither maps nor vectors, or one on which the logits do not depend.
    """
    check_layer(model, layer)
    with in_eval_mode(model), torch.enable_grad():
        source = layer if layout else _last_map(model, layer, images[:1])
        with _leaves_of(model, source) as leaves:
            logits = model(images)
        if not leaves or not logits.requires_grad:
            raise UsageError(f"The logits do not depend on layer {source!r}; choose another one.")
        scores = logits.max(1).values if target is None else logits.gather(1, target.unsqueeze(1))
        (gradient,) = torch.autograd.grad(scores.sum(), leaves[-1])
    activation, gradient = (layout(part) if layout else part for part in (leaves[-1].detach(), gradient))
    maps = (gradient.mean((2, 3), keepdim=True) * activation).sum(1, keepdim=True).relu()
    maps = F.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=False).squeeze(1)
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    # Upsampling a constant map leaves rounding noise, which must not be stretched to [0, 1].
    spread = high - low
    return torch.where(spread > 1e-4 * high, (maps - low) / spread.clamp(min=1e-30), 0.0)


@contextmanager
def _leaves_of(model: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Cut the graph at a layer in a block: its outputs become leaves, from which the rest of the model goes on."""
    leaves: list[Tensor] = []

    def cut(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1].clone()  # what a later layer may change in place

    handle = model.get_submodule(layer).register_forward_hook(cut)
    try:
        yield leaves
    finally:
        handle.remove()


def _last_map(model: nn.Module, layer: str, image: Tensor) -> str:
    """Name the layer itself if it puts out maps, else the last module with weights before it that does."""
    shapes: dict[str, Any] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if layer not in shapes:
                shapes.pop(name, None)  # the last call counts
                shapes[name] = getattr(output, "shape", None)

        return hook

    with ExitStack() as stack:
        for name, part in model.named_modules():
            if name == layer or (name and any(True for _ in part.parameters())):
                stack.callback(part.register_forward_hook(keep(name)).remove)
        model(image)
    shape = shapes.get(layer)
    if shape is not None and len(shape) in (2, 4):
        maps = [name for name, found in shapes.items() if found is not None and len(found) == 4]
        if maps:
            return maps[-1]
        raise UsageError(f"No layer before {layer!r} puts out maps (n, channels, height, width).")
    made = "nothing" if layer not in shapes else "no tensor" if shape is None else f"the shape {tuple(shape)}"
    raise UsageError(
        f"Layer {layer!r} puts out {made}; valid: maps (n, channels, height, width) or vectors (n, units), or pass "
        f"layout=... that makes maps."
    )
