"""How faithful explanations of a user's classifier are: ΔRec, ΔAcc and occlusion, as in sections 5 and 6.6."""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from cladec_core import measures, networks, training
from cladec_core.explainer import fitting
from cladec_core.explainer.building import WEIGHTS_PER_VALUE, LayerModules, Space, fresh_classifier
from cladec_core.explainer.protocol import PRACTICAL
from cladec_core.explainer.taps import Logits
from cladec_core.training import Compute

STEPS = 400  # of an evaluation classifier
SIDE = 32  # of the images that the project's VGG-5 is made for
SQUARE, PLACES = 12 / 32, 4  # side of an occluded square as a share of the image's, and places along a side


@dataclass(frozen=True)
class Evaluation:
    """A classifier and labelled images that no decoder has seen, standardised and on the device."""

    logits: Logits
    classes: int
    space: Space
    on: Compute
    images: Tensor
    labels: Tensor

    def run(self, model: nn.Module, images: Tensor) -> Tensor:
        """Apply a module to images, exactly."""
        return training.apply(model, images, self.on, exact=True, batch_size=self.space.at_once)

    def measure(self, layer: str, built: LayerModules, right: Tensor, seed: int) -> dict[str, Any]:
        """Measure one layer.

        Parameters
        ----------
        layer, built
            Its name, and its fitted modules.
        right
            What `right_when_hidden` gives.
        seed
            Decides which half of the images trains the evaluation classifiers, and their start.

        Returns
        -------
        dict
            Columns as `ClaDec.evaluate` names them.
        """
        made = {"cladec": self.run(built.explain, self.images), "reference": self.run(built.reference, self.images)}
        row: dict[str, Any] = {"layer": layer, "seed": seed, "reference": built.label, "images": len(self.images)}
        errors, right_of = {}, {}
        for name, images in made.items():
            error = (images - self.images) * self.space.std.to(images.device)
            errors[name] = error.double().square().flatten(1).mean(1)
            row[f"rec_{name}"] = errors[name].mean().item()
        row |= _difference("ΔRec", errors["cladec"], errors["reference"])
        for name, images in made.items():
            right_of[name], row["evaluation"] = self._judged(images, seed)
            row[f"acc_{name}"] = right_of[name].mean().item()
        row |= _difference("ΔAcc", right_of["cladec"], right_of["reference"])
        for name, images in made.items():
            row |= self._agreement(f"agreement_{name}", images)
        relevance, hidden = self.relevance(built.explain, made["cladec"]), {}
        for end, places in (("most", relevance.argmax(1)), ("least", relevance.argmin(1))):
            hidden[end] = right.gather(1, places[:, None]).double().flatten()
            row[f"acc_{end}_hidden"] = hidden[end].mean().item()
        return row | _difference("ΔAcc_hidden", hidden["least"], hidden["most"])

    @cached_property
    def predicted(self) -> Tensor:
        """The class of each image by the classifier, (n,)."""
        return self._classes(self.images)

    def _classes(self, images: Tensor) -> Tensor:
        return self.run(nn.Sequential(self.space.restore(), self.logits), images).argmax(1)

    def _agreement(self, name: str, images: Tensor) -> dict[str, float]:
        """Share of the reconstructions that keep the prediction, with its interval."""
        kept = int((self._classes(images) == self.predicted).sum())
        low, high = measures.of_share(kept, len(images))
        return {name: kept / len(images), f"{name}_low": low, f"{name}_high": high}

    def _judged(self, images: Tensor, seed: int) -> tuple[Tensor, str]:
        """Whether a classifier that is trained on half of the reconstructions is right on each other; what it is."""
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).to(images.device)
        train, test = order.tensor_split(2)
        model, label = self.classifier(len(train), training.derive_seed(seed, "evaluation"))
        batch, epochs, _ = fitting.plan(len(train), math.prod(self.space.shape), STEPS)
        job = fitting.judging(
            model, images[train], self.labels[train], PRACTICAL.recipe, self.on, epochs=epochs,
            seed=training.derive_seed(seed, "evaluation order"), batch_size=batch, label="evaluation",
        )  # fmt: skip
        training.fit(job)
        return (self.run(model, images[test]).argmax(1) == self.labels[test]).double(), label

    def classifier(self, count: int, seed: int) -> tuple[nn.Module, str]:
        """A classifier with fresh weights, to be trained on so many reconstructions; and what it is.

        A copy of the explained one if every layer can be re-initialised and it is not too large for the images; else
        the project's VGG-5, on images brought to its size.
        """
        weights = sum(value.numel() for value in self.logits.parameters())
        with training.seeded(seed):
            model, stuck = fresh_classifier(self.logits.model)
            if not stuck and weights <= WEIGHTS_PER_VALUE * count * math.prod(self.space.shape):
                fresh = Logits(model, self.logits.preprocess, self.logits.adapters)
                return nn.Sequential(self.space.restore(), fresh), "fresh copy of the classifier"
            small = networks.classifier("vgg5", self.space.shape[0], self.classes)
        return nn.Sequential(networks.resize((SIDE, SIDE)), small), "the project's VGG-5"

    def squares(self) -> Tensor:
        """Masks of 16 squares (by their shares of the sides) that overlap a little: (16, height, width)."""
        size = self.space.shape[1:]
        sides = [max(1, round(SQUARE * side)) for side in size]
        corners = [torch.linspace(0, full - side, PLACES).round().int() for full, side in zip(size, sides, strict=True)]
        masks = torch.zeros(PLACES**2, *size, dtype=torch.bool)
        for mask, (top, left) in zip(masks, product(*corners), strict=True):
            mask[top : top + sides[0], left : left + sides[1]] = True
        return masks.to(self.images.device)

    def relevance(self, explain: nn.Module, before: Tensor) -> Tensor:
        """Squared change of a reconstruction inside each square when that is filled with the mean: (n, 16)."""
        found = []
        for mask in self.squares():
            change = (self.run(explain, self._hidden(mask)) - before).square().sum(1)
            found.append((change * mask).sum((1, 2)))
        return torch.stack(found, 1)

    def right_when_hidden(self) -> Tensor:
        """Whether the classifier is right with each square filled with the mean: (n, 16)."""
        model = nn.Sequential(self.space.restore(), self.logits)
        hidden = (self.run(model, self._hidden(mask)) for mask in self.squares())
        return torch.stack([outputs.argmax(1) == self.labels for outputs in hidden], 1)

    def _hidden(self, mask: Tensor) -> Tensor:
        """The images, filled with their mean where a mask (height, width) is true."""
        return torch.where(mask, self.space.grey.to(self.images), self.images)


def _difference(name: str, first: Tensor, second: Tensor) -> dict[str, float]:
    """Mean difference of two values of each image, (n,), with its interval."""
    values = (first - second).cpu().numpy()
    low, high = measures.over_images(values)
    return {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}
