"""E4, E5: what the weight α of the classification loss does to explanations of the last convolution."""

from cladec_companion.engine.rows import rows_of
from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.cladec.alpha.settings import Part
from cladec_companion.papers.cladec.shared import pictures, still_falling
from cladec_core import measures


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
            **still_falling(explain),
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
    if not keep_samples:
        return rows, {}
    name = f"alpha={part.alpha}"
    return rows, pictures(data, clean.argmax(1), {name: images}, {"original": clean, name: seen})
