"""A Wasserstein GAN with gradient penalty as a generator.

Networks are those of DCGAN (Radford, Metz and Chintala, 2015), as the paper's section 4.1 has them. The paper trains
by the method of Arjovsky, Chintala and Bottou (2017), which clips the critic's weights; here the critic's gradient is
held near 1 instead, as Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville (2017) do, with their settings but for the
learning rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from cladec_companion.papers.cdeepex.generators import Generator, fixed
from cladec_companion.papers.cdeepex.layouts import GRID, ValueRange, map_widths
from cladec_core.networks.convolutions import ConvTranspose2d
from cladec_core.training import Job, Opponent, Recipe

LATENT = 100  # values of a code, in the paper; 200 for Fashion-MNIST
# Of Adam, of both networks. Gulrajani et al. have 1e-4, for 100,000 steps; of the few hundred that a processor has time
# for, 1e-4 wastes most: after 400 steps on MNIST at 16x16 pixels the generator misses 0.67 of test images with it, and
# 0.07 to 0.10 with 5e-4 to 2e-3 (squared error of what Algorithm 2 draws, as a share of that of the mean training
# image; seen before this was chosen).
RATE = 1e-3
PENALTY = 10.0  # weight of the gradient penalty
CRITIC_STEPS = 5  # before each step of the generator
SLOPE = 0.2  # of the critic's ReLUs below 0, as in DCGAN


class WGAN(nn.Module):
    """A generator of transposed convolutions, BatchNorm and ReLU, five of 64x64 pixels, and a critic of convolutions.

    The critic has no BatchNorm, with which the gradient of one image would depend on the others.

    Parameters
    ----------
    image
        Shape of an image: (channels, side, side).
    value_range
        Lowest and highest value of an image.
    latent, width
        Values of a code, and channels of the largest map.

    Raises
    ------
    UsageError
        As `layouts.map_widths`.
    """

    def __init__(
        self, image: Sequence[int], value_range: tuple[float, float], *, latent: int = LATENT, width: int = 64
    ) -> None:
        super().__init__()
        maps = map_widths(image, width)
        self.image, self.latent = tuple(image), latent
        self.range = ValueRange(*value_range)
        up: list[nn.Module] = [nn.Unflatten(1, (latent, 1, 1)), ConvTranspose2d(latent, maps[-1], GRID, bias=False)]
        up += [nn.BatchNorm2d(maps[-1]), nn.ReLU()]
        for before, after in pairwise(reversed(maps)):
            up += [ConvTranspose2d(before, after, 4, 2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.decoder = nn.Sequential(*up, ConvTranspose2d(maps[0], image[0], 4, 2, padding=1), nn.Tanh())
        down: list[nn.Module] = []
        for before, after in pairwise([image[0], *maps]):
            # PyTorch's own, as the penalty differentiates twice.
            down += [nn.Conv2d(before, after, 4, 2, padding=1), nn.LeakyReLU(SLOPE)]
        self.critic = nn.Sequential(*down, nn.Flatten(), nn.Linear(maps[-1] * GRID**2, 1))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (n, latent) to images (n, *image)."""
        return self.range.images((self.decoder(codes) + 1) / 2)

    def job(self, images: Tensor, *, rate: float = RATE, **how: Any) -> Job:
        """Ask for the training on images (n, *image), at a learning rate; `how` are other attributes of a `Job`."""
        recipe = Recipe("adam_without_momentum", rate, 0.0)
        opponent = Opponent(self.critic, CriticLoss(self.critic, self.range), recipe, CRITIC_STEPS)
        drawing, loss = FromNoise(self.decoder, self.latent), GeneratorLoss(self.critic)
        return Job(drawing, images, (images,), loss, recipe, opponent=opponent, **how)

    def generator(self, name: str = "WGAN") -> Generator:
        """Make a generator of a copy of this network as it is."""
        copied = fixed(self)
        assert isinstance(copied, WGAN)
        device = next(copied.parameters()).device
        return Generator(name, (self.latent,), self.image, self.range.ends, copied.decode, device=device)


class FromNoise(nn.Module):
    """Draws images from N(0, 1), as many as it is shown: between -1 and 1, (n, *image)."""

    def __init__(self, decoder: nn.Module, latent: int) -> None:
        super().__init__()
        self.decoder, self.latent = decoder, latent

    def forward(self, images: Tensor) -> Tensor:
        """(n, ...) -> (n, *image)."""
        drawn: Tensor = self.decoder(torch.randn(len(images), self.latent, device=images.device))
        return drawn


@dataclass(frozen=True, eq=False)
class CriticLoss:
    """What the critic minimises: mean of what is drawn, minus mean of images, plus the penalty on its gradients.

    Gradients are taken at a random point between each image and one that is drawn, and held near a norm of 1 (Gulrajani
    et al., Eq. 3).
    """

    critic: nn.Module
    range: ValueRange
    penalty: float = PENALTY

    def __call__(self, drawn: Tensor, images: Tensor) -> Tensor:
        """Loss of images that are drawn, between -1 and 1, and images of the data set; both (n, *image)."""
        images = 2 * self.range.unit(images) - 1
        share = torch.rand(len(images), 1, 1, 1, device=images.device)
        between = share * images + (1 - share) * drawn
        gap: Tensor = self.critic(drawn).mean() - self.critic(images).mean()
        return gap + self.penalty * gradient_penalty(self.critic, between)


@dataclass(frozen=True, eq=False)
class GeneratorLoss:
    """What the generator minimises: the negative mean of what the critic says of its images."""

    critic: nn.Module

    def __call__(self, drawn: Tensor, images: Tensor) -> Tensor:
        """Loss of images that are drawn; those of the data set do not count."""
        value: Tensor = -self.critic(drawn).mean()
        return value


def gradient_penalty(critic: nn.Module, images: Tensor) -> Tensor:
    """Mean squared distance from 1 of the norm of the critic's gradient at each image (n, ...), differentiable."""
    images = images.detach().requires_grad_()
    value = critic(images.view_as(images)).sum()  # a leaf itself would stop torch's counter of operations
    (gradients,) = torch.autograd.grad(value, images, create_graph=True)
    return (gradients.flatten(1).norm(dim=1) - 1).square().mean()
