"""What is reported about activations: how much of them is used, what a linear probe reads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PROBE_FEATURES = 2048
PROBE_IMAGES = 20_000


class Pool(nn.Module):
    """Average an activation over space until it has at most 2048 values, and flatten it: (n, ...) -> (n, values)."""

    def forward(self, activations: Tensor) -> Tensor:
        """Apply to a batch of any shape."""
        while activations.ndim == 4 and activations[0].numel() > PROBE_FEATURES and max(activations.shape[2:]) > 1:
            height, width = (max(1, side // 2) for side in activations.shape[2:])
            activations = F.adaptive_avg_pool2d(activations, (height, width))
        return activations.flatten(1)


def linear_probe(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Test accuracy of a ridge classifier on a layer's pooled activations (n, values): what is readable linearly."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, test_features = (part.float().cpu().numpy() for part in (train, test))
    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1e-2 * features.shape[1]))
    probe.fit(features, train_labels.cpu().numpy())
    return float(probe.score(test_features, test_labels.cpu().numpy()))


def code_statistics(activations: Tensor) -> dict[str, float]:
    """How much of a layer is used (claim B54).

    Parameters
    ----------
    activations
        (n, units) or (n, channels, height, width).

    Returns
    -------
    dict
        `units`: number of values per image. `active`: mean share of them above zero. `effective_rank`:
        participation ratio (Σλ)² / Σλ² of the covariance's eigenvalues λ (of the pooled activations).
    """
    codes = Pool()(activations.float())
    covariance = torch.cov(codes.double().T)
    return {
        "units": activations[0].numel(),
        "active": (activations > 0).double().mean().item(),
        "effective_rank": (covariance.trace() ** 2 / covariance.square().sum().clamp(min=1e-30)).item(),
    }


def distance_rank_correlation(images: Tensor, codes: Tensor) -> float:
    """Spearman correlation, over all pairs of images, of their distance before and after an encoder (claim B31)."""
    from scipy.stats import spearmanr

    before, after = (torch.pdist(part.double().flatten(1)).cpu().numpy() for part in (images, codes))
    return float(spearmanr(before, after).statistic)
