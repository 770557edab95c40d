"""One logit, explained by every method, and what is measured of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from cladec_companion.papers.srae import metrics
from cladec_companion.papers.srae.baselines import Selection
from cladec_companion.papers.srae.excitation import contrastive_maps, head_of
from cladec_companion.papers.srae.locality import chance, locality, part_shares, split
from cladec_companion.papers.srae.method import Embedding, Terms, fit_embedding, pull_away
from cladec_companion.papers.srae.mosaic import Mosaics
from cladec_companion.papers.srae.network import BETWEEN, LAYER
from cladec_companion.papers.srae.scenes import Seen
from cladec_core import training

Values = dict[str, float]
FAITHFUL = 1.25  # times the smallest held-out error: as faithful as that, when β, η and q are chosen
FOLDS = 2
GAMMAS = (0.01, 0.05, 0.1, 0.3)  # of Table 4


@dataclass(frozen=True, eq=False)
class Asked:
    """A class of a classifier, and the test images of it on which maps are measured.

    Attributes
    ----------
    seen
        The classifier's view of all images.
    target
        The class.
    places
        Of the images in the test set, (images,).
    """

    seen: Seen
    target: int
    places: Tensor

    @property
    def images(self) -> Tensor:
        """The images themselves."""
        return self.seen.scenes.setup.data.test_images[self.places]

    @cached_property
    def masks(self) -> Tensor:
        """P(part | pixel) of each."""
        return self.seen.scenes.parts.masks(self.places.cpu())

    def fit(self, n: int, terms: Terms, steps: int) -> Embedding:
        """An embedding of the training images."""
        setup = self.seen.scenes.setup
        examples = self.seen.fitted_on(self.target)
        seed = training.derive_seed(setup.seed, "srae", self.target)
        return fit_embedding(examples, n, terms, on=setup.on, epochs=epochs_for(steps, len(examples.codes)), seed=seed)

    def maps_of(self, embedding: Embedding) -> Tensor:
        """Of the x-features, (images, n, height, width)."""
        body = nn.Sequential(self.seen.classifier.up_to(LAYER), embedding.hidden)
        return contrastive_maps(body, embedding.to_features.weight, self.images)

    def maps_of_units(self, units: list[int]) -> Tensor:
        """Of single units of Z, (images, units, height, width)."""
        before = self.seen.classifier.layers[self.seen.classifier.layers.index(LAYER) - 1]
        layer = head_of(self.seen.classifier.get_submodule(LAYER))
        return contrastive_maps(self.seen.classifier.up_to(before), layer.weight[units], self.images)

    def maps_of_logit(self) -> Tensor:
        """Excitation backprop of the logit itself, (images, 1, height, width)."""
        head = head_of(self.seen.classifier)
        return contrastive_maps(self.seen.classifier.up_to(BETWEEN), head.weight[[self.target]], self.images)

    def measured(self, maps: Tensor) -> Values:
        """What `measured` finds of maps; no split of garments, whose evidence nobody knows."""
        found = measured(maps, self.masks)
        return {name: value for name, value in found.items() if name != "split" or self.evidence_is_known}

    @property
    def evidence_is_known(self) -> bool:
        """Whether the first two parts are what makes the class, and nothing else is."""
        return isinstance(self.seen.scenes.parts, Mosaics)

    def faithfulness(self, model: Embedding | Selection) -> Values:
        """F_reg and F_cls on all training images, from which the fitted ones are chosen, and on all test images."""
        found: Values = {}
        for suffix, name in {"_train": "train", "": "test"}.items():
            examples, logits = self.seen.examples(self.target, name), self.seen.logits[name]
            with torch.no_grad():
                predicted = model.predicted(examples.codes)
            own, others = metrics.unchanged_by_class(predicted, logits, self.target)
            found |= {
                f"f_reg{suffix}": metrics.regression_error(predicted, examples.logits),
                f"f_cls{suffix}": metrics.unchanged_classes(predicted, logits, self.target),
                f"f_cls_own{suffix}": own,
                f"f_cls_others{suffix}": others,
            }
        return found

    def apart(self, embedding: Embedding) -> float:
        """Pull-away term of the x-features themselves, not of their maps, over all test images."""
        with torch.no_grad():
            return pull_away(embedding.features(self.seen.codes["test"])).item()

    def carried(self, embedding: Embedding) -> float:
        """Mean share of the largest of the positive contributions, over the images: 1 where one carries everything.

        A contribution counts from its mean over training images of other classes, as a constant may be added to any
        x-feature and taken from the intercept without a change of what is predicted.
        """
        examples = self.seen.examples(self.target)
        with torch.no_grad():
            usual = embedding.contributions(examples.codes[~examples.positive]).mean(0)
            contributions = embedding.contributions(self.seen.codes["test"][self.places])
        return largest_share(contributions - usual)


def largest_share(contributions: Tensor) -> float:
    """Mean over images of the largest positive contribution's share of all positive ones.

    Parameters
    ----------
    contributions
        (images, n); images without a positive one are left out.

    Returns
    -------
    float
        From 1 / n, where all are alike, to 1; NaN without any positive contribution.
    """
    positive = contributions.double().clamp(min=0)
    total = positive.sum(1)
    return (positive.amax(1)[total > 0] / total[total > 0]).mean().item()


def epochs_for(steps: int, examples: int, batch: int = 1024) -> int:
    """Passes over the examples that make about so many steps."""
    return max(1, round(steps / max(1, examples // min(batch, examples))))


def measured(maps: Tensor, masks: Tensor) -> Values:
    """Orthogonality, locality and split of maps (images, n, height, width).

    Each map is measured over the images in which it has mass, whatever the other maps of an image do; the share of maps
    without mass is a number of its own. If a map has none in any image, correlations with it do not exist: O1 and O2
    are not numbers then, so that nobody takes the explanation for a good one.
    """
    masks = masks.to(maps.device)
    shares = shares_of_each(maps, masks)
    found: Values = {
        "without_mass": (maps.sum((-2, -1)) <= 0).double().mean().item(),
        "locality": locality_of_each(maps, masks),
        "split": split(torch.stack([own.mean(0) if len(own) else torch.zeros_like(own.sum(0)) for own in shares])),
    }
    if maps.shape[1] > 1:
        constant = (maps.amax((0, 2, 3)) == maps.amin((0, 2, 3))).any()
        o1, o2 = (float("nan"), float("nan")) if constant else metrics.orthogonality(maps)
        found |= {"o1": o1, "o2": o2}
    return found


def shares_of_each(maps: Tensor, masks: Tensor) -> list[Tensor]:
    """P(part | x-feature) of each x-feature, (images with mass in its map, parts)."""
    usable = maps.sum((-2, -1)) > 0
    return [
        part_shares(maps[own, unit, None], masks[own])[:, 0]
        if own.any() else masks.new_zeros(0, masks.shape[1], dtype=torch.float64)
        for unit, own in enumerate(usable.T)
    ]  # fmt: skip


def locality_of_each(maps: Tensor, masks: Tensor) -> float:
    """Mean locality of maps, each over the images in which it has mass; one that never has any is as good as chance."""
    masks = masks.to(maps.device)
    nowhere = chance(masks)
    shares = shares_of_each(maps, masks)
    return sum(locality(own[:, None]).item() if len(own) else nowhere for own in shares) / len(shares)


def chance_of(asked: Asked) -> float:
    """Locality of a map without any place."""
    return chance(asked.masks)


def chosen_terms(asked: Asked, n: int, grid: list[Terms], steps: int) -> Terms:
    """Choose β, η and q by cross-validation on the training images.

    The paper does not say by what. Here, for SRAE and SAE alike: of the weights whose held-out F_reg is at most
    `FAITHFUL` times the smallest, those with the smallest held-out pull-away term.
    """
    if len(grid) == 1:
        return grid[0]
    examples, setup = asked.seen.fitted_on(asked.target), asked.seen.scenes.setup
    fold = torch.arange(len(examples.codes), device=examples.codes.device) % FOLDS
    scores = []
    for terms in grid:
        errors, apart = 0.0, 0.0
        for held in range(FOLDS):
            inside, outside = examples.part(fold != held), examples.part(fold == held)
            epochs = epochs_for(steps, len(inside.codes))
            embedding = fit_embedding(inside, n, terms, on=setup.on, epochs=epochs, seed=setup.seed)
            with torch.no_grad():
                errors += metrics.regression_error(embedding.predicted(outside.codes), outside.logits) / FOLDS
                apart += pull_away(embedding.features(outside.codes)).item() / FOLDS
        scores.append((errors, apart))
    enough = FAITHFUL * min(errors for errors, _ in scores)
    return min(
        (terms for terms, (errors, _) in zip(grid, scores, strict=True) if errors <= enough),
        key=lambda terms: scores[grid.index(terms)][1],
    )


def masking(asked: Asked, maps: Mapping[str, Tensor], inpainting: str) -> dict[str, Values]:
    """Accuracy on images of which only the strongest pixels are shown (Tables 2b and 4).

    Parameters
    ----------
    asked
        The class and its images.
    maps
        "x-features" and "logit" -> maps, which are smoothed before. The union of several maps shows more pixels than
        one map does, which the paper does not take into account: "logit, equal area" shows as many of the single map's.
    inpainting
        As of `metrics.masked`.

    Returns
    -------
    dict
        Method -> `masked_1`, `masked_5`... (accuracy) and `area_1`... (share of pixels shown), by γ in per cent.
    """
    found: dict[str, Values] = {name: {} for name in (*maps, "logit, equal area")}
    maps = {name: metrics.smoothed(part) for name, part in maps.items()}
    for gamma in GAMMAS:
        kept = {name: metrics.kept_pixels(part, gamma) for name, part in maps.items()}
        count = kept["x-features"].sum((-2, -1))
        kept["logit, equal area"] = metrics.strongest_pixels(maps["logit"], count)
        for name, shown in kept.items():
            images = metrics.masked(asked.images, shown, inpainting)
            found[name] |= {
                f"masked_{round(100 * gamma)}": accuracy(asked, images),
                f"area_{round(100 * gamma)}": shown.double().mean().item(),
            }
    return found | {"original": {"masked_0": accuracy(asked, asked.images)}}


def accuracy(asked: Asked, images: Tensor) -> float:
    """Share of images that the classifier takes for the target."""
    logits = training.apply(asked.seen.classifier, images, asked.seen.scenes.setup.on, exact=True)
    return (logits.argmax(1) == asked.target).double().mean().item()
