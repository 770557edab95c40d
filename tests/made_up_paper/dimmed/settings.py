"""What the chapter `dimmed` can be asked for, and its cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.records.settings import Settings, classifiers, parameter


@dataclass(frozen=True)
class DimmedSettings(Settings):
    """Parameters of the made-up chapter."""

    experiment: ClassVar[str] = "dimmed"
    architectures: tuple[str, ...] = classifiers(*(("vgg5",),) * 4)
    dimming: tuple[float, ...] = parameter(
        *((0.25, 1.0),) * 4, "what the grey values are multiplied by", axis=True, limits=(0, 1), spoken="dimmed to"
    )


@dataclass(frozen=True)
class Part:
    """How much the images of a decoder are dimmed."""

    dimming: float

    def __str__(self) -> str:
        return f"dimmed to {self.dimming}"


def cells(settings: DimmedSettings, architecture: str) -> Iterator[Part]:
    """One part for each factor."""
    yield from map(Part, settings.dimming)
