"""A cell of a record: its name, what it cost, and under which conditions it was trained.

A cell is one trained configuration: the unit that is recorded, continued and merged. Two cells of a record can be
compared only if they explain the same classifier and were trained alike; `Misfit` is raised where they were not.
"""

from dataclasses import asdict, dataclass
from typing import Any

from cladec_core.errors import RunError


class Misfit(RunError):
    """Cells that cannot stand in one record; the message says in what they differ."""


@dataclass(frozen=True, order=True)
class CellName:
    """The name of a cell: `mnist/vgg11/conv2/0`.

    Attributes
    ----------
    dataset, architecture, seed
        The run: what shares one classifier to explain.
    part
        What of the run is trained, in the words of the chapter: a layer, a weight, a subset.
    """

    dataset: str
    architecture: str
    part: str
    seed: int

    def __post_init__(self) -> None:
        """Refuse parts that could not be read back."""
        for part in (self.dataset, self.architecture, self.part):
            if not part or "/" in part or not part.isprintable():
                raise RunError(f"{part!r} cannot be a part of a cell's name; valid: printable text without '/'.")

    def __str__(self) -> str:
        return f"{self.dataset}/{self.architecture}/{self.part}/{self.seed}"

    @classmethod
    def read(cls, text: str) -> "CellName":
        """Take a name apart.

        Raises
        ------
        RunError
            If it is not the name of a cell.
        """
        parts = text.split("/")
        if len(parts) != 4 or not (parts[3].isascii() and parts[3].isdecimal()) or str(int(parts[3])) != parts[3]:
            raise RunError(f"{text!r} is not the name of a cell, such as 'mnist/vgg11/conv2/0'.")
        return cls(parts[0], parts[1], parts[2], int(parts[3]))

    @property
    def run(self) -> tuple[str, str, int]:
        """Data set, architecture and seed."""
        return self.dataset, self.architecture, self.seed


@dataclass(frozen=True)
class Cost:
    """What a cell took.

    Attributes
    ----------
    seconds
        By the clock on the wall.
    cpu_seconds
        Of all processor cores together, which does not depend on what else the machine did; 0 if nobody measured it.
    """

    seconds: float
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Conditions:
    """What decides the numbers of a training beside its parameters; alike for all cells of a record.

    Attributes
    ----------
    device
        Kind of device: cpu, cuda, mps.
    precision
        Of the networks' arithmetic, such as float32 or bfloat16.
    threads
        Of the CPU, as one thread and two sum in another order; 0 on another device.
    code
        Fingerprint of the training code.
    name
        All of it for a reader, with the name of the device. It may differ within a record.
    """

    device: str
    precision: str
    threads: int
    code: str
    name: str = ""

    def entry(self) -> dict[str, Any]:
        """For the manifest, without the name."""
        return {key: value for key, value in asdict(self).items() if key != "name"}

    def unlike(self, entry: dict[str, Any]) -> str:
        """In what these conditions differ from those of a manifest, in words; empty if in nothing."""
        return ", ".join(
            f"{key} {entry[key]!r} there, {value!r} here" for key, value in self.entry().items() if entry[key] != value
        )
