"""Excitation backprop: which pixels win when a unit asks, layer by layer, who excited it (Zhang et al. 2016).

The rules of each layer are zennit's. What is done here is the contrast: of a unit and of its dual, which has the
opposite weights, the winners one layer below are subtracted, and the difference is propagated to the pixels (c-MWP).
"""

import torch
from torch import Tensor, nn

from cladec_core.errors import UsageError
from cladec_core.networks import capture, check_layer, in_eval_mode

AT_ONCE = 128  # images


class UpTo(nn.Module):
    """Any classifier up to a layer of units: images -> (n, units).

    Raises
    ------
    UsageError
        For a layer that the model does not have, or, when images come, that puts out no vector of units.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        super().__init__()
        check_layer(model, layer)
        self.model, self.layer = model, layer

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, height, width) -> (n, units)."""
        with capture(self.model, self.layer, stop=True) as outputs:
            self.model(images)
        found = outputs[0]
        if not isinstance(found, Tensor) or found.ndim != 2:
            shape = tuple(found.shape[1:]) if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(f"Layer {self.layer!r} puts out {shape}; valid: a layer that puts out a vector of units.")
        return found


def winners(activations: Tensor, weights: Tensor) -> Tensor:
    """The marginal winning probability one layer below a unit: excitatory inputs in proportion to what they bring.

    Parameters
    ----------
    activations
        Of the layer below, (images, inputs); negative ones excite nobody.
    weights
        Of the unit, (inputs,).

    Returns
    -------
    Tensor
        (images, inputs); it sums to 1 unless nothing excites the unit.
    """
    excited = activations.clamp(min=0) * weights.clamp(min=0)
    total = excited.sum(1, keepdim=True)
    return excited / torch.where(total > 0, total, torch.ones_like(total))


def contrastive_maps(body: nn.Module, weights: Tensor, images: Tensor, *, contrast: bool = True) -> Tensor:
    """Maps of some units that sit on top of a network.

    Parameters
    ----------
    body
        From images to the inputs of the units, (n, inputs). Its layers have to be modules of their own, with ReLU
        between them; BatchNorm right after a convolution is merged into it for the time.
    weights
        Of the units, (units, inputs).
    images
        Not negative where a map on the pixels is to mean anything, (n, channels, height, width).
    contrast
        Whether the dual unit is subtracted (c-MWP); else the plain probability (MWP), which sums to 1.

    Returns
    -------
    Tensor
        (n, units, height, width) on the device of the images; summed over channels, negative values set to 0.
    """
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import ExcitationBackprop

    composite = ExcitationBackprop(zero_params=["bias"], canonizers=[SequentialMergeBatchNorm()])
    found = []
    with in_eval_mode(body), composite.context(body) as modified:
        for part in images.split(AT_ONCE):
            batch = part.detach().clone().requires_grad_(True)
            activations = modified(batch)
            below = activations.detach()
            maps = []
            for unit in weights:
                asked = winners(below, unit) - (winners(below, -unit) if contrast else 0)
                (relevance,) = torch.autograd.grad(activations, batch, asked, retain_graph=True)
                maps.append(relevance.sum(1))
            found.append(torch.stack(maps, 1).clamp(min=0).detach())
    return torch.cat(found)


def head_of(model: nn.Module) -> nn.Linear:
    """The last fully connected layer of a classifier, which makes the logits.

    Raises
    ------
    UsageError
        If the model has none.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UsageError(f"{type(model).__name__} has no fully connected layer that could make the logits.")
    return linear[-1]
