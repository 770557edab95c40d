"""What the chapter `prototypes` can be asked for, and its cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.papers.cladec.layer_parameters import last_convolution
from cladec_companion.records.settings import Settings, classifiers, data_sets, epochs_of, parameter


@dataclass(frozen=True)
class PrototypesSettings(Settings):
    """Parameters of the experiment `prototypes` (E8); its classifier and decoder are those of `subsets`."""

    experiment: ClassVar[str] = "prototypes"
    datasets: tuple[str, ...] = data_sets(*(("mnist", "fashion_mnist"),) * 2)
    architectures: tuple[str, ...] = classifiers(*(("vgg11",),) * 4)
    decoder_epochs: int = epochs_of(1, 4, 4, 64, of="the decoders")
    prototypes: tuple[int, ...] = parameter(
        (3,), *((15,),) * 3, "how many prototypes to learn", axis=True, limits=(1, 1_000)
    )
    prototype_epochs: int = epochs_of(2, 32, 50, 1500, of="the prototype network", overnight=375)
    prototype_batch_size: int = parameter(
        32, 50, 250, 250, "images per training step of the prototype network", limits=(2, 65_536)
    )


@dataclass(frozen=True)
class Part:
    """The layer that ClaDec explains, and how many prototypes the other network learns."""

    layer: str
    prototypes: int

    def __str__(self) -> str:
        return f"{self.layer} {self.prototypes} prototypes"


def cells(settings: PrototypesSettings, architecture: str) -> Iterator[Part]:
    """One part for each number of prototypes."""
    for count in settings.prototypes:
        yield Part(last_convolution(architecture, settings.width)[0], count)
