"""How good a generator is, measured: what it can draw again, what its samples are taken for, and whether it copies.

The paper says that its residual is "so minuscule that a human cannot distinguish" the images, and shows no number.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cladec_companion.papers.cdeepex.generators import Generator
from cladec_core.networks import in_eval_mode

AT_ONCE = 256  # images in a batch where nothing is trained
RATE = 0.1  # of Adam, at the start; the paper prints none
STEPS = 200


@dataclass(frozen=True, eq=False)
class Redrawn:
    """Images that a generator was asked to draw again.

    Attributes
    ----------
    error
        Squared error of each image, summed over pixels, (n,).
    floor
        The same of the mean training image, which needs no generator, (n,).
    same_class
        Whether the classifier takes the drawn image for what it takes the image for, bool (n,).
    """

    error: Tensor
    floor: Tensor
    same_class: Tensor

    @property
    def missed(self) -> float:
        """Error as a share of that of the mean training image: 0 is exact, 1 no better than one image for all."""
        return (self.error.sum() / self.floor.sum()).item()


@dataclass(frozen=True, eq=False)
class Quality:
    """What was measured of one generator.

    Attributes
    ----------
    redrawn
        How the codes were found -> what was drawn: "noise" (Algorithm 2, from N(0, 1)), and where there is an encoder
        "encoder", and "encoder and steps" (Algorithm 2 from there).
    probabilities
        Of the classifier for samples, (samples, classes).
    nearest, nearest_held_out
        Euclidean distance to the nearest training image: of each sample, and of each test image, for comparison.
    """

    redrawn: Mapping[str, Redrawn]
    probabilities: Tensor
    nearest: Tensor
    nearest_held_out: Tensor

    @property
    def confidence(self) -> float:
        """Mean probability of the class that a sample is taken for."""
        return self.probabilities.amax(1).mean().item()

    @property
    def entropy(self) -> float:
        """Mean entropy in nats of what the classifier says of a sample: 0 where it is sure."""
        return _entropy(self.probabilities).mean().item()

    @property
    def entropy_of_classes(self) -> float:
        """Entropy in nats of the classes of all samples together: log(classes) where all are as frequent."""
        return _entropy(self.probabilities.mean(0)).item()

    @property
    def nearness(self) -> float:
        """Median distance of samples to the training images, as a share of that of test images.

        Far below 1, the generator draws training images again; far above, something else than such images.
        """
        return (self.nearest.median() / self.nearest_held_out.median()).item()

    @property
    def numbers(self) -> dict[str, float]:
        """What a table shows, by name."""
        missed = {f"missed, {how}": found.missed for how, found in self.redrawn.items()}
        same = {f"same class, {how}": found.same_class.float().mean().item() for how, found in self.redrawn.items()}
        return missed | same | {
            "confidence": self.confidence, "entropy": self.entropy, "entropy of classes": self.entropy_of_classes,
            "nearness": self.nearness,
        }  # fmt: skip


def quality(
    generator: Generator,
    classifier: nn.Module,
    training_images: Tensor,
    images: Tensor,
    *,
    samples: int = 200,
    steps: int = STEPS,
    seed: int = 0,
) -> Quality:
    """Measure a generator.

    Parameters
    ----------
    generator
        See `Generator`.
    classifier
        Maps images to logits. An independent one says more than the one to be explained, whose layer a generator
        may have as its latent space.
    training_images, images
        What the generator was trained on, and images held out: (n, channels, height, width).
    samples
        How many codes are drawn from N(0, 1).
    steps
        Of Algorithm 2.
    seed
        Of its starts, and of the samples.

    Raises
    ------
    UsageError
        For images that are not such as the generator draws.
    """
    generator.checked(training_images)
    generator.checked(images)
    mean = training_images.mean(0, keepdim=True)
    floor = _error(images, mean)
    with in_eval_mode(classifier):
        wanted = _applied(classifier, images).argmax(1)

        def redrawn(codes: Tensor) -> Redrawn:
            drawn = _applied(generator.decode, codes)
            return Redrawn(_error(images, drawn), floor, _applied(classifier, drawn).argmax(1) == wanted)

        found = {"noise": redrawn(descend(generator, images, generator.draw(len(images), seed), steps))}
        if generator.encode is not None:
            codes = _applied(generator.encode, images)
            found["encoder"] = redrawn(codes)
            found["encoder and steps"] = redrawn(descend(generator, images, codes, steps))
        drawn = _applied(generator.decode, generator.draw(samples, seed + 1))
        probabilities = _applied(classifier, drawn).softmax(1)
    near, near_held_out = (distance_to_nearest(part, training_images) for part in (drawn, images))
    return Quality(found, probabilities, near, near_held_out)


def descend(generator: Generator, images: Tensor, codes: Tensor, steps: int = STEPS, rate: float = RATE) -> Tensor:
    """Go from codes (n, *latent) to others whose images are more like the given ones (Algorithm 2, Eq. 1).

    Adam descends on the squared error of each image on its own, and ends with a step size of 0, along half a cosine.
    The best codes on the way are kept, so that no image ends worse than it began.
    """
    codes = codes.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([codes], rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    best, least = codes.detach().clone(), torch.full((len(codes),), torch.inf, device=codes.device)
    for step in range(steps + 1):
        errors = _error(images, generator.decode(codes))
        better = errors.detach() < least
        best[better], least[better] = codes.detach()[better], errors.detach()[better]
        if step < steps:
            (codes.grad,) = torch.autograd.grad(errors.sum(), codes)
            optimiser.step()
            falling.step()
    return best


def distance_to_nearest(images: Tensor, others: Tensor) -> Tensor:
    """Euclidean distance from each image (n, ...) to the nearest of others (m, ...), as (n,)."""
    flat = others.flatten(1)
    return torch.cat([torch.cdist(part.flatten(1), flat).amin(1) for part in images.split(AT_ONCE)])


@torch.no_grad()
def _applied(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    return torch.cat([function(part) for part in inputs.split(AT_ONCE)])


def _error(images: Tensor, drawn: Tensor) -> Tensor:
    """Squared error of each image, summed over pixels."""
    return (drawn - images).square().flatten(1).sum(1)


def _entropy(probabilities: Tensor) -> Tensor:
    """In nats, of distributions along the last dimension."""
    return torch.special.entr(probabilities).sum(-1)
