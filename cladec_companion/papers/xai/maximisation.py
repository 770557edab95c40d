"""Activation maximisation: images that a unit wants, with and without priors (chapter 4 of the XAI book)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cladec_companion.papers.xai.attribution.around import blurred
from cladec_core import training
from cladec_core.errors import UsageError, one_of
from cladec_core.networks import Classifier, activation_shape

FLAT = 1e-3  # gradient of brightness, in standard deviations, below which total variation counts as smooth
START = 0.1  # standard deviation of the noise that optimisation starts from, in those of the images
REACH = 3.0  # standard deviations of a code around its mean, to which codes are clipped


@dataclass(frozen=True)
class Prior:
    """What is asked of an image beside that it activates a unit.

    Attributes
    ----------
    title
        As pages write it.
    decay
        λ of Eq. 4.12: the share by which each step pulls towards the centre.
    variation
        ε2 of Eq. 4.4, where R is the total variation.
    blur
        Standard deviation, in pixels, of the Gaussian r of Eq. 4.5.
    jitter
        Most pixels by which the image is moved before each step (section 4.2).
    mean_start
        Whether optimisation starts from the mean image of the data (section 4.2), not from noise.
    """

    title: str
    decay: float = 0.0
    variation: float = 0.0
    blur: float = 0.0
    jitter: int = 0
    mean_start: bool = False

    def scaled(self, factor: float) -> "Prior":
        """The same prior, so many times as strong."""
        return replace(
            self, decay=min(1.0, self.decay * factor), variation=self.variation * factor, blur=self.blur * factor
        )  # fmt: skip


# Set on MNIST with 3,000 training images, before anything was recorded.
PRIORS = {
    "none": Prior("no prior"),
    "l2": Prior("L2", decay=0.1),
    "tv": Prior("total variation", variation=0.04),
    "blur": Prior("Gaussian blur", blur=0.7),
    "jitter": Prior("jitter", jitter=2),
    "mean_start": Prior("mean-image start", mean_start=True),
    "all": Prior("all of these", decay=0.05, variation=0.02, blur=0.5, jitter=2, mean_start=True),
}
OF_CODES = Prior("L2 of the code", decay=0.01)  # "a small amount" (section 4.3)


def total_variation(images: Tensor) -> Tensor:
    """Sum over pixels of the length of the gradient of brightness, (n,), smoothed where there is hardly one.

    For images (n, channels, height, width); the last row and column have no neighbour on one side.
    """
    down = nn.functional.pad(images.diff(dim=2), (0, 0, 0, 1))
    right = nn.functional.pad(images.diff(dim=3), (0, 1))
    return (down**2 + right**2 + FLAT**2).sqrt().sum((1, 2, 3))


def part_of(classifier: Classifier, layer: str, units: Tensor, size: Sequence[int]) -> nn.Module:
    """The classifier up to a layer, of which some units are to be maximised.

    Parameters
    ----------
    units
        Their places in the layer.
    size
        (channels, height, width) of the images that the classifier takes.

    Raises
    ------
    UsageError
        For an unknown layer, or a unit that it does not have.
    """
    one_of("layer", layer, classifier.layers)
    network = classifier.up_to(layer)
    width = activation_shape(network, size)[0]
    for unit in units.tolist():
        if not 0 <= unit < width:
            raise UsageError(f"Unit {unit} of layer {layer!r} does not exist; valid: from 0 to {width - 1}.")
    return network


def activations(network: nn.Module, images: Tensor, units: Tensor, *, selective: bool) -> Tensor:
    """The activation of one unit for each image, (n,); of a unit of a map, its mean over the map.

    Parameters
    ----------
    units
        Which unit belongs to each image, (n,).
    selective
        Whether the logarithm of the softmax over the layer is taken (Table 4.1c), which is high only where no other
        unit is.
    """
    values = network(images)
    values = values.flatten(2).mean(2) if values.ndim > 2 else values
    values = values.log_softmax(1) if selective else values
    return values.gather(1, units.unsqueeze(1)).squeeze(1)


@dataclass(frozen=True, eq=False)
class Climb:
    """How units are maximised.

    Attributes
    ----------
    network
        From images to the units.
    size
        (channels, height, width) of the images that the network takes.
    samples
        Real images, or codes of real images where there is a generator; they say how large a step is.
    generator
        From codes to images (Eq. 4.6); None: pixels are optimised.
    selective
        See `activations`.
    steps
        How many.
    rate
        Root mean square by which a step moves a real image, in standard deviations of its pixels (or of its code).
    seed
        Decides where the search starts, and the jitter.
    """

    network: nn.Module
    size: Sequence[int]
    samples: Tensor
    generator: nn.Module | None = None
    selective: bool = False
    steps: int = 100
    rate: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a generator whose images the network cannot take.

        Raises
        ------
        UsageError
            If its images are not of the size of the network's.
        """
        if self.generator is None:
            return
        with torch.no_grad():
            made, wanted = tuple(self.generator(self.samples[:1]).shape[1:]), tuple(self.size)
        if made != wanted:
            raise UsageError(f"The generator makes images of {made}; valid: {wanted}, as the network's.")

    def images(self, variables: Tensor) -> Tensor:
        """Images of what is optimised."""
        return variables if self.generator is None else self.generator(variables)

    def gradient(self, variables: Tensor, units: Tensor) -> Tensor:
        """∂a/∂x, or ∂a(G(h))/∂h, of one unit for each."""
        variables = variables.detach().requires_grad_(True)
        found = activations(self.network, self.images(variables), units, selective=self.selective)
        return torch.autograd.grad(found.sum(), variables)[0]

    def step_sizes(self, units: Tensor, count: int = 16) -> Tensor:
        """ε1 of each unit, (n,); 0 for one whose gradient is zero at all samples.

        The book chooses it empirically. Here it is such that at real images a step has the length of `rate`.
        """
        samples = self.samples[:count]
        different, places = units.unique(return_inverse=True)
        sizes = []
        for unit in different:
            gradients = self.gradient(samples, unit.expand(len(samples)))
            sizes.append(gradients.pow(2).mean().sqrt())
        size = torch.stack(sizes)
        step = self.rate * samples.std() / size.clamp(min=1e-12)
        return torch.where(size > 1e-12, step, 0.0)[places]

    def start(self, count: int, prior: Prior, contrast: float = START) -> Tensor:
        """Where the search begins, for so many: noise around the middle, around the mean image, or around a mean code.

        Images begin with a share of their usual contrast; of codes each value has its usual deviation.
        """
        draw = torch.Generator().manual_seed(training.derive_seed(self.seed, "start"))
        noise = torch.randn(count, *self.samples.shape[1:], generator=draw).to(self.samples)
        if self.generator is not None:
            low, high = self.bounds()
            return torch.minimum(torch.maximum(self.samples.mean(0) + self.samples.std(0) * noise, low), high)
        middle = self.samples.mean(0) if prior.mean_start else torch.zeros_like(noise)
        return middle + contrast * self.samples.std() * noise

    def bounds(self) -> tuple[Tensor, Tensor]:
        """The range to which codes are clipped: of real codes, and at most `REACH` deviations from their mean."""
        mean, spread = self.samples.mean(0), self.samples.std(0)
        low = torch.maximum(self.samples.amin(0), mean - REACH * spread)
        return low, torch.minimum(self.samples.amax(0), mean + REACH * spread)

    def maximise(self, units: Tensor, prior: Prior, start: Tensor | None = None, sizes: Tensor | None = None) -> Tensor:
        """Images that maximise one unit each, (n, channels, height, width).

        With a generator only the decay of the prior counts, towards the mean code, and codes are clipped (Eq. 4.7).

        Parameters
        ----------
        units
            (n,); a unit may stand there several times, and has as many starts.
        start, sizes
            Other starts, and other step sizes ε1, than those of `start` and `step_sizes`.
        """
        sizes = self.step_sizes(units) if sizes is None else sizes
        variables = self.start(len(units), prior) if start is None else start.clone()
        step = sizes.view(-1, *[1] * (variables.ndim - 1))
        draw = torch.Generator().manual_seed(training.derive_seed(self.seed, "jitter"))
        in_pixels = self.generator is None
        for _ in range(self.steps):
            down, right = torch.randint(-prior.jitter, prior.jitter + 1, (2,), generator=draw).tolist()
            if in_pixels:
                moved = self.gradient(variables.roll((down, right), (2, 3)), units).roll((-down, -right), (2, 3))
                variables = regularised(variables, prior) + step * moved
            else:
                centre, (low, high) = self.samples.mean(0), self.bounds()
                variables = variables + step * self.gradient(variables, units) - prior.decay * (variables - centre)
                variables = torch.minimum(torch.maximum(variables, low), high)
        with torch.no_grad():
            return self.images(variables).detach()


