"""E6: what the training of the encoder does. Classifiers of several ages, and one that never learnt."""

import torch
from torch import Tensor

from cladec_companion.engine.rows import rows_of
from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.engine.trainings import Training
from cladec_companion.papers.cladec.encoder_training.settings import INITIAL, REFERENCE, SLOW, Part
from cladec_companion.papers.cladec.shared import pictures, still_falling
from cladec_core import measures, training
from cladec_core.networks import Classifier

PROJECTIONS = 5  # that stand for all random ones
CODE_IMAGES = 500  # their pairs are compared: half a million distances would add nothing
SLOW_MOMENTUM = 0.01  # TensorFlow's default, in PyTorch's terms


def run_cell(setup: Setup, part: Part, keep_samples: bool) -> CellRun:
    """Measure the RefAE, or a decoder of an encoder with its classifier.

    Returns
    -------
    rows
        {"layer", "batchnorm", "encoder_epochs", "method", "metric", "value"}.
    samples
        uint8 images at fixed test images, if asked for.
    """
    data, labels = setup.data, setup.data.test_labels
    if part.batchnorm == SLOW:  # the question is only how accurate it is
        setup = setup.changed(encoder_epochs=part.epochs, momentum=SLOW_MOMENTUM)
        (classifier,) = yield [setup.classifier]
        found = {"classifier": {"accuracy": measures.accuracy(setup.test(classifier), labels)}}
        return rows_of(found, layer=part.layer, batchnorm=part.batchnorm, encoder_epochs=part.epochs), {}
    if part.batchnorm == REFERENCE:
        wanted: Training = setup.reference(part.layer)
        explain, judge = yield [wanted, setup.judge(wanted, f"refae {part.layer}")]
        method, values = "refae", {}
    else:
        # A trained classifier needs no calibration.
        setup = setup.changed(encoder_epochs=part.epochs, calibrated=part.batchnorm != INITIAL)
        wanted = setup.decoder(part.layer)
        classifier, explain, judge = yield [setup.classifier, wanted, setup.judge(wanted, f"cladec {part.layer}")]
        method, values = "cladec", _encoder(setup, classifier, part.layer)
    images = setup.test(explain)
    values[method] = {
        **measures.reconstruction_losses(data.test_images, images, data.std),
        "accuracy": measures.accuracy(setup.test(judge, images), labels),
        **still_falling(explain),
    }
    if method == "cladec":
        predicted = setup.test(classifier).argmax(1)
        values[method]["agreement"] = measures.accuracy(setup.test(classifier, images), predicted)
    rows = rows_of(values, layer=part.layer, batchnorm=part.batchnorm, encoder_epochs=part.epochs)
    # The labels stand in for the predictions, so that all encoders show the same images.
    return rows, pictures(data, labels, {str(part): images}) if keep_samples else {}


def _encoder(setup: Setup, classifier: Classifier, layer: str) -> dict[str, dict[str, float]]:
    """How good the classifier is, and what its codes keep of the distances between images."""
    data, images = setup.data, setup.data.test_images[:CODE_IMAGES]
    codes = setup.test(classifier.up_to(layer), images)
    logits = setup.test(classifier)
    return {
        "classifier": {
            "accuracy": measures.accuracy(logits, data.test_labels),
            "test_images": len(data.test_labels),
        },
        "activation": {
            "distance_rank_correlation": measures.distance_rank_correlation(images, codes),
            "projection_rank_correlation": _projected(images, codes[0].numel(), setup.seed),
            "spread": codes.std(0).mean().item(),
            **measures.code_statistics(codes),
        },
    }


def _projected(images: Tensor, size: int, seed: int) -> float:
    """What a random projection to as many values as the code has keeps of the distances, averaged over some (B31)."""
    flat = images.flatten(1).double().cpu()
    draws = torch.Generator().manual_seed(training.derive_seed(seed, "projections", size))
    kept = [
        measures.distance_rank_correlation(flat, flat @ torch.randn(flat.shape[1], size, generator=draws).double())
        for _ in range(PROJECTIONS)
    ]
    return sum(kept) / PROJECTIONS
