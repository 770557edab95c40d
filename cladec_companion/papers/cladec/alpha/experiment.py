"""E4, E5: what the weight α of the classification loss does to explanations of the last convolution."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.cladec.shared import last_convolution, pictures, rows_of
from cladec_companion.records.settings import Settings, data_sets, epochs_of, parameter
from cladec_core import measures


@dataclass(frozen=True)
class AlphaSettings(Settings):
    """Parameters of the experiment `alpha` (E4, E5): the weight of the classification loss."""

    experiment: ClassVar[str] = "alpha"
    datasets: tuple[str, ...] = data_sets(("fashion_mnist",), ("fashion_mnist",))
    decoder_epochs: int = epochs_of(1, 4, 4, 64, of="the decoders")
    alphas: tuple[float, ...] = parameter(
        (0.0, 0.9, 1.0), (0.0, 0.01, 0.9, 1.0), *((0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0),) * 2,
        "weights of the classification loss in Eq. 1, from 0 to 1", axis=True, limits=(0, 1),
    )  # fmt: skip


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


def run_cell(setup: Setup, part: Part, keep_samples: bool) -> CellRun:
    """Train a decoder with Eq. 1, and measure its reconstructions of the test images.

    Returns
    -------
    rows
        {"layer", "alpha", "method", "metric", "value"}; the floors and the classifier, which do not depend on α,
        are repeated for each.
    samples
        uint8 images at fixed test images, clipped to grey values, if asked for.
    """
    data, labels, std = setup.data, setup.data.test_labels, setup.data.std
    wanted = setup.decoder(part.layer, alpha=part.alpha)
    classifier, explain, judge = yield [setup.classifier, wanted, setup.judge(wanted, f"ClaDec {part.layer}")]
    images = setup.test(explain)
    clean, seen = setup.test(classifier), setup.test(classifier, images)
    losses = measures.reconstruction_losses(data.test_images, images, std)
    wrong = measures.cross_entropy(seen, labels)
    # Beside the test loss that of training images: the tables' 0.0 is hardly a loss on test images.
    trained = slice(len(labels))
    known = setup.test(classifier, setup.test(explain, data.train_images[trained]))
    # What was minimised sums standardised values; Tables 4 and 5 sum grey values (finding 2).
    minimised = losses["loss_standardised"] * data.test_images[0].numel()
    values: dict[str, dict[str, float]] = {
        "cladec": {
            **losses,
            "loss_classifier": wrong,
            "loss_classifier_train": measures.cross_entropy(known, data.train_labels[trained]),
            "loss_total": (1 - part.alpha) * losses["loss_raw_sum"] + part.alpha * wrong,
            "loss_minimised": (1 - part.alpha) * minimised + part.alpha * wrong,
            "accuracy": measures.accuracy(setup.test(judge, images), labels),
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
        "mean training image": measures.reconstruction_losses(data.test_images, measures.mean_image(data), std),
        "original": {"within_class_variance": measures.within_class_variance(data.test_images, labels)},
    }
    rows = rows_of(values, **vars(part))
    return rows, pictures(data, clean.argmax(1), {f"alpha={part.alpha}": images}) if keep_samples else {}
