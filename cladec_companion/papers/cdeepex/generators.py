"""What an explanation may draw: generators, used alike whatever network is behind them (section 3.2 of the paper).

A generator is trained (`fitting.fit`: a VAE or a WGAN), made of a decoder with its encoder (`autoencoder`: ClaDec's
decoder on a layer of the classifier, or RefAE), or of a reader's own functions (`Generator(...)`).
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cladec_core import networks
from cladec_core.errors import UsageError

CPU = torch.device("cpu")
OVERSHOOT = 0.05  # of the value range: images may leave it by so much, as resized or standardised ones do


@dataclass(frozen=True, eq=False)
class Generator:
    """A map from codes to images, G of the paper, with a way back where there is one.

    What every generator promises, and a reader's own has to keep:

    - `decode` maps codes (n, *latent) to images (n, *image), float32, of which every one depends on its own code alone.
      It can be differentiated with respect to the codes, and always gives the same images for the same codes. Its
      weights never change, and collect no gradients.
    - `encode` maps images (n, *image) to codes (n, *latent) without noise; None where there is no way back (a GAN).
    - Images are as the classifier takes them, such as standardised ones. `value_range` is theirs: `decode` keeps to it,
      but for generators whose last layer is linear (ClaDec's decoder, RefAE), which may overshoot a little.
    - Codes of natural images have a mean near 0 and a deviation of 1 or less in each value, so that N(0, 1) is a start
      for Algorithm 2, and a step size in the latent space means about the same for all generators. Codes of a layer
      (`autoencoder`) are standardised for that purpose, value by value.

    Attributes
    ----------
    name
        As pages and messages write it: "VAE", "WGAN", "ClaDec, penultimate".
    latent
        Shape of a code, without the batch: (100,), or (256, 4, 4) for a layer's map.
    image
        (channels, height, width).
    value_range
        Lowest and highest value of an image.
    decode, encode
        See above.
    device
        Where codes and images are.

    Raises
    ------
    UsageError
        If the range is none, or `decode` or `encode` does not make of two zeros what the shapes say.
    """

    name: str
    latent: tuple[int, ...]
    image: tuple[int, ...]
    value_range: tuple[float, float]
    decode: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Tensor] | None = None
    device: torch.device = CPU

    def __post_init__(self) -> None:
        low, high = self.value_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UsageError(f"{self.name}: value_range is {self.value_range}; valid: (lowest, highest), both finite.")
        self._check_map("decode", self.decode, self.latent, self.image)
        if self.encode is not None:
            self._check_map("encode", self.encode, self.image, self.latent)

    def _check_map(self, what: str, function: Callable[[Tensor], Tensor], of: Sequence[int], to: Sequence[int]) -> None:
        try:
            with torch.no_grad():
                found = function(torch.zeros(2, *of, device=self.device))
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(
                f"{self.name}: {what} does not take a batch of shape (2, *{tuple(of)}): {reason}"
            ) from error
        if tuple(found.shape) != (2, *to) or found.dtype != torch.float32:
            raise UsageError(
                f"{self.name}: {what} makes {found.dtype} of shape {tuple(found.shape)} from a batch of shape "
                f"(2, *{tuple(of)}); valid: torch.float32 of shape {(2, *to)}."
            )

    def checked(self, images: Tensor) -> Tensor:
        """Check that images (n, *image) are such as this generator draws, and return them.

        Raises
        ------
        UsageError
            For another size, for values that are not finite, or for values out of the range.
        """
        if tuple(images.shape[1:]) != self.image:
            raise UsageError(
                f"{self.name} draws images of shape {self.image}, but was given a batch of shape "
                f"{tuple(images.shape)}; valid: (n, {', '.join(map(str, self.image))})."
            )
        if not images.isfinite().all():
            raise UsageError(f"{self.name}: some values of the images are NaN or infinite; valid: finite ones.")
        low, high = self.value_range
        slack = OVERSHOOT * (high - low)
        found = (images.min().item(), images.max().item()) if len(images) else self.value_range
        if found[0] < low - slack or found[1] > high + slack:
            raise UsageError(
                f"{self.name} draws values from {low:.3g} to {high:.3g}, but the images reach from {found[0]:.3g} to "
                f"{found[1]:.3g}; valid: images on the scale that the generator was trained on."
            )
        return images

    def draw(self, count: int, seed: int) -> Tensor:
        """Draw codes (count, *latent) from N(0, 1): where Algorithm 2 starts, and what samples are made of."""
        return torch.randn(count, *self.latent, generator=torch.Generator().manual_seed(seed)).to(self.device)


class Scaled(nn.Module):
    """Codes as the values of a layer; a value that is the same for all images stays so, whatever the code says."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        deviation, mean = torch.std_mean(values.float(), 0, correction=0)
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, codes: Tensor) -> Tensor:
        """(n, *latent) -> (n, *latent)."""
        return codes * self.deviation + self.mean

    def codes(self, values: Tensor) -> Tensor:
        """The way back; the code of a value that never changes is 0."""
        varied = self.deviation > 0
        return torch.where(varied, (values - self.mean) / torch.where(varied, self.deviation, 1.0), 0.0)


