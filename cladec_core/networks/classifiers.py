"""Classifiers with named layers.

A classifier is an ordered chain of named layers, as its layout says; explaining a layer means cutting the chain there.
"""

from functools import partial

import torch
from torch import Tensor, nn

from cladec_core.errors import one_of
from cladec_core.networks.convolutions import SAFE_STRIDED_CHANNELS, Conv2d
from cladec_core.networks.layouts import LAYOUTS


class Classifier(nn.Sequential):
    """A chain of named layers that ends in `logits`.

    `forward` maps (n, channels, height, width) to (n, classes). The chain up to any named layer is an encoder.
    """

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that can be explained, from input to output."""
        return tuple(name for name, _ in self.named_children() if name != "dropout")

    def up_to(self, layer: str) -> nn.Sequential:
        """Return the layers up to and including `layer`, sharing weights, without dropout (reading C-5).

        Parameters
        ----------
        layer
            One of `layers`.

        Returns
        -------
        Sequential
            From images to that layer's activation: (n, units) or (n, channels', height', width').

        Raises
        ------
        UsageError
            If there is no such layer.
        """
        one_of("layer", layer, self.layers)
        chain = nn.Sequential()
        for name, module in self.named_children():
            if name != "dropout":
                chain.add_module(name, module)
            if name == layer:
                break
        return chain


def _conv(inputs: int, outputs: int, stride: int, max_pool: bool = False) -> nn.Sequential:
    step = 1 if max_pool else stride
    chain = nn.Sequential(Conv2d(inputs, outputs, 3, step, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
    return chain.append(nn.MaxPool2d(stride)) if step < stride else chain


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; a 1x1 projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, stride)
        self.second = nn.Sequential(Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            point = nn.Conv2d(inputs, outputs, 1, 1 if inputs < SAFE_STRIDED_CHANNELS else stride, bias=False)
            self.shortcut = nn.Sequential(point, nn.BatchNorm2d(outputs))
            if inputs < SAFE_STRIDED_CHANNELS:
                self.shortcut.insert(0, nn.MaxPool2d(1, stride))  # every n-th pixel

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(images)) + self.shortcut(images))


def classifier(architecture: str, channels: int, classes: int, width: float = 1.0) -> Classifier:
    """Build a freshly initialised classifier.

    The layouts are those of the papers, for images of 32x32; of larger images the last map is averaged over space.

    Parameters
    ----------
    architecture
        One of `LAYOUTS`.
    channels, classes
        Colour channels of the images and number of classes.
    width
        Factor on the number of channels of every layer; 1 is the paper's network.

    Returns
    -------
    Classifier
        Maps (n, channels, height, width) to (n, classes).

    Raises
    ------
    UsageError
        For an unknown architecture.
    """
    one_of("architecture", architecture, LAYOUTS)
    layout = LAYOUTS[architecture]
    chain = Classifier()
    inputs = channels
    for name, outputs, stride in layout.parts(width):
        build = _BasicBlock if name.startswith("block") else partial(_conv, max_pool=layout.max_pool)
        chain.add_module(name, build(inputs, outputs, stride))
        inputs = outputs
    chain.add_module("penultimate", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    if layout.dropout:
        chain.add_module("dropout", nn.Dropout(layout.dropout))
    chain.add_module("logits", nn.Linear(inputs, classes))
    return chain
