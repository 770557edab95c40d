"""E8: the prototypes that a network of its own kind learns, beside ClaDec's reconstructions (section 6.5)."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.engine.trainings import Setup as Described
from cladec_companion.engine.trainings import Training, fresh_weights
from cladec_companion.papers.cladec.prototypes import network as prototype_network
from cladec_companion.papers.cladec.prototypes.settings import Part, PrototypesSettings
from cladec_companion.papers.cladec.shared import still_falling
from cladec_companion.records.samples import as_uint8
from cladec_core import measures, training

ORDINARY_IMAGES = 1_000


@dataclass(frozen=True, eq=False)
class PrototypeTraining(Training):
    """A prototype network on grey values.

    The network is small, so bf16 gains nothing, and its distances would lose by it.
    """

    recipe: ClassVar[training.Recipe] = prototype_network.ADAM
    kept: ClassVar[bool] = False
    prototypes: int

    @property
    def label(self) -> str:
        """See `Training`."""
        return f"{self.prototypes} prototypes"

    @property
    def epochs(self) -> int:
        """See `Training`."""
        return _settings(self.setup).prototype_epochs

    def build(self, *needed: nn.Module) -> prototype_network.PrototypeNetwork:
        """See `Training`."""
        data = self.setup.data
        with fresh_weights(self.setup, self.label):
            return prototype_network.PrototypeNetwork(data.channels, len(data.classes), self.prototypes)

    def job(self, model: nn.Module, *needed: nn.Module) -> training.Job:
        """See `Training`."""
        assert isinstance(model, prototype_network.PrototypeNetwork)
        data, settings = self.setup.data, _settings(self.setup)
        return training.Job(
            model, data.to_unit(data.train_images), (data.train_labels,), prototype_network.PrototypeLoss(model),
            self.recipe, epochs=self.epochs, seed=training.derive_seed(self.setup.seed, self.label, "order"),
            on=replace(self.setup.on, dtype=torch.float32), batch_size=settings.prototype_batch_size, label=self.title,
        )  # fmt: skip

    def finish(self, model: nn.Module, *needed: nn.Module) -> nn.Module:
        """See `Training`."""
        return model.requires_grad_(False)


def _settings(setup: Described) -> PrototypesSettings:
    assert isinstance(setup.settings, PrototypesSettings)
    return setup.settings


def run_cell(setup: Setup, part: Part, keep_samples: bool) -> CellRun:
    """Train a prototype network, and compare its prototypes with ClaDec's reconstructions of the test images.

    Returns
    -------
    rows
        {"layer", "prototypes", "number", "method", "metric", "value"}; `number` counts the prototypes from 1 and is 0
        for what belongs to none. Textures and distances are of grey values in [0, 1].
    samples
        uint8 images per prototype, if asked for, and the class that the network sees in it.
    """
    data, labels = setup.data, setup.data.test_labels
    wanted = [setup.classifier, setup.decoder(part.layer), PrototypeTraining(setup, part.prototypes)]
    classifier, explain, network = yield wanted
    history = network.history
    reconstructions = data.to_unit(setup.test(explain)).clamp(0, 1)
    images, means = data.to_unit(data.test_images), data.to_unit(measures.class_means(data))
    output = setup.test(network, images)
    codes, errors = output[:, : prototype_network.CODE], output[:, prototype_network.CODE :]
    own = images + errors.view_as(images)
    terms = prototype_network.PrototypeLoss(network).parts(output, labels)
    usual = ordinary(own[:ORDINARY_IMAGES], reconstructions, means)
    overall = {
        ("classifier", "accuracy"): measures.accuracy(setup.test(classifier), labels),
        ("classifier", "test_images"): len(labels),
        ("network", "accuracy"): measures.accuracy(network.logits(codes), labels),
        **{("network", f"loss_{name}"): value for name, value in terms.items()},
        ("network", "loss_fall"): 1 - history[-1] / history[(len(history) - 1) // 2],
        ("network", "texture"): measures.sharpness(own).mean(),
        ("class mean", "texture"): measures.sharpness(means).mean(),
        **{("network", name): value for name, value in still_falling(network).items()},
        **{("ordinary", name): value for name, value in usual.items()},
    }
    each, shown = beside(network, codes, images, reconstructions, means)
    found = [(0, *name, value) for name, value in overall.items()]
    found += [(number, *name, value) for name, row in each.items() for number, value in enumerate(row, 1)]
    rows = [
        vars(part) | {"number": number, "method": method, "metric": metric, "value": float(value)}
        for number, method, metric, value in found
    ]
    if not keep_samples:
        return rows, {}
    samples = {f"{part.prototypes}/{name}": as_uint8(pictures) for name, pictures in shown.items()}
    seen_as = network.logits(network.prototypes).argmax(1).cpu().numpy().astype(np.uint8)
    return rows, samples | {f"{part.prototypes}/class": seen_as}


def beside(
    network: prototype_network.PrototypeNetwork, codes: Tensor, images: Tensor, reconstructions: Tensor, means: Tensor
) -> tuple[dict[tuple[str, str], Tensor], dict[str, Tensor]]:
    """Set each prototype beside the test image with the nearest code, and beside what is nearest in grey values.

    Parameters
    ----------
    codes, images, reconstructions
        Of the test images: the prototype network's codes, the images, what ClaDec makes of them.
    means
        Mean image of each class.

    Returns
    -------
    values
        Per prototype, by (method, metric): `texture` of the prototype, of that test image and of its reconstruction;
        mean squared difference to the nearest of all reconstructions and to the nearest class mean.
    shown
        The images.
    """
    decoded, nearest = network.decoder(network.prototypes), network.distances(codes).argmin(0)
    to_reconstructions, to_means = distances(decoded, reconstructions), distances(decoded, means)
    shown = {
        "prototype": decoded, "original": images[nearest], "cladec": reconstructions[nearest],
        "nearest reconstruction": reconstructions[to_reconstructions.argmin(1)],
        "nearest class mean": means[to_means.argmin(1)],
    }  # fmt: skip
    values = {(name, "texture"): measures.sharpness(shown[name]) for name in ("prototype", "original", "cladec")}
    values |= {
        ("original", "index"): nearest,
        ("prototype", "distance_reconstruction"): to_reconstructions.amin(1),
        ("prototype", "distance_class_mean"): to_means.amin(1),
    }
    return values, shown


def ordinary(images: Tensor, reconstructions: Tensor, means: Tensor) -> dict[str, float]:
    """How near ordinary images are to a reconstruction of *another* image, and how near to a class mean.

    Parameters
    ----------
    images
        The first test images, as the prototype network reconstructs them.
    reconstructions
        ClaDec's, of the same test images and more.
    means
        Of the classes.

    Returns
    -------
    dict
        `images`: how many. `nearer_reconstruction`: share that is nearer to one than to every class mean.
        `log_distance_ratio` and `_sd`: mean and standard deviation of log(distance to the nearest reconstruction /
        distance to the nearest class mean), both mean squared differences.
    """
    others = distances(images, reconstructions)
    others.fill_diagonal_(torch.inf)
    nearest = others.amin(1), distances(images, means).amin(1)
    ratios = (nearest[0] / nearest[1]).log()
    return {
        "images": len(images),
        "nearer_reconstruction": (nearest[0] < nearest[1]).double().mean().item(),
        "log_distance_ratio": ratios.mean().item(),
        "log_distance_ratio_sd": ratios.std().item(),
    }


def distances(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of each image to each other: (n, ...), (m, ...) -> (n, m)."""
    return torch.cdist(first.double().flatten(1), second.double().flatten(1)).square() / first[0].numel()
