"""The prototype network of Li et al. (2018), a classifier that explains itself: it compares codes with learnt ones.

Layout, weights of the loss and recipe are those of its authors' program (reading C-17), for 32x32 images.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from cladec_core.data import SIZE
from cladec_core.errors import UsageError
from cladec_core.training import Recipe, classification_loss

ADAM = Recipe("adam", 0.002, 0.0)
BATCH_SIZE = 250
WEIGHTS = {"classification": 20.0, "reconstruction": 1.0, "r1": 1.0, "r2": 1.0}
MAPS = (32, 32, 32, 10)  # of the encoder; each convolution halves the side
SIDE = SIZE // 2 ** len(MAPS)
CODE = MAPS[-1] * SIDE**2


class ElasticDeformation(nn.Module):
    """Move the pixels of each image by a smooth random field while training; do nothing in eval mode.

    Parameters
    ----------
    sigma
        Pixels over which the field is smoothed by a Gaussian; it counts as zero outside the image.
    alpha
        Factor on the smoothed noise, which is uniform in [-1, 1] before.
    """

    blur: Tensor

    def __init__(self, sigma: float = 4.0, alpha: float = 20.0) -> None:
        super().__init__()
        self.alpha = alpha
        blur = gaussian_filter1d(np.eye(SIZE), sigma, axis=0, mode="constant")
        self.register_buffer("blur", torch.tensor(blur, dtype=torch.float32), persistent=False)

    def shifts(self, images: Tensor) -> Tensor:
        """A new field for each image, in pixels: (n, 2, 32, 32)."""
        noise = torch.rand(len(images), 2, SIZE, SIZE, device=images.device) * 2 - 1
        return self.alpha * (self.blur @ noise @ self.blur.T)

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, 32, 32) -> the same shape; what comes from outside the image is 0."""
        if not self.training:
            return images
        identity = F.affine_grid(torch.eye(2, 3, device=images.device)[None], [1, 1, SIZE, SIZE], align_corners=True)
        grid = identity + self.shifts(images).movedim(1, -1) * 2 / (SIZE - 1)
        return F.grid_sample(images, grid, align_corners=True)


class PrototypeNetwork(nn.Module):
    """Encoder, decoder, and prototypes in the code space, to which the squared distances decide the class.

    Attributes
    ----------
    encoder, decoder
        (n, channels, 32, 32) with grey values in [0, 1] -> codes (n, 40), and back.
    prototypes
        Codes, (prototypes, 40).
    weights
        From distances to logits, (prototypes, classes).
    """

    def __init__(self, channels: int, classes: int, prototypes: int) -> None:
        super().__init__()
        if prototypes < 1:
            raise UsageError(f"prototypes is {prototypes}; valid: an integer from 1.")
        self.deform = ElasticDeformation()
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for before, after in pairwise((channels, *MAPS)):
            down += [nn.Conv2d(before, after, 3, 2, padding=1), nn.ReLU()]
            up = [nn.ConvTranspose2d(after, before, 3, 2, padding=1, output_padding=1), nn.ReLU(), *up]
        self.encoder = nn.Sequential(*down, nn.Flatten())
        self.decoder = nn.Sequential(nn.Unflatten(1, (MAPS[-1], SIDE, SIDE)), *up[:-1], nn.Sigmoid())
        for part in self.modules():
            if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(part.weight, std=0.01)
                assert part.bias is not None
                nn.init.zeros_(part.bias)
        self.prototypes = nn.Parameter(torch.rand(prototypes, CODE))
        self.weights = nn.Parameter(torch.rand(prototypes, classes))

    def forward(self, images: Tensor) -> Tensor:
        """What the loss needs: codes, and errors of their reconstruction, (n, 40 + values of an image).

        While training both are of the deformed images.
        """
        seen = self.deform(images)
        codes = self.encoder(seen)
        return torch.cat([codes, (self.decoder(codes) - seen).flatten(1)], 1)

    def distances(self, codes: Tensor) -> Tensor:
        """Squared distance of each code to each prototype, (n, prototypes)."""
        return (codes[:, None] - self.prototypes).square().sum(2)

    def logits(self, codes: Tensor) -> Tensor:
        """(n, classes); a *small* distance speaks for the classes whose weight is small."""
        return self.distances(codes) @ self.weights


@dataclass(frozen=True)
class PrototypeLoss:
    """20 classification + reconstruction + R1 + R2, of what the network's `forward` returns."""

    network: PrototypeNetwork

    def parts(self, output: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The four terms, unweighted.

        Returns
        -------
        dict
            `classification`: cross entropy. `reconstruction`: squared error summed over an image. `r1`: squared
            distance of a prototype to the nearest code of the batch, averaged over prototypes. `r2`: of a code to
            the nearest prototype, averaged over the batch.
        """
        codes, errors = output[:, :CODE], output[:, CODE:]
        distances = self.network.distances(codes)
        return {
            "classification": classification_loss(self.network.logits(codes), labels),
            "reconstruction": errors.square().sum(1).mean(),
            "r1": distances.amin(0).mean(),
            "r2": distances.amin(1).mean(),
        }

    def __call__(self, output: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch, as a scalar."""
        total = sum(WEIGHTS[name] * part for name, part in self.parts(output, labels).items())
        assert isinstance(total, Tensor)
        return total
