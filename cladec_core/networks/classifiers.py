"""Classifiers with named layers.

A classifier is an ordered chain of named layers; explaining a layer means cutting the chain there. The
paper counts layers from the output; its text and its authors' code count differently, so both maps are kept
(`LAYER_INDEX`, reading C-3).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from cladec_core.errors import one_of
from cladec_core.networks.convolutions import Conv2d

INDEX_MAPS = ("code", "paper")
# layer index counted from the output -> layer name. `code`: what the authors' program taps; `paper`: what the
# text says (-1 are the logits). They differ because the program never reaches the logits (finding 1).
LAYER_INDEX: dict[str, dict[str, dict[int, str]]] = {
    "vgg11": {
        "code": {-1: "penultimate", -2: "conv4a", -3: "conv3", -4: "conv3a", -5: "conv2"},
        "paper": {-1: "logits", -2: "conv4", -3: "conv4a", -4: "conv3", -5: "conv3a"},
    },
    "resnet10": {
        "code": {-1: "penultimate", -2: "block4", -3: "block3", -4: "block2", -5: "block1"},
        "paper": {-1: "logits", -2: "block4", -3: "block3", -4: "block2", -5: "block1"},
    },
    "vgg5": {
        "code": {-1: "penultimate", -2: "conv4", -3: "conv3", -4: "conv2", -5: "conv1"},
        "paper": {-1: "logits", -2: "conv4", -3: "conv3", -4: "conv2", -5: "conv1"},
    },
}
LAYER_INDEX["vgg11_maxpool"] = LAYER_INDEX["vgg11"]


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
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(images)) + self.shortcut(images))


def _vgg11(channels: int, classes: int, width: float, max_pool: bool = False) -> Classifier:
    """VGG-11 as in the authors' code (reading C-1): 32x32 -> 16, 8, 8, 4, 4, 2, 2, 1.

    Table 1 and the code have strides; section 6.6 speaks of max-pooling (inconsistency I10). The mean over the last map
    makes a vector of larger images; over the single pixel of theirs it changes nothing.
    """
    rows = [
        ("conv0", 32, 2), ("conv1", 64, 2), ("conv2a", 128, 1), ("conv2", 128, 2),
        ("conv3a", 256, 1), ("conv3", 256, 2), ("conv4a", 512, 1), ("conv4", 512, 2),
    ]  # fmt: skip
    return _finish(rows, channels, classes, width, dropout=0.5, max_pool=max_pool)


def _vgg5(channels: int, classes: int, width: float) -> Classifier:
    """VGG-5 of the conference paper, which prints no layout; this one is our choice: 32x32 -> 16, 8, 4, 2."""
    rows = [("conv1", 32, 2), ("conv2", 64, 2), ("conv3", 128, 2), ("conv4", 256, 2)]
    return _finish(rows, channels, classes, width)


def _resnet10(channels: int, classes: int, width: float) -> Classifier:
    """ResNet-10 (reading C-2): a stem and four basic blocks, 32x32 -> 32, 16, 8, 4."""
    rows = [("stem", 64, 1), ("block1", 64, 1), ("block2", 128, 2), ("block3", 256, 2), ("block4", 512, 2)]
    return _finish(rows, channels, classes, width)


def _finish(
    rows: list[tuple[str, int, int]],
    channels: int,
    classes: int,
    width: float,
    *,
    dropout: float = 0.0,
    max_pool: bool = False,
) -> Classifier:
    """Chain convolutions or blocks, given as (name, channels at full width, stride), to a pooled vector and logits."""
    chain = Classifier()
    inputs = channels
    for name, full, stride in rows:
        outputs = max(4, round(full * width))
        build = _BasicBlock if name.startswith("block") else partial(_conv, max_pool=max_pool)
        chain.add_module(name, build(inputs, outputs, stride))
        inputs = outputs
    chain.add_module("penultimate", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    if dropout:
        chain.add_module("dropout", nn.Dropout(dropout))
    chain.add_module("logits", nn.Linear(inputs, classes))
    return chain


ARCHITECTURES: dict[str, Callable[[int, int, float], Classifier]] = {
    "vgg11": _vgg11,
    "resnet10": _resnet10,
    "vgg5": _vgg5,
    "vgg11_maxpool": partial(_vgg11, max_pool=True),
}


def classifier(architecture: str, channels: int, classes: int, width: float = 1.0) -> Classifier:
    """Build a freshly initialised classifier.

    The layouts are those of the papers, for images of 32x32; of larger images the last map is averaged over space.

    Parameters
    ----------
    architecture
        One of `ARCHITECTURES`.
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
    one_of("architecture", architecture, ARCHITECTURES)
    return ARCHITECTURES[architecture](channels, classes, width)


def layer_name(architecture: str, layer: int | str, index_map: str = "code") -> str:
    """Name the layer that an index of the paper, or a name, refers to (reading C-3).

    Parameters
    ----------
    architecture
        One of `ARCHITECTURES`.
    layer
        -1 (the output) to -5, or the layer's name.
    index_map
        "code" (what the authors' program taps) or "paper" (what the text says).

    Returns
    -------
    str
        One of the `layers` of the architecture's classifier.

    Raises
    ------
    UsageError
        For an unknown architecture, index map, index or name.
    """
    one_of("architecture", architecture, ARCHITECTURES)
    one_of("index map", index_map, INDEX_MAPS)
    if isinstance(layer, int):
        indices = LAYER_INDEX[architecture][index_map]
        one_of(f"layer of {architecture}", layer, indices)
        return indices[layer]
    one_of(f"layer of {architecture}", layer, classifier(architecture, 1, 2, width=0.1).layers)
    return layer
