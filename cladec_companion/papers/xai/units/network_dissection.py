"""What a neuron knows: dissection of some layers, of turned bases, and after trainings of different length."""

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from cladec_companion.engine.rows import rows_of
from cladec_companion.engine.runner import CellRun, Rows, Samples
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.xai import dissection
from cladec_companion.papers.xai.dissection import EDGE, OBJECT, Detectors, Scenes
from cladec_companion.papers.xai.units.common import evenly
from cladec_companion.papers.xai.units.settings import settings_of
from cladec_companion.records.samples import as_uint8, below
from cladec_core import networks, training
from cladec_core.data import ImageData
from cladec_core.networks import Classifier

OWN, TURNED, CHANCE = "units", "turned", "chance"
TRAINED, TRAINING = "trained", "training"
FEWEST = 6  # trainings that say whether two numbers rise together
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
    """Dissect the same number of units of several layers, in their own and in turned bases, and of the last after
    trainings of different length.

    Returns
    -------
    rows
        {"layer", "method", "metric", "value"}; the layer is one of the classifier, or says how many epochs it had.
    samples
        The scenes of the best detectors, where they are active, and which concepts they detect.
    """
    settings = settings_of(setup)
    earlier = [setup.changed(encoder_epochs=epochs).classifier for epochs in settings.lengths]
    classifier, *shorter = yield [setup.classifier, *earlier]
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
    own: dict[str, Tensor] = {}
    for name, maps in encoders.items():
        own[name], more = _layer(name, maps, found, count, seed)
        rows += more
    last = layers[-1]
    trained = {
        f"{epochs} epochs": (
            model,
            dissection.overlaps(setup.test(model.up_to(last), found.images)[:, :count], found)[0],
        )
        for epochs, model in zip(settings.lengths, shorter, strict=True)
    }
    trained[f"{settings.classifier_epochs} epochs"] = classifier, own[last]
    rows += _by_length(setup, trained, found)
    samples = _samples(setup, encoders[last][:, :count], own[last], found, shown) if keep_samples else {}
    return rows, samples


def _counted(overlap: Tensor, scenes: Scenes) -> dict[str, float]:
    """How many units are detectors, of how many concepts, and their mean IoU with the best one.

    A seam is where padding is between the cells of a small map, whatever a unit detects: neither the concepts nor the
    IoU `matched` count it.
    """
    found = Detectors.of(overlap)
    objects = [category == OBJECT for category in scenes.categories]
    places = [category != EDGE for category in scenes.categories]
    return {
        "unique": float(found.unique(places)), "unique_objects": float(found.unique(objects)),
        "detectors": found.share, "iou": found.iou.double().mean().item(),
        "matched": overlap[:, places].amax(1).double().mean().item(),
    }  # fmt: skip


def _layer(name: str, maps: Tensor, scenes: Scenes, count: int, seed: int) -> tuple[Tensor, Rows]:
    """The first so many units of a layer: as they are, by chance, and in turned bases of the whole layer.

    The overlaps of the units as they are come first.
    """
    others = scenes.of_others(training.derive_seed(seed, "others")).without_seams()
    own, by_chance = dissection.overlaps(maps[:, :count], scenes, others)
    turned = []
    for place in range(ROTATIONS):
        matrix = dissection.rotation(maps.shape[1], training.derive_seed(seed, "rotation", name, place))
        turned.append(_counted(dissection.overlaps(dissection.rotated(maps, matrix[:count]), scenes)[0], scenes))
    means = {metric: float(np.mean([one[metric] for one in turned])) for metric in turned[0]}
    found = {OWN: _counted(own, scenes), CHANCE: _counted(by_chance, others), TURNED: means}
    return own, rows_of(found, layer=name)


def _by_length(setup: Setup, trained: dict[str, tuple[Classifier, Tensor]], scenes: Scenes) -> Rows:
    """The overlaps of the last layer after each training, and whether object detectors come with accuracy.

    Without any difference in accuracy, or in detectors, nothing comes with anything: the correlation is 0.
    """
    rows: Rows = []
    accuracies, objects = [], []
    for at, (model, overlap) in trained.items():
        counted = _counted(overlap, scenes)
        right = (setup.test(model).argmax(1) == setup.data.test_labels).double().mean().item()
        rows += rows_of({TRAINED: counted | {"accuracy": right}}, layer=at)
        accuracies.append(right)
        objects.append(counted["unique_objects"])
    if len(trained) >= FEWEST:
        rows += rows_of({TRAINED: {"correlation": together(accuracies, objects)}}, layer=TRAINING)
    return rows


def together(first: list[float], other: list[float]) -> float:
    """Spearman's correlation; 0 where one of the two never changes."""
    if len(set(first)) < 2 or len(set(other)) < 2:
        return 0.0
    return float(spearmanr(first, other).statistic)


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
