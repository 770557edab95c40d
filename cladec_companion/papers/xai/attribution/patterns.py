"""PatternNet and PatternAttribution: what a unit's input varies with when the unit varies (section 22.2.2, Eq. 22.4).

No PyTorch library has them. The estimator is that of Kindermans et al. (2018), to whom the book refers; rules and
hooks are zennit's.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zennit.attribution import Gradient
from zennit.core import BasicHook, Composite, Hook

from cladec_companion.papers.xai.attribution.around import Around
from cladec_companion.papers.xai.attribution.modules import modular, weighted

BATCH = 64
IMAGES = 512  # on which patterns are learnt
Patterns = dict[str, Tensor]  # name of a layer -> pattern of each unit, of the shape of the layer's weight


def linear_pattern(inputs: Tensor, outputs: Tensor) -> Tensor:
    """What inputs vary with when linear outputs vary: cov(x, y) / var(y), (units, features), from (n, ...) each."""
    x, y = inputs - inputs.mean(0), outputs - outputs.mean(0)
    return y.T @ x / y.square().sum(0).unsqueeze(1).clamp(min=1e-12)


@torch.no_grad()
def learn(network: nn.Module, images: Tensor) -> Patterns:
    """Patterns of all layers with weights of a copy by `modules.modular`.

    Units before a ReLU have the two-component estimator, from inputs for which they are active; the top layer, which
    has no ReLU, the linear one.

    Parameters
    ----------
    images
        (n, channels, height, width); moments are taken over images and, of convolutions, over places.
    """
    names = weighted(network)
    moments: dict[str, list[Tensor]] = {}
    for name, inputs, outputs in _seen(network, names, images):
        active = (outputs > 0).to(inputs.dtype) if name != names[-1] else torch.ones_like(outputs)
        # Of each unit over its active cases: how many, Σx, Σy, Σxy, Σy²; the unit comes first.
        found = [active.sum(0), active.T @ inputs, (active * outputs).sum(0), (active * outputs).T @ inputs,
                 (active * outputs.square()).sum(0)]  # fmt: skip
        before = moments.get(name)
        moments[name] = found if before is None else [a + b for a, b in zip(before, found, strict=True)]
    return {name: _pattern(network.get_submodule(name), moments[name], name != names[-1]) for name in names}


def _pattern(layer: nn.Module, moments: list[Tensor], gated: bool) -> Tensor:
    """E+[xy] - E+[x] E+[y] over its product with the weight; without a gate this is cov(x, y) / var(y).

    Section 14.3.3 prints E[y] in the place of E+[y]. Then the difference is no covariance: a part of E+[x] is left in
    the pattern, which moves with a shift of the input, and the book says that patterns do not.
    """
    weight = layer.get_parameter("weight")
    count, x, y, xy, yy = (part.double() for part in moments)
    count = count.clamp(min=1)
    covariance = xy / count.unsqueeze(1) - (x / count.unsqueeze(1)) * (y / count).unsqueeze(1)
    scale = (covariance * weight.flatten(1)).sum(1) if gated else yy / count - (y / count).square()
    safe = torch.where(scale.abs() > 1e-10, scale, torch.inf)  # a unit that never varies has no pattern
    return (covariance / safe.unsqueeze(1)).to(weight.dtype).view_as(weight)


def _seen(network: nn.Module, names: list[str], images: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Inputs (cases, features) and linear outputs (cases, units) of layers; the places of a convolution are cases."""
    kept: dict[str, tuple[Tensor, Tensor]] = {}
    with ExitStack() as stack:
        for name in names:

            def keep(_: nn.Module, inputs: Any, output: Tensor, name: str = name) -> None:
                kept[name] = (inputs[0], output)

            stack.callback(network.get_submodule(name).register_forward_hook(keep).remove)
        for batch in images.split(BATCH):
            network(batch)
            for name in names:
                layer, (inputs, outputs) = network.get_submodule(name), kept[name]
                if isinstance(layer, nn.Conv2d):
                    assert not isinstance(layer.padding, str)
                    windows = F.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
                    inputs, outputs = (part.transpose(1, 2).flatten(0, 1) for part in (windows, outputs.flatten(2)))
                yield name, inputs, outputs


def _backward(network: nn.Module, images: Tensor, target: Tensor, weights: Patterns) -> Tensor:
    """A gradient's way back, with other weights; ReLUs let pass what they let pass on the way there."""

    def rule(_: dict, name: str, module: nn.Module) -> Hook | None:
        if name not in weights:
            return None
        return BasicHook(
            param_modifiers=[lambda value, key: weights[name] if key == "weight" else value],
            gradient_mapper=lambda gradient, outputs: [gradient],
            reducer=lambda inputs, gradients: gradients[0],
        )

    def start(logits: Tensor) -> Tensor:
        return F.one_hot(target, logits.shape[1]).to(logits.dtype) * logits.detach()

    with Gradient(network, Composite(rule)) as attributor, torch.enable_grad():
        return attributor(images.detach().clone(), start)[1].detach()


def _known(model: nn.Module, around: Around) -> tuple[nn.Module, Patterns]:
    """The copy of a network and its patterns, learnt once for the same surroundings and weights."""
    network = modular(model)
    key = f"patterns {sum(float(value.double().sum()) for value in model.parameters())!r}"
    if key not in around.remembered:
        around.remembered[key] = learn(network, around.images[:IMAGES])
    found = around.remembered[key]
    assert isinstance(found, dict)
    return network, found


def patternnet(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """The signal in the image that the target's logit detects."""
    network, patterns = _known(model, around)
    return _backward(network, images, target, patterns)


def patternattribution(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """How much each pixel's signal contributes: weights times patterns on the way back (Eq. 22.4)."""
    network, patterns = _known(model, around)
    both = {name: network.get_submodule(name).get_parameter("weight") * pattern for name, pattern in patterns.items()}
    return _backward(network, images, target, both)
