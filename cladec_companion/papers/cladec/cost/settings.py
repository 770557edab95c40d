"""What the chapter `cost` can be asked for, and its cells."""

from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.records.settings import WIDTHS, Parameters, parameter


@dataclass(frozen=True)
class CostSettings(Parameters):
    """Parameters of the chapter `cost` (B50): how long it measures; it keeps no record."""

    experiment: ClassVar[str] = "cost"
    batch_size: int = parameter(8, *(128,) * 3, "images per training step", limits=(2, 65_536))
    steps: int = parameter(1, *(2,) * 3, "training steps in each repeat", limits=(1, 10_000))
    repeats: int = parameter(1, *(3,) * 3, "repeats, of which the median counts", limits=(1, 1000))
    width: float = parameter(0.125, *(1.0,) * 3, "factor on the channels of every classifier layer", limits=WIDTHS)
