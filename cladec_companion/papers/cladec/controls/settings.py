"""What the chapter `controls` can be asked for, and its cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.papers.cladec.layer_parameters import LayeredSettings
from cladec_companion.records.settings import (
    WIDTHS,
    classifiers,
    data_sets,
    epochs_of,
    images_used,
    names_of,
    parameter,
)
from cladec_core import networks

BASELINE = "baseline"
CONTROLS = {  # what is different from the baseline
    "same_half": "half of the training images, for everything",
    "other_half": "half of the training images for the classifier, the other half for everything else",
    "originals": "one evaluation classifier for both, trained on original images",
    "mean_loss": "reconstruction losses averaged over pixels, not summed",
    "small_alpha": "the default of the authors' program: averaged losses, and 0.001 for α in ClaDec's",
    "unit": "images in [0, 1], not standardised",
    "sigmoid": "images in [0, 1], and decoders that end in a sigmoid",
    "table1": "the decoder of Table 1",
    "bilinear": "images enlarged by bilinear interpolation",
    "max_pooling": "a VGG with max-pooling in the place of strides",
}


@dataclass(frozen=True)
class ControlsSettings(LayeredSettings):
    """Parameters of the experiment `controls`: which choices are varied, one at a time."""

    experiment: ClassVar[str] = "controls"
    datasets: tuple[str, ...] = data_sets(("fashion_mnist",), ("fashion_mnist",))
    # With ResNet-10, which costs twenty times as much, `paper` would spend two fifths of its time on these.
    architectures: tuple[str, ...] = classifiers(*(("vgg11",),) * 4)
    decoder_epochs: int = epochs_of(1, 5, 4, 64, of="the decoders and of the RefAE")
    train_limit: int | None = images_used(160, 640, 10_000, None)
    width: float = parameter(0.125, 0.25, 1.0, 1.0, "factor on the channels of every classifier layer", limits=WIDTHS)
    layers: tuple[int | str, ...] = parameter(
        (-5,), (-5,), (-3,), (-1, -3), "layers to explain: indices counted from the output, or names", axis=True
    )
    controls: tuple[str, ...] = names_of(
        *(tuple(CONTROLS),) * 4, help="what to change beside the baseline", of=CONTROLS
    )


POOLED = {"vgg11": "vgg11_maxpool"}


@dataclass(frozen=True)
class Part:
    """A layer, and the one thing that is done differently."""

    layer: str
    control: str

    def __str__(self) -> str:
        return f"{self.layer} {self.control}"


def cells(settings: ControlsSettings, architecture: str) -> Iterator[Part]:
    """The baseline and every control that differs from it, layer by layer."""
    same = {settings.resize, settings.decoder_style} | (set() if architecture in POOLED else {"max_pooling"})
    for layer in settings.layers:
        for control in (BASELINE, *settings.controls):
            if control not in same:
                yield Part(networks.layer_name(architecture, layer, settings.index_map), control)
