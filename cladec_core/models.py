"""Classifiers with named layers, and decoders built from the shape of an activation.

A classifier is an ordered chain of named layers; explaining a layer means cutting the chain there. The
paper counts layers from the output; its text and its authors' code count differently, so both maps are kept
(`LAYER_INDEX`, reading C-3).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from cladec_core.convolutions import Conv2d, ConvTranspose2d
from cladec_core.data import SIZE
from cladec_core.errors import UsageError, one_of

INDEX_MAPS = ("code", "paper")
DECODER_STYLES = ("code", "table1")

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

    `forward` maps (n, channels, 32, 32) to (n, classes). The chain up to any named layer is an encoder.
    """

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that can be explained, from input to output."""
        return tuple(name for name, _ in self.named_children() if name != "dropout")

    def up_to(self, layer: str) -> nn.Sequential:
        """Return the layers up to and including `layer`, sharing weights, without dropout (reading C-5).

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

    def forward(self, activations: Tensor) -> Tensor:
        """(n, channels, ...) -> (n, kept, ...)."""
        return activations.index_select(1, self.channels)


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
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(images)) + self.shortcut(images))


def _vgg11(channels: int, classes: int, width: float, max_pool: bool = False) -> Classifier:
    """VGG-11 as in the authors' code (reading C-1): 32x32 -> 16, 8, 8, 4, 4, 2, 2, 1.

    Table 1 and the code have strides; section 6.6 speaks of max-pooling (inconsistency I10).
    """
    rows = [
        ("conv0", 32, 2), ("conv1", 64, 2), ("conv2a", 128, 1), ("conv2", 128, 2),
        ("conv3a", 256, 1), ("conv3", 256, 2), ("conv4a", 512, 1), ("conv4", 512, 2),
    ]  # fmt: skip
    return _finish(rows, channels, classes, width, pool=nn.Identity(), dropout=0.5, max_pool=max_pool)


def _vgg5(channels: int, classes: int, width: float) -> Classifier:
    """VGG-5 of the conference paper, which prints no layout; this one is our choice: 32x32 -> 16, 8, 4, 2."""
    rows = [("conv1", 32, 2), ("conv2", 64, 2), ("conv3", 128, 2), ("conv4", 256, 2)]
    return _finish(rows, channels, classes, width, pool=nn.AdaptiveAvgPool2d(1), dropout=0.0)


def _resnet10(channels: int, classes: int, width: float) -> Classifier:
    """ResNet-10 (reading C-2): a stem and four basic blocks, 32x32 -> 32, 16, 8, 4."""
    rows = [("stem", 64, 1), ("block1", 64, 1), ("block2", 128, 2), ("block3", 256, 2), ("block4", 512, 2)]
    return _finish(rows, channels, classes, width, pool=nn.AdaptiveAvgPool2d(1), dropout=0.0)


def _finish(
    rows: list[tuple[str, int, int]],
    channels: int,
    classes: int,
    width: float,
    pool: nn.Module,
    dropout: float,
    max_pool: bool = False,
) -> Classifier:
    chain = Classifier()
    inputs = channels
    for name, full, stride in rows:
        outputs = max(4, round(full * width))
        build = _BasicBlock if name.startswith("block") else partial(_conv, max_pool=max_pool)
        chain.add_module(name, build(inputs, outputs, stride))
        inputs = outputs
    chain.add_module("penultimate", nn.Sequential(pool, nn.Flatten()))
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
    """Build a freshly initialised classifier for 32x32 images.

    Parameters
    ----------
    architecture
        One of `ARCHITECTURES`.
    channels, classes
        Colour channels of the images and number of classes.
    width
        Factor on the number of channels of every layer; 1 is the paper's network.

    Raises
    ------
    UsageError
        For an unknown architecture.
    """
    one_of("architecture", architecture, ARCHITECTURES)
    return ARCHITECTURES[architecture](channels, classes, width)


def layer_name(architecture: str, layer: int | str, index_map: str = "code") -> str:
    """Name the layer that an index of the paper, or a name, refers to (reading C-3).

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


def activation_shape(encoder: nn.Module, channels: int) -> tuple[int, ...]:
    """Shape of one image's activation: (units,) or (channels, height, width)."""
    device = next((part.device for part in (*encoder.parameters(), *encoder.buffers())), None)
    with torch.no_grad(), in_eval_mode(encoder):
        return tuple(encoder(torch.zeros(1, channels, SIZE, SIZE, device=device)).shape[1:])


def decoder(shape: tuple[int, ...], channels: int, style: str = "code", sigmoid: bool = False) -> nn.Sequential:
    """Build a decoder from an activation to a 32x32 image (reading C-3b).

    Parameters
    ----------
    shape
        The activation's shape without the batch: (units,) or (channels, size, size) with a size of
        1, 2, 4, 8, 16 or 32.
    channels
        Colour channels of the image.
    style
        "code": an entry layer, then 4x4 transposed convolutions with 512, 256, 128, 64 channels, the widest
        left out as the activation's size grows (the authors' program). "table1": an entry layer of 256 units
        for vectors, then 5x5 transposed convolutions with 256, 128, 64, 32 channels (Table 1).
    sigmoid
        End in a sigmoid (for images in [0, 1]) instead of a linear output.

    Raises
    ------
    UsageError
        For an unknown style or a shape that no doubling brings to 32x32.
    """
    one_of("decoder style", style, DECODER_STYLES)
    inputs, *sides = shape
    size = sides[0] if sides else 1
    if len(shape) not in (1, 3) or sides != [size] * len(sides) or size not in (1, 2, 4, 8, 16, 32):
        raise UsageError(
            f"No decoder for an activation of shape {shape}; valid: (units,) or (channels, size, size) with size "
            f"1, 2, 4, 8, 16 or 32."
        )
    doublings = (SIZE // size).bit_length() - 1
    if style == "code":
        widths, kernel, padding, extra = (512, 256, 128, 64), 4, 1, 0
        entry = max(inputs, 64) if size == 1 else inputs
    else:
        widths, kernel, padding, extra = (256, 128, 64, 32), 5, 2, 1
        entry = 256 if size == 1 else inputs
    chain: list[nn.Module] = []
    if size == 1:
        chain += [nn.Flatten(), nn.Linear(inputs, entry), nn.ReLU(), nn.Unflatten(1, (entry, 1, 1))]
    elif style == "code":
        chain += [Conv2d(inputs, entry, 3, padding=1), nn.ReLU()]
    outputs = [*widths[len(widths) + 1 - doublings :], channels] if doublings else []
    for before, after in zip([entry, *outputs], outputs, strict=False):
        chain.append(ConvTranspose2d(before, after, kernel, 2, padding, output_padding=extra))
        chain.append(nn.ReLU())
    if doublings:
        chain.pop()  # no ReLU after the last one: standardised images have negative values (reading C-6)
    else:
        chain.append(nn.Conv2d(entry, channels, 3, padding=1))
    return nn.Sequential(*chain, *([nn.Sigmoid()] if sigmoid else []))
