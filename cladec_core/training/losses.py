"""What a training minimises."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


def reconstruction_loss(output: Tensor, images: Tensor) -> Tensor:
    """Squared error summed over pixels, averaged over the batch: the paper's RefAE loss and Eq. 1 at α = 0."""
    return (output - images).square().flatten(1).sum(1).mean()


def classification_loss(output: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of logits (n, classes) and labels (n,) in nats, averaged over the batch."""
    return F.cross_entropy(output, labels)


@dataclass(frozen=True)
class ClaDecLoss:
    """Eq. 1: (1-α) Σ (X - X̂)² + α · Loss(C(X̂), Y), sum over pixels, mean over the batch (reading C-8).

    `classifier` must be in eval mode with gradients off for its parameters; at α = 0 it is not needed. With `mean`
    the squares are averaged over pixels, as in the authors' code (I13).
    """

    classifier: nn.Module | None
    alpha: float
    mean: bool = False

    def __call__(self, output: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of reconstructions (n, channels, 32, 32), as a scalar."""
        difference = F.mse_loss if self.mean else reconstruction_loss
        loss = (1 - self.alpha) * difference(output, images)
        if self.classifier is not None:
            loss = loss + self.alpha * classification_loss(self.classifier(output).float(), labels)
        return loss
