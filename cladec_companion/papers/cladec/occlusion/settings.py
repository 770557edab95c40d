"""What the chapter `occlusion` can be asked for, and its cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.papers.cladec.layer_parameters import LayeredSettings, layer_cells
from cladec_companion.papers.xai.attribution.methods import METHODS, SALIENCE
from cladec_companion.records.settings import check_axis, parameter
from cladec_core.data import SIZE
from cladec_core.errors import UsageError, one_of

# Contributions to a logit, which may be summed over an area.
MAPS = tuple(name for name, method in METHODS.items() if method.kind == SALIENCE and not (method.needs or method.slow))


@dataclass(frozen=True)
class OcclusionSettings(LayeredSettings):
    """Parameters of the experiment `occlusion` (E9); its trainings are those of `layers`."""

    experiment: ClassVar[str] = "occlusion"
    layers: tuple[int | str, ...] = parameter(
        (-1, -5), *((-1, -3, -5),) * 3, "layers to explain: indices counted from the output, or names", axis=True
    )
    square: int = parameter(*(12,) * 4, "side of the occluding square in pixels, 1..32", limits=(1, SIZE))
    corners: tuple[int, ...] = parameter(
        (0, 20), *((0, 6, 12, 20),) * 3, "rows and columns of the squares' upper left corners"
    )
    maps: tuple[str, ...] = parameter(
        *(("lrp_composite", "excitation_backprop"),) * 4, "heat maps that need no layer, by their names in `attribute`"
    )

    def __post_init__(self) -> None:
        """Check that every square lies in the image."""
        super().__post_init__()
        check_axis("corners", self.corners)
        for name in self.maps:
            one_of("map", name, MAPS)
        for corner in self.corners:
            if not 0 <= corner <= SIZE - self.square:
                raise UsageError(
                    f"corners has {corner}: a square of {self.square} pixels there leaves the image; "
                    f"valid: from 0 to {SIZE - self.square}."
                )


def cells(settings: OcclusionSettings, architecture: str) -> Iterator[str]:
    """Name the classifier, where random relevance is the control, and the layers."""
    yield from layer_cells(settings, architecture)
