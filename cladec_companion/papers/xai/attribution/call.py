"""One call for every method that says where in an image a network finds a class."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from cladec_companion.papers.xai.attribution.around import Around
from cladec_companion.papers.xai.attribution.methods import METHODS
from cladec_core.errors import UsageError, one_of
from cladec_core.networks import in_eval_mode
from cladec_core.training import exact_float32


@exact_float32()
def attribute(
    model: nn.Module, images: Tensor, target: Tensor | int, *, method: str = "lrp_composite",
    around: Around | None = None, **options: Any,
) -> Tensor:  # fmt: skip
    """Say where in images a network finds a class.

    Parameters
    ----------
    model
        Maps images to logits (n, classes); explained in eval mode, with its own modes put back.
    images
        (n, channels, height, width), as the model takes them.
    target
        The class whose logit is explained: one for each image, (n,), or one for all.
    method
        One of `METHODS`.
    around
        What some methods need beside; by default what can be known from these images alone.
    **options
        Of the method, such as `steps=64` of `integrated_gradients` or `patch=5` of `occlusion`.

    Returns
    -------
    Tensor
        Maps (n, height, width). Contributions are summed over channels; of sensitivities and signals it is the largest
        size over channels (section 8.4.1, note 6).

    Raises
    ------
    UsageError
        For an unknown method or option, a target that is no class, images of another shape, a network that does not
        fit the method, or a method whose needs are not met.
    """
    one_of("method", method, METHODS)
    chosen = METHODS[method]
    around = around or Around(images.detach())
    lacking = [name for name in chosen.needs if getattr(around, name) is None]
    if lacking:
        fit = ", ".join(name for name, other in METHODS.items() if not other.needs)
        raise UsageError(f"{method} needs a {lacking[0]} in `around`; valid without: {fit}.")
    known = [name for name, one in inspect.signature(chosen.run).parameters.items() if one.kind is one.KEYWORD_ONLY]
    for name in options:
        one_of(f"option of {method}", name, known)
    if images.ndim != 4:
        raise UsageError(f"Images have shape {tuple(images.shape)}; valid: (n, channels, height, width).")
    with in_eval_mode(model):
        labels = _classes(model, images, target)
        found = chosen.run(model, images.detach().clone(), labels, around, **options).detach()
    return found.abs().amax(1) if chosen.by_size else found.sum(1)


def _classes(model: nn.Module, images: Tensor, target: Tensor | int) -> Tensor:
    """The target of each image, int64 (n,)."""
    labels = torch.as_tensor(target, device=images.device)
    labels = labels.expand(len(images)) if labels.ndim == 0 else labels
    with torch.no_grad():
        count = model(images[:1]).shape[1]
    if labels.shape != (len(images),) or labels.is_floating_point():
        raise UsageError(
            f"target has shape {tuple(labels.shape)}; valid: a class, or one for each of {len(images)} images."
        )
    wrong = labels[(labels < 0) | (labels >= count)]
    if len(wrong):
        raise UsageError(f"target has {int(wrong[0])}, which is no class; valid: from 0 to {count - 1}.")
    return labels.long().contiguous()
