"""What the chapter `your_own` can be asked for, and its cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.records.settings import SEEDS, Settings, classifiers, data_sets, epochs_of, images_used, parameter
from cladec_core import networks


@dataclass(frozen=True)
class YourOwnSettings(Settings):
    """Parameters of the experiment `your_own`: a classifier that looks at a marker, and one that cannot."""

    experiment: ClassVar[str] = "your_own"
    datasets: tuple[str, ...] = data_sets(("mnist",), ("mnist",))
    architectures: tuple[str, ...] = classifiers(*(("vgg5",),) * 4)
    seeds: tuple[int, ...] = parameter((0,), (0,), *((0, 1, 2, 3, 4),) * 2, "one run for each", axis=True, limits=SEEDS)
    decoder_epochs: int = epochs_of(1, 4, 36, 64, of="decoder and reference")
    batch_size: int = parameter(32, 32, 32, 128, "images per training step of a classifier", limits=(2, 65_536))
    # With so few images explainers have small batches and narrow decoders: twice the steps in the same time.
    train_limit: int | None = images_used(160, 1_000, 2_000, None)
    layers: tuple[int | str, ...] = parameter(
        ("conv4",), ("conv3", "conv4"), *(("conv3", "conv4", "penultimate"),) * 2,
        "layers to explain: indices counted from the output, or names", axis=True,
    )  # fmt: skip
    marked_class: int = parameter(*(8,) * 4, "the class that carries the marker, counted from 0", limits=(0, 9))
    marker: int = parameter(*(6,) * 4, "side of the marker in pixels, 1..16", limits=(1, 16))
    fitted_on: Literal["biased", "honest"] = parameter(
        *("biased",) * 4, "explainers see the training images of this classifier: the marker on its class, or anywhere"
    )
    images: int = parameter(2, 12, 24, 100, "marked test images that are explained", limits=(1, 10_000))
    lime_samples: int = parameter(
        20, 200, 500, 1000, "covered copies of an image that LIME asks about", limits=(10, 100_000)
    )

    def __post_init__(self) -> None:
        """Check the layers against every architecture."""
        super().__post_init__()
        for architecture in self.architectures:
            for layer in self.layers:
                networks.layer_name(architecture, layer)


def cells(settings: YourOwnSettings, architecture: str) -> Iterator[str]:
    """Name the layers to explain, after what does not depend on a layer."""
    yield CLASSIFIER
    yield from (networks.layer_name(architecture, layer) for layer in settings.layers)
