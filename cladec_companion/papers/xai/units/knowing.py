"""What a neuron knows: dissection of some layers, of turned bases and of snapshots of a training."""

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from cladec_companion.engine.runner import CellRun, Rows, Samples
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.xai import dissection
from cladec_companion.papers.xai.dissection import OBJECT, Detectors, Scenes
from cladec_companion.papers.xai.units.rows import Value, evenly, rows_of
from cladec_companion.papers.xai.units.settings import settings_of
from cladec_companion.records.samples import as_uint8, below
from cladec_core import networks, training
from cladec_core.data import ImageData
from cladec_core.networks import Classifier

OWN, TURNED, CHANCE = "units", "turned", "chance"
SNAPSHOT, TRAINING = "snapshot", "training"
OBJECTS = 20  # classes that are concepts, at most
SHOWN = 5
DISSECTED = 64  # units of each layer, or as many as the narrowest has: layers are compared by equal numbers
ROTATIONS = 3  # random bases of each layer


def layers_of(classifier: Classifier, size: tuple[int, ...]) -> list[str]:
    """Every other layer that puts out maps, up to the last: the name of each, from the input."""
    found = [name for name in classifier.layers if len(networks.activation_shape(classifier.up_to(name), size)) == 3]
    return found[::-2][::-1]


def object_classes(data: ImageData) -> list[int]:
    """Classes that are concepts."""
    return evenly(len(data.classes), OBJECTS).tolist()


def run_cell(setup: Setup, keep_samples: bool) -> CellRun:
    """Dissect the same number of units of several layers, in their own and in turned bases, and of the last in time.

    Returns
    -------
    rows
        {"layer", "method", "metric", "value"}; the layer is one of the classifier, or says how many epochs it had.
    samples
        The scenes of the best detectors, where they are active, and which concepts they detect.
    """
    settings = settings_of(setup)
    earlier = [setup.changed(encoder_epochs=epochs).classifier for epochs in settings.snapshots]
    classifier, *snapshots = yield [setup.classifier, *earlier]
    data = setup.data
    seed = training.derive_seed(setup.seed, "scenes")
    chosen = object_classes(data)
    present = set(data.test_labels.tolist())
    shown = [label for label in chosen if label in present]
    found = dissection.scenes(data.test_images, data.test_labels, shown, data.classes, settings.scenes, seed)
    layers = layers_of(classifier, tuple(found.images.shape[1:]))
    encoders = {name: setup.test(classifier.up_to(name), found.images) for name in layers}
    count = min(DISSECTED, *(len(maps[0]) for maps in encoders.values()))
    rows: Rows = []
    for name, maps in encoders.items():
        rows += _layer(name, maps, found, count, seed)
    last = layers[-1]
    own = dissection.overlaps(encoders[last][:, :count], found)
    moments = {f"{epochs} epochs": model for epochs, model in zip(settings.snapshots, snapshots, strict=True)}
    moments[f"{settings.classifier_epochs} epochs"] = classifier
    rows += _over_training(setup, moments, last, found, count)
    samples = _samples(setup, encoders[last][:, :count], own, found, shown) if keep_samples else {}
    return rows, samples


def _counted(overlap: Tensor, scenes: Scenes) -> dict[str, Value]:
    """How many units are detectors, and of how many concepts."""
    found = Detectors.of(overlap)
    objects = [category == OBJECT for category in scenes.categories]
    return {
        "unique": float(found.unique()), "unique_objects": float(found.unique(objects)), "detectors": found.share,
        "iou": found.iou.double().mean().item(),
    }  # fmt: skip


def _layer(name: str, maps: Tensor, scenes: Scenes, count: int, seed: int) -> Rows:
    """The first so many units of a layer: as they are, by chance, and in turned bases of the whole layer."""
    rows = rows_of(name, OWN, _counted(dissection.overlaps(maps[:, :count], scenes), scenes))
    others = scenes.of_others(training.derive_seed(seed, "others"))
    rows += rows_of(name, CHANCE, _counted(dissection.overlaps(maps[:, :count], others), others))
    turned = []
    for place in range(ROTATIONS):
        matrix = dissection.rotation(maps.shape[1], training.derive_seed(seed, "rotation", name, place))
        turned.append(_counted(dissection.overlaps(dissection.rotated(maps, matrix[:count]), scenes), scenes))
    means: dict[str, Value] = {metric: float(np.mean([one[metric] for one in turned])) for metric in turned[0]}
    return rows + rows_of(name, TURNED, means)


def _over_training(
    setup: Setup, moments: dict[str, Classifier], layer: str, scenes: Scenes, count: int
) -> Rows:  # fmt: skip
    """The last layer after more and more epochs, and whether object detectors come with accuracy."""
    rows: Rows = []
    accuracies, objects = [], []
    for at, model in moments.items():
        maps = setup.test(model.up_to(layer), scenes.images)[:, :count]
        counted = _counted(dissection.overlaps(maps, scenes), scenes)
        right = (setup.test(model).argmax(1) == setup.data.test_labels).double().mean().item()
        rows += rows_of(at, SNAPSHOT, counted | {"accuracy": right})
        accuracies.append(right)
        objects.append(counted["unique_objects"])
    if len(set(accuracies)) > 1 and len(set(objects)) > 1:
        rows += rows_of(TRAINING, SNAPSHOT, {"correlation": float(spearmanr(accuracies, objects).statistic)})
    return rows


def _samples(setup: Setup, maps: Tensor, overlap: Tensor, scenes: Scenes, shown: list[int]) -> Samples:
    """For the units with the largest IoU, the scene in which each covers most of its concept; the concept's mask."""
    found = Detectors.of(overlap)
    best = found.iou.topk(min(SHOWN, len(found.iou))).indices
    masks = dissection.unit_masks(maps[:, best.to(maps.device)], scenes.images.shape[-2:])
    truths = scenes.masks[found.concept[best].to(maps.device)]
    places = (masks & truths).flatten(2).sum(2).argmax(1)
    at = torch.arange(len(best), device=maps.device)
    return {
        below("detectors", "unit"): best.numpy().astype(np.int32),
        below("detectors", "iou"): found.iou[best].numpy().astype(np.float32),
        below("detectors", "concept"): found.concept[best].numpy().astype(np.int32),
        below("detectors", "scene"): as_uint8(setup.data.to_unit(scenes.images[places])),
        below("detectors", "mask"): as_uint8(masks[at, places].float().unsqueeze(1)),
        below("detectors", "truth"): as_uint8(truths[at, places].float().unsqueeze(1)),
        below("detectors", "objects"): np.array(shown, np.int32),
    }
