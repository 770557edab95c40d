"""What the chapter `heatmaps` can be asked for, and its cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.papers.xai.attribution import METHODS
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
from cladec_core import networks

SMOKE = (
    "random", "gradient", "gradient_x_input", "integrated_gradients", "guided_backprop", "patternattribution", "lrp_0",
    "lrp_composite", "gradcam", "occlusion", "meaningful_perturbation", "cladec",
)  # fmt: skip


@dataclass(frozen=True)
class HeatmapsSettings(Settings):
    """Parameters of the experiment `heatmaps`."""

    experiment: ClassVar[str] = "heatmaps"
    datasets: tuple[str, ...] = data_sets(*(("fashion_mnist", "mnist", "cifar100"),) * 2)
    architectures: tuple[str, ...] = classifiers(*(("vgg11",),) * 4)
    seeds: tuple[int, ...] = parameter(
        (0,), (0,), (0, 1, 2), (0, 1, 2, 3, 4), "one run for each", overnight=(0, 1, 2), axis=True, limits=SEEDS
    )
    decoder_epochs: int = epochs_of(1, 2, 4, 64, of="the decoder and of the RefAE")
    train_limit: int | None = images_used(160, 800, 20_000, None)
    width: float = parameter(0.125, 0.25, 1.0, 1.0, "factor on the channels of every classifier layer", limits=WIDTHS)
    layer: int | str = parameter(
        *(-1,) * 4, "layer of ClaDec and of the RefAE: index counted from the output, or a name"
    )
    map_layer: int | str = parameter(
        *(-4,) * 4, "layer of GradCAM, which needs maps: index counted from the output, or a name"
    )
    methods: tuple[str, ...] = names_of(SMOKE, *(tuple(METHODS),) * 3, help="methods", of=METHODS)
    explained: int = parameter(6, 16, 200, 200, "test images that are explained", limits=(2, 10_000))
    few: int = parameter(2, 3, 20, 40, "test images for methods that ask hundreds of times", limits=(2, 10_000))
    iterations: int = parameter(5, 50, 300, 300, "steps of meaningful perturbation", limits=(1, 10_000))
    pda_stride: int = parameter(
        8, 4, 2, 2, "pixels between the patches of prediction difference analysis", limits=(1, 32)
    )
    lime_samples: int = parameter(50, 250, 1000, 1000, "variants of each image that LIME explains", limits=(10, 10**6))

    def __post_init__(self) -> None:
        """Check the layers against every architecture."""
        super().__post_init__()
        for architecture in self.architectures:
            for layer in (self.layer, self.map_layer):
                networks.layer_name(architecture, layer)


def cells(settings: HeatmapsSettings, architecture: str) -> Iterator[str]:
    """Name the methods."""
    yield from settings.methods
