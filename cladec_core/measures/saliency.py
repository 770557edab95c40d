"""Heat maps of a classifier."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cladec_core.data import SIZE
from cladec_core.training import exact_float32


@exact_float32()
def gradcam(classifier: nn.Module, layer: str, images: Tensor) -> Tensor:
    """GradCAM of the predicted class, brought to 32x32 and to [0, 1] per image (reading C-16).

    Parameters
    ----------
    classifier
        A `Classifier`, in eval mode.
    layer
        A named layer; for a vector (`penultimate`, `logits`) the last map before it is taken.
    images
        Standardised, (n, channels, 32, 32).

    Returns
    -------
    Tensor
        (n, 32, 32); all zero where the map is constant, as it is for a 1x1 map.
    """
    names = [name for name, _ in classifier.named_children()]
    last = names.index("penultimate") - 1 if layer in ("penultimate", "logits") else names.index(layer)
    with torch.no_grad():
        activation = classifier[: last + 1](images)
    activation.requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(classifier[last + 1 :](activation).max(1).values.sum(), activation)
    maps = (gradient.mean((2, 3), keepdim=True) * activation.detach()).sum(1, keepdim=True).relu()
    maps = F.interpolate(maps, (SIZE, SIZE), mode="bilinear", align_corners=False).squeeze(1)
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    # Upsampling a constant map leaves rounding noise, which must not be stretched to [0, 1].
    spread = high - low
    return torch.where(spread > 1e-4 * high, (maps - low) / spread.clamp(min=1e-30), 0.0)
