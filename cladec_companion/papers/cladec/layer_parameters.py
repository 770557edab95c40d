"""Layers as parameters, and as cells, of several chapters of the paper."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.records.settings import Settings, parameter
from cladec_core import networks
from cladec_core.errors import UsageError


@dataclass(frozen=True)
class LayeredSettings(Settings):
    """Parameters of every experiment that explains layers by their index in the paper, or by name."""

    layers: tuple[int | str, ...] = parameter(
        (-1, -5), (-1, -3, -5), (-1, -3, -5, -2, -4), (-1, -2, -3, -4, -5),
        "layers to explain: indices counted from the output, or names", overnight=(-1, -3, -5), axis=True,
    )  # fmt: skip
    index_map: Literal["code", "paper"] = parameter(
        *("code",) * 4, "which layer an index means: as in the authors' code or in the paper's text"
    )

    def __post_init__(self) -> None:
        """Check the layers against every architecture."""
        super().__post_init__()
        for architecture in self.architectures:
            names = [networks.layer_name(architecture, layer, self.index_map) for layer in self.layers]
            if len(set(names)) < len(names):
                raise UsageError(f"layers {list(self.layers)} name the same layer of {architecture} twice: {names}.")


def last_convolution(architecture: str, width: float = 1.0) -> tuple[str, int]:
    """Name of the last convolution (or block), the layer of section 6.4, and how many channels it has."""
    name = networks.layer_name(architecture, -2, "paper")
    return name, networks.LAYOUTS[architecture].map_shape(name, width)[0]


def layer_cells(settings: LayeredSettings, architecture: str) -> Iterator[str]:
    """Name the layers to explain, after the classifier itself."""
    yield CLASSIFIER
    for layer in settings.layers:
        yield networks.layer_name(architecture, layer, settings.index_map)
