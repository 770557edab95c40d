"""Parameters of the chapter `contrast`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.records.settings import (
    SEEDS,
    WIDTHS,
    Settings,
    classifiers,
    data_sets,
    epochs_of,
    images_used,
    names_of,
    parameter,
)

EXPERIMENTS = ("general", "ladder", "square", "cue", "networks", "foreign")  # X1-X3, X4, X5, X6, X7, X8


@dataclass(frozen=True)
class ContrastSettings(Settings):
    """Parameters of the chapter `contrast`: classifiers, generators, and how many images are explained."""

    experiment: ClassVar[str] = "contrast"
    datasets: tuple[str, ...] = data_sets(*(("mnist", "fashion_mnist"),) * 2)
    architectures: tuple[str, ...] = classifiers(*(("vgg5",),) * 4)
    seeds: tuple[int, ...] = parameter(
        (0,), (0,), (0, 1, 2), (0, 1, 2, 3, 4), "one run for each", overnight=(0, 1, 2), axis=True, limits=SEEDS
    )
    experiments: tuple[str, ...] = names_of(*(EXPERIMENTS,) * 4, help="experiments", of=EXPERIMENTS)
    classifier_epochs: int = epochs_of(2, 6, 8, 20, of="classifiers", overnight=20)
    decoder_epochs: int = epochs_of(1, 6, 2, 50, of="VAEs, and of decoders of a layer", overnight=20)
    wgan_epochs: int = epochs_of(1, 12, 5, 200, of="the WGAN", overnight=60)
    train_limit: int | None = images_used(160, None, 30_000, None)
    width: float = parameter(0.125, 0.125, 0.125, 1.0, "factor on the channels of the two networks of section 4.5")
    classifier_width: float = parameter(
        0.5, 1.0, 2.0, 3.0, "factor on the channels of the paper's own classifier", limits=WIDTHS
    )
    generator_width: int = parameter(4, 8, 16, 64, "channels of a generator's largest map", limits=(1, 512))
    latent: int = parameter(8, 32, 64, 400, "values of a code of VAE and WGAN", limits=(1, 4096))
    explained: int = parameter(4, 16, 100, 200, "test images that are explained", limits=(2, 10_000))
    outer: int = parameter(4, 20, 40, 500, "most sets of multipliers of a search", limits=(1, 100_000))
    starting_steps: int = parameter(4, 100, 200, 1000, "steps of Algorithm 2", limits=(1, 1_000_000))


def cells(settings: ContrastSettings, architecture: str) -> Iterator[str]:
    """Name the experiments."""
    yield from settings.experiments
