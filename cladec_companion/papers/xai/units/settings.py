"""What the chapter `units` can be asked for, and its cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cladec_companion.records.settings import (
    SEEDS,
    WIDTHS,
    Settings,
    classifiers,
    data_sets,
    epochs_of,
    images_used,
    names_of,
    parameter,
)
from cladec_core import networks

if TYPE_CHECKING:
    from cladec_companion.engine.trainings import Setup as Described

MAXIMISATION, DISSECTION, COLOURS = "maximisation", "dissection", "colours"
PARTS = (MAXIMISATION, DISSECTION, COLOURS)


@dataclass(frozen=True)
class UnitsSettings(Settings):
    """Parameters of the experiment `units`."""

    experiment: ClassVar[str] = "units"
    datasets: tuple[str, ...] = data_sets(*(("fashion_mnist", "mnist", "cifar100"),) * 2)
    architectures: tuple[str, ...] = classifiers(*(("vgg11",),) * 4)
    seeds: tuple[int, ...] = parameter(
        (0,), (0,), (0, 1, 2), (0, 1, 2, 3, 4), "one run for each", overnight=(0, 1, 2), axis=True, limits=SEEDS
    )
    decoder_epochs: int = epochs_of(1, 4, 4, 64, of="the decoders and of the RefAE")
    # As few images as `quick` has make a decoder only in many small steps.
    batch_size: int = parameter(32, 16, 128, 128, "images per training step", limits=(2, 65_536))
    train_limit: int | None = images_used(160, 800, 20_000, None)
    width: float = parameter(0.125, 0.25, 1.0, 1.0, "factor on the channels of every classifier layer", limits=WIDTHS)
    layer: int | str = parameter(
        *(-1,) * 4, "layer of hidden units and of decoders: index counted from the output, or a name"
    )
    questions: tuple[str, ...] = names_of(*(PARTS,) * 4, help="what is asked", of=PARTS)
    classes: int = parameter(2, 5, 10, 20, "classes whose units are maximised", limits=(1, 1000))
    hidden: int = parameter(2, 3, 10, 20, "units of the layer that are maximised", limits=(1, 1000))
    steps: int = parameter(3, 30, 60, 200, "steps of each search", limits=(1, 10_000))
    scenes: int = parameter(40, 200, 500, 2000, "mosaics for dissection", limits=(4, 100_000))
    lengths: tuple[int, ...] = parameter(
        (0,),
        (0, 1),
        (0, 1),
        (0, 1, 2, 4, 16),
        "epochs of further trainings, whose classifiers are dissected, too",
        limits=(0, 10_000),
    )
    coloured: int = parameter(2, 4, 40, 100, "classes whose colours are looked at", limits=(2, 1000))

    def __post_init__(self) -> None:
        """Check the layer against every architecture."""
        super().__post_init__()
        for architecture in self.architectures:
            networks.layer_name(architecture, self.layer)


def cells(settings: UnitsSettings, architecture: str) -> Iterator[str]:
    """Name the questions."""
    yield from settings.questions


def settings_of(setup: Described) -> UnitsSettings:
    """The parameters of a setup of this chapter."""
    assert isinstance(setup.settings, UnitsSettings)
    return setup.settings
