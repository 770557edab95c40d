"""What the chapter `concepts` can be asked for, and its cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.papers.srae.domain import CHAINS, GARMENTS, UNITS, check_chain, check_known
from cladec_companion.records.settings import SEEDS, Settings, epochs_of, images_used, parameter

ALL_SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class SraeSettings(Settings):
    """Parameters of the chapter `srae`: one-vs-all targets of a classifier, explained by x-features."""

    experiment: ClassVar[str] = "srae"
    datasets: tuple[str, ...] = parameter(
        ("digits",), ("digits",), ("mnist", GARMENTS), ("mnist", GARMENTS),
        "digits or mnist, of which mosaics are made, or fashion_mnist", axis=True, check=check_known,
    )  # fmt: skip
    architectures: tuple[str, ...] = parameter(
        *(("vgg5",),) * 4, f"classifiers to explain, of {', '.join(CHAINS)}", axis=True, check=check_chain
    )
    seeds: tuple[int, ...] = parameter((0,), (0,), ALL_SEEDS, ALL_SEEDS, "one run for each", axis=True, limits=SEEDS)
    classifier_epochs: int = epochs_of(1, 8, 6, 64, of="the classifier")
    decoder_epochs: int = epochs_of(1, 3, 6, 64, of="ClaDec's decoders")
    batch_size: int = parameter(32, 32, 64, 128, "images per training step of a classifier", limits=(2, 65_536))
    train_limit: int | None = images_used(160, None, 12_000, None)
    test_limit: int | None = images_used(80, None, 1_000, None, do="test")
    width: float = parameter(0.125, 0.5, 0.5, 1.0, "factor on the channels of every classifier layer")
    targets: tuple[int, ...] = parameter(
        (0,), (0,), (0, 4, 8), tuple(range(10)), "classes whose logit is explained", axis=True, limits=(0, 9)
    )
    features: int = parameter(2, 5, 5, 5, "x-features, n", limits=(1, UNITS))
    other_features: tuple[int, ...] = parameter(
        (1,), (2,), (2, 3, 8), (2, 3, 8), "further numbers of x-features, of SRAE alone", limits=(1, UNITS)
    )
    betas: tuple[float, ...] = parameter(
        (1.0,), (1.0,), (0.1, 1.0), (0.1, 1.0), "weights β of the reconstruction to choose from", limits=(0, 1e6)
    )
    etas: tuple[float, ...] = parameter(
        (0.3,), (0.3,), (0.3, 1.0), (0.1, 0.3, 1.0), "weights η of the pull-away term", limits=(0, 1e6)
    )
    penalties: tuple[float, ...] = parameter(
        (10.0,), (10.0,), (1.0, 10.0), (1.0, 10.0), "q of the log penalty", limits=(1e-6, 1e6)
    )
    steps: int = parameter(20, 160, 500, 2_000, "training steps of an embedding", limits=(1, 1_000_000))
    map_images: int = parameter(
        8, 36, 100, 400, "test images of a target on which maps are measured", limits=(2, 10_000)
    )


@dataclass(frozen=True)
class Part:
    """One target of a run, or what does not depend on a target."""

    target: int | None = None

    def __str__(self) -> str:
        return CLASSIFIER if self.target is None else f"target {self.target}"


def cells(settings: SraeSettings, architecture: str) -> Iterator[Part]:
    """The classifier, then one part for each target."""
    yield Part()
    for target in settings.targets:
        yield Part(target)
