"""The layouts of the classifiers: names, channels and sizes of layers. Importing this module imports no torch.

The paper counts layers from the output; its text and its authors' code count differently, so both maps are kept
(`LAYER_INDEX`, reading C-3).
"""

from dataclasses import dataclass, replace

from cladec_core.data import SIZE
from cladec_core.errors import one_of

DECODER_STYLES = ("code", "table1")
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


@dataclass(frozen=True)
class Layout:
    """What a classifier is made of, before it is built.

    Attributes
    ----------
    rows
        (name, channels at full width, stride) of each convolution or block; a mean over the last map and the logits
        follow.
    dropout
        Rate of the dropout before the logits; 0: none.
    max_pool
        Whether max-pooling stands in the place of strides.
    """

    rows: tuple[tuple[str, int, int], ...]
    dropout: float = 0.0
    max_pool: bool = False

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that can be explained, from input to output."""
        return (*(name for name, _, _ in self.rows), "penultimate", "logits")

    def parts(self, width: float = 1.0) -> list[tuple[str, int, int]]:
        """The rows of a network of another width: a factor on the channels of every layer."""
        return [(name, max(4, round(full * width)), stride) for name, full, stride in self.rows]

    def map_shape(self, layer: str, width: float = 1.0) -> tuple[int, int, int]:
        """Channels, height and width of what a convolution or block puts out for images of 32x32."""
        side = SIZE
        for name, channels, stride in self.parts(width):
            side = -(-side // stride)
            if name == layer:
                return channels, side, side
        raise KeyError(layer)


_VGG11 = Layout((  # as in the authors' code (reading C-1): 32x32 -> 16, 8, 8, 4, 4, 2, 2, 1
    ("conv0", 32, 2), ("conv1", 64, 2), ("conv2a", 128, 1), ("conv2", 128, 2),
    ("conv3a", 256, 1), ("conv3", 256, 2), ("conv4a", 512, 1), ("conv4", 512, 2),
), dropout=0.5)  # fmt: skip
LAYOUTS = {
    "vgg11": _VGG11,
    # Reading C-2: a stem and four basic blocks, 32x32 -> 32, 16, 8, 4.
    "resnet10": Layout(
        (("stem", 64, 1), ("block1", 64, 1), ("block2", 128, 2), ("block3", 256, 2), ("block4", 512, 2))
    ),
    # Of the conference paper, which prints no layout; this one is our choice: 32x32 -> 16, 8, 4, 2.
    "vgg5": Layout((("conv1", 32, 2), ("conv2", 64, 2), ("conv3", 128, 2), ("conv4", 256, 2))),
    # Table 1 and the code have strides; section 6.6 speaks of max-pooling (inconsistency I10).
    "vgg11_maxpool": replace(_VGG11, max_pool=True),
}


def layer_name(architecture: str, layer: int | str, index_map: str = "code") -> str:
    """Name the layer that an index of the paper, or a name, refers to (reading C-3).

    Parameters
    ----------
    architecture
        One of `LAYOUTS`.
    layer
        -1 (the output) to -5, or the layer's name.
    index_map
        "code" (what the authors' program taps) or "paper" (what the text says).

    Returns
    -------
    str
        One of the `layers` of the layout.

    Raises
    ------
    UsageError
        For an unknown architecture, index map, index or name.
    """
    one_of("architecture", architecture, LAYOUTS)
    one_of("index map", index_map, INDEX_MAPS)
    if isinstance(layer, int):
        indices = LAYER_INDEX[architecture][index_map]
        one_of(f"layer of {architecture}", layer, indices)
        return indices[layer]
    one_of(f"layer of {architecture}", layer, LAYOUTS[architecture].layers)
    return layer
