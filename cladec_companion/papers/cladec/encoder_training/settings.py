"""What the chapter `encoder_training` can be asked for, and its cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.papers.cladec.layer_parameters import last_convolution
from cladec_companion.records.settings import Settings, data_sets, epochs_of, parameter


@dataclass(frozen=True)
class EncoderTrainingSettings(Settings):
    """Parameters of the experiment `encoder_training` (E6): how long the classifier to explain was trained."""

    experiment: ClassVar[str] = "encoder_training"
    datasets: tuple[str, ...] = data_sets(("fashion_mnist",), ("fashion_mnist",))
    classifier_epochs: int = epochs_of(1, 3, 4, 64, of="the evaluation classifiers")
    decoder_epochs: int = epochs_of(1, 3, 4, 64, of="the decoders and of the RefAE")
    encoder_epochs: tuple[int, ...] = parameter(
        (0, 1), (0, 1, 6), *((0, 1, 4, 16, 64),) * 2,
        "epochs of the classifier to explain; 0: untrained", overnight=(0, 1, 4, 16), axis=True, limits=(0, 10_000),
        spoken="epochs",
    )  # fmt: skip


REFERENCE, TRAINED, CALIBRATED, INITIAL, SLOW = "RefAE", "trained", "calibrated", "initial", "slow"


@dataclass(frozen=True)
class Part:
    """An encoder: epochs of its classifier, and where its BatchNorm statistics come from."""

    layer: str
    epochs: int
    batchnorm: str

    def __str__(self) -> str:
        return f"{self.layer} {self.batchnorm}" + (f" {self.epochs} epochs" if self.epochs else "")


def cells(settings: EncoderTrainingSettings, architecture: str) -> Iterator[Part]:
    """The RefAE, which no classifier can change; then the encoders, the untrained one twice (finding 5).

    Last the classifier that was trained least, once more with slow running averages (reading C-4, I15).
    """
    layer, _ = last_convolution(architecture)
    yield Part(layer, 0, REFERENCE)
    for epochs in settings.encoder_epochs:
        for batchnorm in (TRAINED,) if epochs else (CALIBRATED, INITIAL):
            yield Part(layer, epochs, batchnorm)
    trained = [epochs for epochs in settings.encoder_epochs if epochs]
    if trained:
        yield Part(layer, min(trained), SLOW)
