"""What the chapter `shifts` can be asked for, and its cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.records.settings import (
    SEEDS,
    Settings,
    classifiers,
    data_sets,
    epochs_of,
    images_used,
    names_of,
    parameter,
)

SHIFTS = ("constant", "chequered", "figure")
SPLIT, INPUT = "split", "input"


@dataclass(frozen=True)
class ShiftsSettings(Settings):
    """Parameters of the experiment `shifts`."""

    experiment: ClassVar[str] = "shifts"
    datasets: tuple[str, ...] = data_sets(*(("mnist", "fashion_mnist"),) * 2)
    architectures: tuple[str, ...] = classifiers(*(("vgg5",),) * 4)
    seeds: tuple[int, ...] = parameter(
        (0,), (0,), (0, 1, 2), (0, 1, 2, 3, 4), "one run for each", overnight=(0, 1, 2), axis=True, limits=SEEDS
    )
    classifier_epochs: int = epochs_of(1, 10, 10, 10, of="the perceptron", overnight=10)
    decoder_epochs: int = epochs_of(1, 4, 5, 20, of="the decoders")
    train_limit: int | None = images_used(160, None, 20_000, None)
    hidden: int = parameter(32, 256, 1024, 1024, "neurons of each hidden layer", limits=(2, 8192))
    explained: int = parameter(6, 40, 200, 200, "test images that are explained", limits=(2, 10_000))
    changes: tuple[str, ...] = names_of(
        *((*SHIFTS, SPLIT),) * 4, help="what is done to input or network", of=(*SHIFTS, SPLIT)
    )


def cells(settings: ShiftsSettings, architecture: str) -> Iterator[str]:
    """Name the changes."""
    yield from settings.changes
