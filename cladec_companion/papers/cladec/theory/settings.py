"""What the chapter `theory` can be asked for, and its cells."""

from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.records.settings import SEEDS, Parameters, parameter


@dataclass(frozen=True)
class TheorySettings(Parameters):
    """Parameters of the chapter `theory` (section 4 of the paper); it trains no network and keeps no record."""

    experiment: ClassVar[str] = "theory"
    seed: int = parameter(*(0,) * 4, "decides every random encoder, sample and projection", limits=SEEDS)
    dimensions: int = parameter(3, 8, 8, 8, "units of the linear code, 1..32", limits=(1, 32))
    hidden_units: int = parameter(
        6, 16, 16, 16, "hidden units of the linear network that learns, 1..64", limits=(1, 64)
    )
    images: int = parameter(
        40, 200, 500, 500, "images whose pairwise distances are compared, 10..1000", limits=(10, 1000)
    )
    draws: int = parameter(3, 20, 50, 50, "random encoders per code size, 2..1000", limits=(2, 1000))
    points: int = parameter(
        2_000,
        20_000,
        50_000,
        50_000,
        "sampled points of the two Gaussian classes, 1000..1000000",
        limits=(1000, 1_000_000),
    )
    epochs: int = parameter(4, 128, 256, 256, "epochs of the trained linear auto-encoder, 1..2048", limits=(1, 2048))
