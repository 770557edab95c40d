"""What the chapter `subsets` can be asked for, and its cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.papers.cladec.layer_parameters import last_convolution
from cladec_companion.records.settings import Settings, data_sets, epochs_of, parameter
from cladec_core.errors import UsageError


@dataclass(frozen=True)
class SubsetsSettings(Settings):
    """Parameters of the experiment `subsets` (E7): which channels of the last convolution are explained."""

    experiment: ClassVar[str] = "subsets"
    datasets: tuple[str, ...] = data_sets(("fashion_mnist",), ("fashion_mnist",))
    decoder_epochs: int = epochs_of(1, 4, 4, 64, of="the decoders")
    sizes: tuple[int, ...] = parameter(
        (64, 10, 1), (512, 64, 10, 1), (512, 256, 128, 51, 10, 4, 1), (512, 256, 128, 64, 51, 32, 16, 10, 8, 4, 2, 1),
        "nested subsets: the first so many channels", axis=True,
    )  # fmt: skip
    disjoint_size: int = parameter(*(10,) * 4, "channels of each disjoint and of each random subset")
    disjoint_count: int = parameter(
        2, 2, 5, 10, "disjoint subsets of consecutive channels", limits=(1, 10_000), axis=True
    )
    random_repeats: int = parameter(
        1, 2, 5, 10, "random subsets of the same size; 0: none", limits=(0, 10_000), axis=True
    )

    def __post_init__(self) -> None:
        """Check every subset against every architecture."""
        super().__post_init__()
        for architecture in self.architectures:
            layer, channels = last_convolution(architecture, self.width)
            for name, sizes in (("sizes", self.sizes), ("disjoint_size", (self.disjoint_size,))):
                for size in sizes:
                    if not 1 <= size <= channels:
                        problem = "an empty subset" if size < 1 else f"more than {layer} of {architecture} has"
                        raise UsageError(f"{name} has {size} ({problem}); valid: from 1 to {channels}.")
            if self.disjoint_size * self.disjoint_count > channels:
                raise UsageError(
                    f"disjoint_count is {self.disjoint_count}: so many disjoint subsets of {self.disjoint_size} need "
                    f"more than the {channels} channels of {layer}; valid: from 1 to {channels // self.disjoint_size}."
                )


FLOORS = "floors"  # the part of what does not depend on a subset


@dataclass(frozen=True)
class Part:
    """A subset of a layer's channels.

    Attributes
    ----------
    layer, subset
        The layer, and the kind: "nested" (the first so many), "disjoint" (consecutive) or "random".
    size, number
        How many channels, and which of the subsets of that kind and size: 0, 1, ...
    """

    layer: str
    subset: str
    size: int
    number: int

    def __str__(self) -> str:
        return f"{self.layer} {self.subset} {self.size} {self.number}"

    def channels(self, total: int, seed: int) -> list[int]:
        """The channels, ascending; random ones depend on the seed of the run."""
        if self.subset != "random":
            first = self.number * self.size
            return list(range(first, first + self.size))
        import torch  # here, as a list of cells needs none

        from cladec_core import training

        draw = torch.Generator().manual_seed(training.derive_seed(seed, "channels", self.size, self.number))
        return sorted(torch.randperm(total, generator=draw)[: self.size].tolist())


def cells(settings: SubsetsSettings, architecture: str) -> Iterator[Part]:
    """One part for what the subsets are compared with, then one for each subset."""
    layer, _ = last_convolution(architecture, settings.width)
    yield Part(layer, FLOORS, 0, 0)
    yield from (Part(layer, "nested", size, 0) for size in settings.sizes)
    yield from (Part(layer, "disjoint", settings.disjoint_size, number) for number in range(settings.disjoint_count))
    # Random ones, and as many single channels: one alone says nothing of the others (B35).
    for size in dict.fromkeys((settings.disjoint_size, 1)):
        yield from (Part(layer, "random", size, number) for number in range(settings.random_repeats))
