"""E6: what the training of the encoder does. Classifiers of several ages, and one that never learnt."""

from collections.abc import Iterator
from dataclasses import dataclass

from cladec_companion.engine.study import Study
from cladec_companion.papers.cladec.alpha.experiment import pictures
from cladec_companion.papers.cladec.layers.experiment import Rows, Samples, rows_of
from cladec_companion.records.settings import EncoderTrainingSettings, last_convolution
from cladec_core import measures

CODE_IMAGES = 500  # their pairs are compared: half a million distances would add nothing
REFERENCE, TRAINED, CALIBRATED, INITIAL, SLOW = "RefAE", "trained", "calibrated", "initial", "slow"
SLOW_MOMENTUM = 0.01  # TensorFlow's default, in PyTorch's terms


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


def run_cell(study: Study, part: Part, keep_samples: bool) -> tuple[Rows, Samples]:
    """Measure the RefAE, or a decoder of an encoder with its classifier.

    Returns
    -------
    rows
        {"layer", "batchnorm", "encoder_epochs", "method", "metric", "value"}.
    samples
        uint8 images at fixed test images, if asked for.
    """
    data, labels = study.data, study.data.test_labels
    if part.batchnorm == SLOW:  # the question is only how accurate it is
        study = study.variant(part.epochs, momentum=SLOW_MOMENTUM)
        found = {"classifier": {"accuracy": measures.accuracy(study.test(study.classifier), labels)}}
        return rows_of(found, layer=part.layer, batchnorm=part.batchnorm, encoder_epochs=part.epochs), {}
    if part.batchnorm == REFERENCE:
        method, explain, values = "refae", study.reference(part.layer), {}
    else:
        study = study.variant(part.epochs, calibrated=part.batchnorm != INITIAL)  # a trained one needs neither
        method, explain, values = "cladec", study.decoder(part.layer), _encoder(study, part.layer)
    images = study.test(explain)
    judge = study.evaluation_classifier(explain, f"{method} {part.layer}")
    values[method] = {
        **measures.reconstruction_losses(data.test_images, images, data.std),
        "accuracy": measures.accuracy(study.test(judge, images), labels),
    }
    if method == "cladec":
        predicted = study.test(study.classifier).argmax(1)
        values[method]["agreement"] = measures.accuracy(study.test(study.classifier, images), predicted)
    rows = rows_of(values, layer=part.layer, batchnorm=part.batchnorm, encoder_epochs=part.epochs)
    # The labels stand in for the predictions, so that all encoders show the same images.
    return rows, pictures(data, labels, {str(part): images}) if keep_samples else {}


def _encoder(study: Study, layer: str) -> dict[str, dict[str, float]]:
    """How good the classifier is, and what its codes keep of the distances between images."""
    data, images = study.data, study.data.test_images[:CODE_IMAGES]
    codes = study.test(study.classifier.up_to(layer), images)
    logits = study.test(study.classifier)
    return {
        "classifier": {
            "accuracy": measures.accuracy(logits, data.test_labels),
            "test_images": len(data.test_labels),
        },
        "activation": {
            "distance_rank_correlation": measures.distance_rank_correlation(images, codes),
            "spread": codes.std(0).mean().item(),
            **measures.code_statistics(codes),
        },
    }
