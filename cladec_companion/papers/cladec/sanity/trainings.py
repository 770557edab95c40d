"""Classifiers that are broken on purpose, or trained at another rate, in the place of the one that is explained."""

import copy
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from cladec_companion.engine.setup import Setup
from cladec_companion.engine.trainings import ClassifierTraining, Training, new_classifier
from cladec_core import measures, training
from cladec_core.data import ImageData

CALIBRATED = 2_000  # training images on which BatchNorm's statistics of redrawn layers are estimated


@dataclass(frozen=True, eq=False)
class Replaced(Setup):
    """A setup whose classifier is another than the one that its protocol trains."""

    stand_in: ClassifierTraining | None = field(default=None, kw_only=True, repr=False)

    @cached_property
    def classifier(self) -> ClassifierTraining:
        """The stand-in."""
        assert self.stand_in is not None
        return self.stand_in


def explaining(setup: Setup, stand_in: ClassifierTraining) -> Setup:
    """The same setup with another classifier to explain."""
    taught = Replaced(**{item.name: getattr(setup, item.name) for item in fields(setup)}, stand_in=stand_in)
    return replace(setup, explains=taught)


def with_shuffled_labels(setup: Setup) -> Setup:
    """Explain a classifier that was trained on labels in random order; everything else sees the true ones.

    Each class keeps its number of images; which of them it has is chance.
    """
    data = setup.data
    return setup.changed(data=replace(data, train_labels=data.train_labels[shuffled(data, setup.seed)])).explained(
        data=data
    )


def shuffled(data: ImageData, seed: int) -> torch.Tensor:
    """A random order of the training images, int64 (n,)."""
    order = torch.Generator().manual_seed(training.derive_seed(seed, "shuffled labels"))
    return torch.randperm(len(data.train_labels), generator=order).to(data.train_labels.device)


def layers_with_weights(model: nn.Module) -> list[str]:
    """Names of the parts of a chain that have weights, from the input to the output."""
    return [name for name, part in model.named_children() if any(True for _ in part.parameters())]


@dataclass(frozen=True, eq=False)
class RandomisedTraining(ClassifierTraining):
    """The trained classifier with the weights of its last layers drawn anew (Adebayo et al. 2018, cascading).

    A layer that is redrawn for one number of layers has the same new weights for every larger one. BatchNorm's
    statistics of redrawn layers are estimated on training images: with PyTorch's initial ones codes would be nearly
    constant (finding 5), and what changes the explanation would be that.
    """

    count: int

    @property
    def kept(self) -> bool:
        """Made in a second from the trained classifier, which is kept."""
        return False

    @property
    def needs(self) -> tuple[Training, ...]:
        """The trained classifier."""
        return (self.setup.classifier,)

    @property
    def name(self) -> str:
        """See `Training`."""
        return f"{self.label} with {self.count} random layers of {self.setup.classifier.key}"

    def build(self, *needed: nn.Module) -> Any:
        """See `Training`."""
        model = copy.deepcopy(needed[0])
        fresh = new_classifier(self.setup, "random layers")
        for name in layers_with_weights(model)[-self.count :]:
            setattr(model, name, getattr(fresh, name).to(self.setup.on.device))
        return model

    def job(self, model: nn.Module, *needed: nn.Module) -> None:
        """Nothing is trained; only statistics of the redrawn layers are estimated."""
        setup = self.setup
        if setup.shapes_only:
            return
        first, parts = layers_with_weights(model)[-self.count], dict(model.named_children())
        at = list(parts).index(first)
        below, above = (nn.Sequential(*part) for part in (list(parts.values())[:at], list(parts.values())[at:]))
        images = setup.data.train_images[:CALIBRATED]
        training.calibrate(above, training.apply(below, images, setup.on, exact=True), setup.on)


@dataclass(frozen=True, eq=False)
class RatedTraining(ClassifierTraining):
    """The classifier, trained at another learning rate from the same initial weights."""

    rate: float

    @property
    def name(self) -> str:
        """See `Training`."""
        return f"{super().name} at rate {self.rate}"

    def job(self, model: nn.Module, *needed: nn.Module) -> training.Job | None:
        """See `Training`."""
        job = super().job(model, *needed)
        return job and replace(job, recipe=replace(self.recipe, learning_rate=self.rate))


@dataclass(frozen=True, eq=False)
class ChosenTraining(ClassifierTraining):
    """Of classifiers trained at several rates the one that is most accurate on its training images.

    Test images have no say in the choice; of equals the first is taken.
    """

    rates: tuple[float, ...]

    @property
    def kept(self) -> bool:
        """The candidates are kept."""
        return False

    @property
    def needs(self) -> tuple[Training, ...]:
        """The candidates."""
        return tuple(RatedTraining(self.setup, rate) for rate in self.rates)

    @property
    def name(self) -> str:
        """See `Training`."""
        return f"{super().name} at the best of the rates {list(self.rates)}"

    def build(self, *needed: nn.Module) -> Any:
        """See `Training`."""
        setup = self.setup
        at = 0 if setup.shapes_only else chosen([accuracy_on_training_images(setup, model) for model in needed])
        return copy.deepcopy(needed[at])

    def job(self, model: nn.Module, *needed: nn.Module) -> None:
        """Nothing more is trained."""


def accuracy_on_training_images(setup: Any, model: nn.Module) -> float:
    """Share of the training images that a classifier gets right, in eval mode."""
    data = setup.data
    return measures.accuracy(training.apply(model, data.train_images, setup.on, exact=True), data.train_labels)


def chosen(accuracies: list[float]) -> int:
    """Place of the largest; of equals the first."""
    return max(range(len(accuracies)), key=lambda place: (accuracies[place], -place))