def regularised(images: Tensor, prior: Prior) -> Tensor:
    """What a prior makes of images before the unit's gradient is added: r(x), less ε2 ∂R/∂x, less λx."""
    kept = blurred(images, prior.blur) if prior.blur else images
    if prior.variation:
        images = images.detach().requires_grad_(True)
        kept = kept - prior.variation * torch.autograd.grad(total_variation(images).sum(), images)[0]
    return kept - prior.decay * images.detach()


def nearest(images: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean square difference to the nearest of some real images, and which one that is: (n,) each."""
    distance, place = torch.cdist(images.flatten(1), real.flatten(1)).min(1)
    return distance / images[0].numel() ** 0.5, place


def most_alike(images: Tensor, real: Tensor) -> Tensor:
    """Correlation with the real image that each correlates with most, (n,): it does not change with contrast.

    0 for an image without contrast, which resembles none.
    """
    centred = [part.flatten(1) - part.flatten(1).mean(1, keepdim=True) for part in (images, real)]
    one, other = (part / part.norm(dim=1, keepdim=True).clamp(min=FLAT) for part in centred)
    return (one @ other.T).amax(1)


def pairs_of(images: Tensor, starts: int, compare: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """How the images of each unit from several starts compare, averaged over pairs: (units,).

    Parameters
    ----------
    images
        (units x starts, ...), all starts of a unit one after the other.
    compare
        Two batches -> a number for each pair.
    """
    grouped = images.unflatten(0, (-1, starts))
    found = [compare(grouped[:, one], grouped[:, other]) for one in range(starts) for other in range(one)]
    return torch.stack(found).mean(0)