def autoencoder(name: str, encoder: nn.Module, decoder: nn.Module, images: Tensor) -> Generator:
    """Make a generator of a decoder, whose latent space is what the encoder puts out.

    With the frozen layers of a classifier as the encoder, and ClaDec's decoder behind them, the latent space is the
    classifier's own layer, as section 2 of the ClaDec paper proposes; with RefAE's encoder and decoder, its own.
    Nothing is trained: both modules are copied, in eval mode and without gradients for their weights. Activations
    behind a ReLU are never negative, but codes are not held to that: the decoder then draws what it was never shown.

    Parameters
    ----------
    name
        Of the generator.
    encoder, decoder
        From images (n, channels, height, width) to activations (n, ...), and back.
    images
        Training images (n, channels, height, width), of which the codes are standardised, value by value, and the value
        range is taken.

    Raises
    ------
    UsageError
        If the modules do not fit the images, or each other.
    """
    encoder, decoder = fixed(encoder), fixed(decoder)
    with torch.no_grad():
        scaled = Scaled(torch.cat([encoder(part).float() for part in images.split(512)]))

    def encode(images: Tensor) -> Tensor:
        codes: Tensor = scaled.codes(encoder(images).float())
        return codes

    def decode(codes: Tensor) -> Tensor:
        drawn: Tensor = decoder(scaled(codes)).float()
        return drawn

    latent, image = tuple(scaled.mean.shape), tuple(images.shape[1:])
    return Generator(name, latent, image, range_of(images), decode, encode, images.device)


def of_trained(name: str, network: nn.Module, images: Tensor) -> Generator:
    """Make a generator of what the project trains for a layer: a chain of an encoder and a decoder (see `autoencoder`).

    Parameters
    ----------
    name, images
        As of `autoencoder`.
    network
        The network of `Setup.decoder(layer)` (ClaDec) or `Setup.reference(layer)` (RefAE).
    """
    encoder, decoder = network.children()
    return autoencoder(name, encoder, decoder, images)


def fixed(module: nn.Module) -> nn.Module:
    """Copy a module as it is used: in eval mode, with weights that never change and collect no gradients."""
    module = copy.deepcopy(module)
    for part in module.modules():  # a frozen encoder computes without gradients, which a contrast may need
        for name, child in part.named_children():
            if isinstance(child, networks.Frozen):
                setattr(part, name, child.module)
    module = module.module if isinstance(module, networks.Frozen) else module
    assert isinstance(module, nn.Module)
    return module.eval().requires_grad_(False)


def range_of(images: Tensor) -> tuple[float, float]:
    """Measure the lowest and the highest value of images."""
    return images.min().item(), images.max().item()
