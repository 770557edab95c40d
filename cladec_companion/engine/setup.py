"""What is explained, as a frozen description: data, classifier, seed and protocol; every training follows from it."""

import hashlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cladec_companion.engine.trainings import (
    ClassifierTraining,
    DecoderTraining,
    JudgeTraining,
    ReferenceTraining,
    Training,
    shape_of,
)
from cladec_companion.records.settings import Settings
from cladec_core import data, training
from cladec_core.data import ImageData
from cladec_core.training import Compute


@dataclass(frozen=True, eq=False)
class Setup:
    """A classifier to explain and the protocol by which networks around it are trained.

    Attributes
    ----------
    data
        On the device of `on`.
    architecture, seed, settings
        Of the classifier, and how everything is trained.
    on
        Device and precision.
    data_dir
        Where `data` comes from, for controls that load the images otherwise.
    encoder_epochs
        Epochs of the classifier to explain, if not `settings.classifier_epochs`; 0 leaves the initial weights, which
        are the same for every number of epochs (section 6.3).
    calibrated
        Without training, whether BatchNorm's statistics are estimated on the training images.
    momentum
        Share of each batch in the running averages of the classifier's BatchNorm; None: PyTorch's 0.1.
    sigmoid, mean_loss
        Whether decoders end in a sigmoid, and whether reconstruction losses are averaged over pixels, not summed.
    explains
        The setup that trains the classifier, if another one does: its data or settings may differ.
    shapes_only
        Whether nothing is computed, because a plan asks what would be trained: networks are on the meta device, and
        `data` holds some images in the place of all.
    """

    data: ImageData
    architecture: str
    seed: int
    settings: Settings
    on: Compute
    _: KW_ONLY
    data_dir: Path | str | None = None
    encoder_epochs: int | None = None
    calibrated: bool = True
    momentum: float | None = None
    sigmoid: bool = False
    mean_loss: bool = False
    explains: "Setup | None" = field(default=None, repr=False)
    shapes_only: bool = False

    def changed(self, **changes: Any) -> "Setup":
        """The same setup with other attributes and a classifier of its own."""
        return replace(self, explains=None, **changes)

    def explained(self, **changes: Any) -> "Setup":
        """The same classifier, explained otherwise: with other data, settings, `sigmoid` or `mean_loss`."""
        return replace(self, explains=self.explains or self, **changes)

    @cached_property
    def classifier(self) -> ClassifierTraining:
        """The classifier to explain: trained on the training images, then frozen."""
        return self.explains.classifier if self.explains else ClassifierTraining(self)

    def decoder(self, layer: str, *, alpha: float = 0.0, channels: Sequence[int] | None = None) -> DecoderTraining:
        """ClaDec's decoder: trained on the frozen activations of a layer.

        Parameters
        ----------
        layer
            A named layer of the classifier.
        alpha
            Weight of the classification loss (Eq. 1).
        channels
            The subset of the layer to explain; None for all of it.

        Returns
        -------
        DecoderTraining
            Of a module that maps images to reconstructions; the frozen encoder is its first part.
        """
        return DecoderTraining(self, layer, alpha, None if channels is None else tuple(channels))

    def reference(self, layer: str) -> ReferenceTraining:
        """The RefAE of a layer: the same encoder with fresh weights and the same decoder, trained together."""
        return ReferenceTraining(self, layer)

    def judge(self, reconstructs: Training | None, label: str) -> JudgeTraining:
        """An evaluation classifier: trained on reconstructions with the true labels (reading C-10).

        `reconstructs` makes the images; None for the originals.
        """
        return JudgeTraining(self, reconstructs, label)

    def codes(self, model: nn.Module, images: Tensor) -> Tensor:
        """Run a model over images in the precision of the trainings: what another training is given."""
        if self.shapes_only:
            return torch.empty(len(images), *shape_of(model, images.shape[1:]), device="meta")
        return training.apply(model, images, self.on)

    def loaded(self, **options: Any) -> ImageData:
        """The data set, read again with other options of `data.load`."""
        if self.shapes_only:  # other images, which are the same for the same options
            shift = training.derive_seed(0, *sorted(options.items())) / 2**32
            return replace(self.data, train_images=self.data.train_images + shift)
        settings = self.settings
        limits = {"train_limit": settings.train_limit, "test_limit": settings.test_limit}
        options = {"resize": settings.resize} | limits | options
        return data.load(self.data.name, self.data_dir, **options).to(self.on.device)

    def test(self, model: nn.Module, inputs: Tensor | None = None) -> Tensor:
        """Run a model in float32 over the test images, or over other inputs."""
        return training.apply(model, self.data.test_images if inputs is None else inputs, self.on, exact=True)

    @cached_property
    def training_images(self) -> str:
        """Digest of what is trained on: a half, or grey values, differ from the whole in nothing else."""
        digest = hashlib.sha256()
        for tensor in (self.data.train_images, self.data.train_labels):
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    @cached_property
    def test_images(self) -> str:
        """Digest of the test images and labels, from which all images in a record come."""
        digest = hashlib.sha256()
        for tensor in (self.data.test_images, self.data.test_labels):
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()
