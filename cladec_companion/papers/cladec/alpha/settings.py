"""What the chapter `alpha` can be asked for, and its cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.papers.cladec.layer_parameters import last_convolution
from cladec_companion.records.settings import Settings, data_sets, epochs_of, parameter


@dataclass(frozen=True)
class AlphaSettings(Settings):
    """Parameters of the experiment `alpha` (E4, E5): the weight of the classification loss."""

    experiment: ClassVar[str] = "alpha"
    datasets: tuple[str, ...] = data_sets(("fashion_mnist",), ("fashion_mnist",))
    decoder_epochs: int = epochs_of(1, 4, 4, 64, of="the decoders")
    alphas: tuple[float, ...] = parameter(
        (0.0, 0.9, 1.0), (0.0, 0.01, 0.9, 1.0), *((0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0),) * 2,
        "weights of the classification loss in Eq. 1, from 0 to 1", axis=True, limits=(0, 1),
    )  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A layer and the weight with which its decoder is trained."""

    layer: str
    alpha: float

    def __str__(self) -> str:
        return f"{self.layer} α={self.alpha}"


def cells(settings: AlphaSettings, architecture: str) -> Iterator[Part]:
    """One part for each weight, at the layer of Tables 4 to 6 (reading C-19)."""
    for alpha in settings.alphas:
        yield Part(last_convolution(architecture)[0], alpha)
