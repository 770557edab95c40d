"""What the chapter `sanity` can be asked for, and its cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.papers.cladec.layer_parameters import LayeredSettings
from cladec_companion.records.settings import SEEDS, classifiers, data_sets, epochs_of, images_used, parameter
from cladec_core import networks
from cladec_core.errors import UsageError

TRAINED, SHUFFLED, POOLED, AGAIN, CASCADE, ATTACK = "trained", "shuffled", "pooled", "again", "cascade", "attack"
CHECKS = {
    TRAINED: "the classifier of the protocol, with the RefAE",
    SHUFFLED: "a classifier that was trained on labels in random order",
    POOLED: "a VGG with max-pooling, trained at the rate at which it learns best",
    AGAIN: "a classifier of another seed: how far explanations differ of networks of which neither is broken",
    CASCADE: "the weights of more and more layers drawn anew, from the output to the input",
    ATTACK: "perturbations too small to see that leave the prediction as it is",
}
POOLED_AS = {"vgg11": "vgg11_maxpool"}


@dataclass(frozen=True)
class SanitySettings(LayeredSettings):
    """Parameters of the experiment `sanity`."""

    experiment: ClassVar[str] = "sanity"
    datasets: tuple[str, ...] = data_sets(("fashion_mnist",), ("fashion_mnist",))
    architectures: tuple[str, ...] = classifiers(*(("vgg11",),) * 4)
    seeds: tuple[int, ...] = parameter(
        (0,), (0,), (0, 1, 2), (0, 1, 2, 3, 4), "one run for each", overnight=(0, 1, 2), axis=True, limits=SEEDS
    )
    decoder_epochs: int = epochs_of(1, 4, 4, 64, of="the decoders and of the RefAE")
    train_limit: int | None = images_used(160, 640, 10_000, None)
    width: float = parameter(0.125, 0.25, 1.0, 1.0, "factor on the channels of every classifier layer",
                             limits=(0.05, 4.0))  # fmt: skip
    layers: tuple[int | str, ...] = parameter(
        (-5,),
        (-5,),
        (-3,),
        (-3, -5),
        "layers to explain: indices counted from the output, or names",
        overnight=(-3, -5),
        axis=True,
    )
    randomised: tuple[int, ...] = parameter(
        (2, 9), (2, 4, 6, 9), (1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 4, 5, 6, 7, 8, 9),
        "how many layers get random weights, counted from the output", axis=True, limits=(1, 100),
        spoken="random layers",
    )  # fmt: skip
    rates: tuple[float, ...] = parameter(
        *((0.1, 0.03, 0.01),) * 4, "learning rates that are tried for max-pooling", limits=(1e-5, 10.0)
    )
    bound: float = parameter(
        *(8 / 255,) * 4, "largest change of a pixel in an attack, in grey values of [0, 1]", limits=(1e-4, 1.0)
    )
    attack_steps: int = parameter(3, 20, 20, 40, "steps of an attack", limits=(1, 10_000))
    attack_images: int = parameter(16, 100, 200, 1_000, "test images that are attacked", limits=(2, 100_000))

    def __post_init__(self) -> None:
        """Check what is randomised against every architecture."""
        super().__post_init__()
        for architecture in self.architectures:
            most = len(networks.LAYOUTS[architecture].rows) + 1
            for count in self.randomised:
                if count > most:
                    raise UsageError(
                        f"randomised has {count}; valid: from 1 to {most}, the layers with weights of {architecture}."
                    )
        if not self.rates:
            raise UsageError("rates is [] (empty); valid: a list of learning rates, at least one.")


@dataclass(frozen=True)
class Part:
    """A layer and a check; `randomised` counts the random layers of a cascade and is 0 elsewhere."""

    layer: str
    check: str
    randomised: int = 0

    def __str__(self) -> str:
        return f"{self.layer} {self.check}" + (f" {self.randomised}" if self.randomised else "")


def cells(settings: SanitySettings, architecture: str) -> Iterator[Part]:
    """Layer by layer every check; GradCAM and what is beside it only where a layer puts out maps of several pixels."""
    for index in settings.layers:
        layer = networks.layer_name(architecture, index, settings.index_map)
        yield Part(layer, TRAINED)
        yield Part(layer, SHUFFLED)
        if architecture in POOLED_AS:
            yield Part(layer, POOLED)
        if has_maps(architecture, layer):
            yield Part(layer, AGAIN)
            yield from (Part(layer, CASCADE, count) for count in settings.randomised)
            yield Part(layer, ATTACK)


def has_maps(architecture: str, layer: str) -> bool:
    """Whether a layer puts out maps of more than one pixel; of others GradCAM has nothing to show."""
    layout = networks.LAYOUTS[architecture]
    return layer in [name for name, _, _ in layout.rows] and layout.map_shape(layer)[1] > 1
