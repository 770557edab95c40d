"""A variational auto-encoder as a generator (section 4.1 of the paper; Kingma and Welling, 2014)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from cladec_companion.papers.cdeepex.generators import Generator, fixed
from cladec_companion.papers.cdeepex.layouts import GRID, ValueRange, map_widths
from cladec_core.networks.convolutions import Conv2d, ConvTranspose2d
from cladec_core.training import Job, Recipe

LATENT = 400  # values of a code, in the paper
CONVOLUTIONS = 4  # in the paper, for 64x64 pixels; more for larger images
RATE = 1e-3  # of Adam
LEAST_ERROR = 1e-4  # mean squared error, of values between 0 and 1, below which images count as drawn exactly


class VAE(nn.Module):
    """Four convolutions and two fully connected layers, for mean and deviation of a code; a decoder as their mirror.

    Of images with 64x64 pixels each convolution halves the sides; of smaller ones the last convolutions keep 4x4.

    Parameters
    ----------
    image
        Shape of an image: (channels, side, side).
    value_range
        Lowest and highest value of an image.
    latent, width
        Values of a code, and channels of the first map.

    Raises
    ------
    UsageError
        As `layouts.map_widths`.
    """

    def __init__(
        self, image: Sequence[int], value_range: tuple[float, float], *, latent: int = LATENT, width: int = 32
    ) -> None:
        super().__init__()
        maps = map_widths(image, width)
        kept = [maps[-1]] * max(0, CONVOLUTIONS - len(maps))  # maps of 4x4 behind the last halving
        self.image, self.latent = tuple(image), latent
        self.range = ValueRange(*value_range)
        down: list[nn.Module] = []
        for before, after in pairwise([image[0], *maps]):
            down += [Conv2d(before, after, 4, 2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        for channels in kept:
            down += [Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        values = maps[-1] * GRID**2
        self.encoder = nn.Sequential(*down, nn.Flatten())
        self.mean, self.log_variance = nn.Linear(values, latent), nn.Linear(values, latent)
        up: list[nn.Module] = [nn.Linear(latent, values), nn.ReLU(), nn.Unflatten(1, (maps[-1], GRID, GRID))]
        for channels in kept:
            up += [Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        for before, after in pairwise(reversed(maps)):
            up += [ConvTranspose2d(before, after, 4, 2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.decoder = nn.Sequential(*up, ConvTranspose2d(maps[0], image[0], 4, 2, padding=1), nn.Sigmoid())

    def forward(self, images: Tensor) -> Tensor:
        """Draw images (n, *image) again, from codes with noise: (n, pixels + 2 latent).

        Side by side, as the loop knows a single output: values between 0 and 1, means and log variances of the codes.
        """
        features = self.encoder(self.range.unit(images))
        mean, log_variance = self.mean(features), self.log_variance(features)
        codes = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return torch.cat([self.decoder(codes).flatten(1), mean, log_variance], 1)

    def encode(self, images: Tensor) -> Tensor:
        """Images (n, *image) to the means of their codes, (n, latent)."""
        codes: Tensor = self.mean(self.encoder(self.range.unit(images)))
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, latent) to images (n, *image)."""
        return self.range.images(self.decoder(codes))

    def job(self, images: Tensor, *, rate: float = RATE, **how: Any) -> Job:
        """Ask for the training on images (n, *image), at a learning rate; `how` are other attributes of a `Job`."""
        loss = EvidenceLoss(self.range, self.latent)
        return Job(self, images, (images,), loss, Recipe("adam", rate, 0.0), **how)

    def generator(self, name: str = "VAE") -> Generator:
        """Make a generator of a copy of this network as it is."""
        copied = fixed(self)
        assert isinstance(copied, VAE)
        device = copied.mean.weight.device
        return Generator(name, (self.latent,), self.image, self.range.ends, copied.decode, copied.encode, device)


@dataclass(frozen=True, eq=False)
class EvidenceLoss:
    """The negative evidence lower bound in nats per image, up to a constant.

    Pixels are normal around what is drawn, with one variance for all: the one that fits a batch best, its mean squared
    error. So no weight between the two terms has to be chosen, for whatever size of images (Rybkin, Daniilidis and
    Levine, 2021). The paper does not say which likelihood it has.
    """

    range: ValueRange
    latent: int

    def __call__(self, output: Tensor, images: Tensor) -> Tensor:
        """Loss of what `VAE.forward` makes of images (n, ...), as a scalar."""
        drawn, mean, log_variance = output.tensor_split([output.shape[1] - 2 * self.latent, -self.latent], dim=1)
        error = (drawn - self.range.unit(images).flatten(1)).square().mean()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        return drawn.shape[1] / 2 * error.clamp_min(LEAST_ERROR).log() + divergence
