"""What the chapter `user_study` can be asked for, and its cells."""

from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.records.settings import SEEDS, Parameters, check_range, parameter


@dataclass(frozen=True)
class UserStudySettings(Parameters):
    """Parameters of the kit `user_study` (E10); it keeps no record, as only people can make one."""

    experiment: ClassVar[str] = "user_study"
    images: int = parameter(20, *(100,) * 3, "image pairs, as many of each class", limits=(1, 10_000))
    participants: int = parameter(6, *(59,) * 3, "participants, 1..10000", limits=(1, 10_000))
    pairs: int = parameter(*(5,) * 4, "pairs that each participant sees, at most as many as there are images")
    seed: int = parameter(*(0,) * 4, "decides images, assignment and training", limits=SEEDS)

    def __post_init__(self) -> None:
        """Check that there are enough images for a participant."""
        super().__post_init__()
        check_range("pairs", self.pairs, 1, self.images)
