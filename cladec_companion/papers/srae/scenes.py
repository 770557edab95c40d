"""What is explained: images with known parts, their classifier, and what its layer of units says of them."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from cladec_companion.engine.setup import Setup
from cladec_companion.papers.srae.domain import DIGITS, GARMENTS
from cladec_companion.papers.srae.garments import Garments, garment_data
from cladec_companion.papers.srae.method import Examples, one_in_nine
from cladec_companion.papers.srae.mosaic import Mosaics, mosaic_data
from cladec_companion.papers.srae.network import BETWEEN, LAYER
from cladec_core import training
from cladec_core.networks import Classifier


@dataclass(frozen=True, eq=False)
class Scenes:
    """A setup of images with known parts.

    Attributes
    ----------
    setup
        Of the classifier that is explained; its images are grey values.
    parts
        Gives P(part | pixel) of test images: `parts.masks(places)`.
    """

    setup: Setup
    parts: Mosaics | Garments


@lru_cache(maxsize=1)  # the cells of a run follow one another
def scenes_of(setup: Setup) -> Scenes:
    """Mosaics of a data set of digits, or garments."""
    if setup.data.name == GARMENTS:
        data, garments = garment_data(setup.data)
        return Scenes(setup.changed(data=data), garments)
    seed = training.derive_seed(0, "mosaics")  # the same canvases for every seed of the networks
    data, mosaics = mosaic_data(setup.data, seed)
    assert len(data.classes) == DIGITS
    return Scenes(setup.changed(data=data), mosaics)


@dataclass(frozen=True, eq=False)
class Seen:
    """What a frozen classifier makes of the images: Z and the logits of both sets, computed once.

    Attributes
    ----------
    scenes, classifier
        Images and network.
    codes, logits
        "train" or "test" -> float32 (images, units) or (images, classes).
    """

    scenes: Scenes
    classifier: Classifier
    codes: dict[str, Tensor]
    logits: dict[str, Tensor]

    @classmethod
    def of(cls, scenes: Scenes, classifier: nn.Module) -> "Seen":
        """Run the classifier over all images."""
        assert isinstance(classifier, Classifier)
        setup = scenes.setup
        sets = {"train": setup.data.train_images, "test": setup.data.test_images}
        head = nn.Sequential(*(classifier.get_submodule(name) for name in (BETWEEN, "logits")))
        up_to = classifier.up_to(LAYER)
        codes = {name: training.apply(up_to, images, setup.on, exact=True) for name, images in sets.items()}
        logits = {name: training.apply(head, found, setup.on, exact=True) for name, found in codes.items()}
        return cls(scenes, classifier, codes, logits)

    def examples(self, target: int, name: str = "train") -> Examples:
        """Z, one logit, and which images are of its class."""
        data = self.scenes.setup.data
        labels = data.train_labels if name == "train" else data.test_labels
        return Examples(self.codes[name], self.logits[name][:, target], labels == target)

    def fitted_on(self, target: int) -> Examples:
        """The training images with eight negatives for each positive."""
        examples = self.examples(target)
        seed = training.derive_seed(self.scenes.setup.seed, "negatives", target)
        return examples.part(one_in_nine(examples.positive, seed))

    def positives(self, target: int, count: int) -> Tensor:
        """Places of the first test images of a class, whether the classifier gets them right or not.

        Of images that it gets right alone, masking could only lose some; the paper's accuracies are over all.
        """
        return torch.nonzero(self.scenes.setup.data.test_labels == target)[:count, 0]
