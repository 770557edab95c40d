"""What the chapter `layers` can be asked for, and its cells."""

from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.papers.cladec.layer_parameters import LayeredSettings


@dataclass(frozen=True)
class LayersSettings(LayeredSettings):
    """Parameters of the experiment `layers` (E0-E3)."""

    experiment: ClassVar[str] = "layers"
