"""What the chapter `budget` can be asked for, and its cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.papers.cladec.layer_parameters import LayeredSettings
from cladec_companion.records.settings import classifiers, data_sets, epochs_of, images_used, parameter
from cladec_core import networks
from cladec_core.errors import UsageError


@dataclass(frozen=True)
class BudgetSettings(LayeredSettings):
    """Parameters of the experiment `budget`: how long decoders, RefAE and evaluation classifiers are trained."""

    experiment: ClassVar[str] = "budget"
    datasets: tuple[str, ...] = data_sets(("fashion_mnist",), ("fashion_mnist",), overnight=("fashion_mnist",))
    architectures: tuple[str, ...] = classifiers(*(("vgg11",),) * 4)
    layers: tuple[int | str, ...] = parameter(
        *((-1, -5),) * 4, "layers to explain: indices counted from the output, or names", axis=True
    )
    classifier_epochs: int = epochs_of(1, 6, 4, 64, of="the classifier to explain, which is the same for every length")
    decoder_epochs: int = epochs_of(
        4, 8, 16, 64, of="the longest training of the decoders, the RefAE and the evaluation classifiers", overnight=64
    )
    train_limit: int | None = images_used(160, 640, 20_000, None)
    width: float = parameter(
        0.125, 0.25, 1.0, 1.0, "factor on the channels of every classifier layer", limits=(0.05, 4.0)
    )
    shares: tuple[int, ...] = parameter(
        (4, 2, 1), (8, 2, 1), (4, 1), (16, 4, 1), "the longest training is divided by each of these", axis=True,
        limits=(1, 10_000),
    )  # fmt: skip
    amounts: tuple[int, ...] = parameter(
        (160,), (640,), (20_000,), (20_000, 60_000), "training images that everything but the classifier sees",
        axis=True, limits=(2, 10_000_000),
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Check the lengths and the numbers of images."""
        super().__post_init__()
        for share in self.shares:
            if self.decoder_epochs % share:
                valid = [number for number in range(1, self.decoder_epochs + 1) if self.decoder_epochs % number == 0]
                raise UsageError(
                    f"shares has {share}, which does not divide the {self.decoder_epochs} epochs of the longest "
                    f"training; valid: {', '.join(map(str, valid))}."
                )
        for amount in self.amounts:
            if self.train_limit is not None and amount > self.train_limit:
                raise UsageError(f"amounts has {amount}; valid: at most {self.train_limit}, the train_limit.")


@dataclass(frozen=True)
class Part:
    """A layer, and what is spent on it: training images, and epochs of everything but the classifier."""

    layer: str
    images: int
    epochs: int

    def __str__(self) -> str:
        return f"{self.layer} {self.images} images {self.epochs} epochs"


def cells(settings: BudgetSettings, architecture: str) -> Iterator[Part]:
    """The cheapest first: every layer for the shortest length, then for the next."""
    for images in sorted(settings.amounts):
        for share in sorted(settings.shares, reverse=True):
            for layer in settings.layers:
                name = networks.layer_name(architecture, layer, settings.index_map)
                yield Part(name, images, settings.decoder_epochs // share)
