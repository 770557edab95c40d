"""E4, E5: what the weight α of the classification loss does to explanations of the last convolution."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from cladec_companion.engine.study import Study
from cladec_companion.evidence.tables import FLOOR
from cladec_companion.papers.cladec.layers.experiment import Rows, Samples, as_uint8, originals, rows_of, sample_indices
from cladec_companion.records.settings import AlphaSettings, last_convolution
from cladec_core import measures
from cladec_core.data import ImageData


@dataclass(frozen=True)
class Part:
    """A layer and the weight with which its decoder is trained."""

    layer: str
    alpha: float

    def __str__(self) -> str:
        return f"{self.layer} α={self.alpha}"


def cells(settings: AlphaSettings, architecture: str) -> Iterator[Part]:
    """One part for each weight, at the layer of Tables 4 to 6 (reading C-19)."""
    for alpha in settings.alphas:
        yield Part(last_convolution(architecture)[0], alpha)


def run_cell(study: Study, part: Part, keep_samples: bool) -> tuple[Rows, Samples]:
    """Train a decoder with Eq. 1, and measure its reconstructions of the test images.

    Returns
    -------
    rows
        {"layer", "alpha", "method", "metric", "value"}; the floors and the classifier, which do not depend on α,
        are repeated for each.
    samples
        uint8 images at fixed test images, clipped to grey values, if asked for.
    """
    data, labels, std = study.data, study.data.test_labels, study.data.std
    explain = study.decoder(part.layer, alpha=part.alpha)
    images = study.test(explain)
    judge = study.evaluation_classifier(explain, f"ClaDec {part.layer}")
    clean, seen = study.test(study.classifier), study.test(study.classifier, images)
    losses = measures.reconstruction_losses(data.test_images, images, std)
    wrong = measures.cross_entropy(seen, labels)
    # Beside the test loss that of training images: the tables' 0.0 is hardly a loss on test images.
    trained = slice(len(labels))
    known = study.test(study.classifier, study.test(explain, data.train_images[trained]))
    # What was minimised sums standardised values; Tables 4 and 5 sum grey values (finding 2).
    minimised = losses["loss_standardised"] * data.test_images[0].numel()
    values: dict[str, dict[str, float]] = {
        "cladec": {
            **losses,
            "loss_classifier": wrong,
            "loss_classifier_train": measures.cross_entropy(known, data.train_labels[trained]),
            "loss_total": (1 - part.alpha) * losses["loss_raw_sum"] + part.alpha * wrong,
            "loss_minimised": (1 - part.alpha) * minimised + part.alpha * wrong,
            "accuracy": measures.accuracy(study.test(judge, images), labels),
            "accuracy_classifier": measures.accuracy(seen, labels),
            "agreement": measures.accuracy(seen, clean.argmax(1)),
            "within_class_variance": measures.within_class_variance(images, labels),
            "pixel_correlation": measures.pixel_correlation(data.test_images, images),
        },
        "classifier": {
            "accuracy": measures.accuracy(clean, labels),
            "loss_classifier": measures.cross_entropy(clean, labels),
            "test_images": len(labels),
        },
        FLOOR: measures.reconstruction_losses(data.test_images, measures.mean_image(data), std),
        "original": {"within_class_variance": measures.within_class_variance(data.test_images, labels)},
    }
    rows = rows_of(values, **vars(part))
    return rows, pictures(data, clean.argmax(1), {f"alpha={part.alpha}": images}) if keep_samples else {}


def pictures(data: ImageData, predicted: Tensor, reconstructions: dict[str, Tensor]) -> Samples:
    """The test images that are shown, with what the prediction decides about the choice, and reconstructions."""
    at = sample_indices(data.test_labels, predicted).to(predicted.device)
    samples = {name: as_uint8(data.to_unit(images[at])) for name, images in reconstructions.items()}
    return samples | originals(data, at, predicted)
