"""E0-E3: what each layer keeps. Classifier; per layer decoder, RefAE and two evaluation classifiers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cladec_companion.engine.study import Study
from cladec_companion.evidence.tables import FLOOR
from cladec_companion.records.settings import LayersSettings
from cladec_core import measures, networks, training
from cladec_core.data import ImageData

Rows = list[dict[str, Any]]
Samples = dict[str, np.ndarray]
CODE_IMAGES = 2_000
CLASSIFIER = "classifier"  # the cell of what does not depend on a layer


def cells(settings: LayersSettings, architecture: str) -> Iterator[str]:
    """Name the layers to explain, after the classifier itself."""
    yield CLASSIFIER
    for layer in settings.layers:
        yield networks.layer_name(architecture, layer, settings.index_map)


def run_cell(study: Study, layer: str, keep_samples: bool) -> tuple[Rows, Samples]:
    """Measure the classifier, or one layer of it.

    Returns
    -------
    rows
        {"method", "metric", "value"} and the layer's index in the paper.
    samples
        uint8 images at fixed test images, if asked for.
    """
    if layer == CLASSIFIER:
        return _measure_classifier(study, keep_samples)
    return _measure_layer(study, layer, keep_samples)


def _measure_classifier(study: Study, keep_samples: bool) -> tuple[Rows, Samples]:
    data = study.data
    logits = study.test(study.classifier)
    means = measures.class_means(data)
    floors = {FLOOR: measures.mean_image(data), "class mean": means[data.test_labels]}
    values: dict[str, dict[str, float]] = {
        CLASSIFIER: {
            "accuracy": measures.accuracy(logits, data.test_labels),
            "train_images": len(data.train_images),
            "test_images": len(data.test_images),
        }
    }
    for method, images in floors.items():
        values[method] = measures.reconstruction_losses(data.test_images, images, data.std)
    values["original"] = {"within_class_variance": measures.within_class_variance(data.test_images, data.test_labels)}
    samples = {}
    if keep_samples:
        samples = originals(data, sample_indices(data.test_labels, logits.argmax(1)), logits.argmax(1))
    return rows_of(values), samples


def _measure_layer(study: Study, layer: str, keep_samples: bool) -> tuple[Rows, Samples]:
    data, labels, std = study.data, study.data.test_labels, study.data.std
    explain, reference = study.decoder(layer), study.reference(layer)
    images = {"cladec": study.test(explain), "refae": study.test(reference)}
    evaluation = {
        "cladec": study.evaluation_classifier(explain, f"ClaDec {layer}"),
        "refae": study.evaluation_classifier(reference, f"RefAE {layer}"),
    }
    predicted = study.test(study.classifier).argmax(1)
    values: dict[str, dict[str, float]] = {}
    chosen = _concept_images(study)
    for method, reconstructions in images.items():
        values[method] = {
            **measures.reconstruction_losses(data.test_images, reconstructions, std),
            "accuracy": measures.accuracy(study.test(evaluation[method], reconstructions), labels),
            "agreement": measures.accuracy(study.test(study.classifier, reconstructions), predicted),
            "within_class_variance": measures.within_class_variance(reconstructions, labels),
            **measures.concepts_kept(data.to_unit(data.test_images[chosen]), data.to_unit(reconstructions[chosen])),
        }
    values["cladec"] |= {
        "distance_to_refae": measures.distance(*images.values()),
        "loss_rank_correlation": measures.loss_rank_correlation(data.test_images, *images.values()),
        **_drift(study, images["cladec"], evaluation["refae"], predicted),
    }
    values |= _read_layer(study, layer)
    samples = {}
    if keep_samples:
        at = sample_indices(labels, predicted).to(labels.device)
        samples = {f"{layer}/{method}": as_uint8(data.to_unit(images[method][at])) for method in images}
        samples[f"{layer}/gradcam"] = as_uint8(measures.gradcam(study.classifier, layer, data.test_images[at]))
    return rows_of(values), samples


def _drift(study: Study, reconstructions: Tensor, judge: torch.nn.Module, predicted: Tensor) -> dict[str, float]:
    """Of the misclassified test images, how many look like the predicted, or still like the true class (B11).

    The judge is the evaluation classifier of the RefAE, which has seen neither the classifier nor its codes.
    """
    labels = study.data.test_labels
    wrong = predicted != labels
    seen_as = study.test(judge, reconstructions).argmax(1)
    count = wrong.sum().clamp(min=1)
    return {
        "misclassified": wrong.sum().item(),
        "drift_to_predicted": ((seen_as == predicted) & wrong).sum().item() / count.item(),
        "drift_to_true": ((seen_as == labels) & wrong).sum().item() / count.item(),
    }


def _read_layer(study: Study, layer: str) -> dict[str, dict[str, float]]:
    """What the activations themselves tell: how much of the layer is used, and a linear probe of it."""
    data, encoder = study.data, study.classifier.up_to(layer)
    pooled = torch.nn.Sequential(encoder, measures.Pool())
    count = measures.PROBE_IMAGES
    train = training.apply(pooled, data.train_images[:count], study.on)
    return {
        "activation": measures.code_statistics(study.test(encoder, data.test_images[:CODE_IMAGES])),
        "probe": {
            "accuracy": measures.linear_probe(train, data.train_labels[:count], study.test(pooled), data.test_labels)
        },
    }


def _concept_images(study: Study) -> Tensor:
    """Handbags, as in Fig. 5, where the data set has them; else all test images."""
    labels = study.data.test_labels
    return labels == study.data.classes.index("Bag") if "Bag" in study.data.classes else labels >= 0


def sample_indices(labels: Tensor, predicted: Tensor, wrong: int = 6, bags: int = 4) -> Tensor:
    """Choose the test images that are shown: the first right one of ten classes, some wrong ones, more bags.

    Returns
    -------
    Tensor
        int64 on the CPU; the first ten (or fewer) are classified correctly, then up to six are not.
    """
    labels, predicted = labels.cpu(), predicted.cpu()
    right = labels == predicted
    first = [torch.nonzero(right & (labels == label))[:1, 0] for label in labels.unique()[:10]]
    missed = torch.nonzero(~right)[:wrong, 0]
    more = torch.nonzero(right & (labels == min(8, int(labels.max()))))[1 : 1 + bags, 0]
    return torch.cat([*first, missed, more])


def as_uint8(unit_images: Tensor) -> np.ndarray:
    """Grey values in [0, 1] as 0..255, clipped."""
    return unit_images.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()


def originals(data: ImageData, at: Tensor, predicted: Tensor) -> Samples:
    """The test images that are shown: their places, classes and predictions, and themselves."""
    at = at.to(predicted.device)
    return {
        "index": at.cpu().numpy().astype(np.int32),
        "label": data.test_labels[at].cpu().numpy().astype(np.uint8),
        "predicted": predicted[at].cpu().numpy().astype(np.uint8),
        "original": as_uint8(data.to_unit(data.test_images[at])),
    }


def rows_of(values: dict[str, dict[str, float]], **axes: Any) -> Rows:
    """Rows from values by method and metric, and what they have in common."""
    return [
        axes | {"method": method, "metric": metric, "value": value}
        for method, measured in values.items()
        for metric, value in measured.items()
    ]
