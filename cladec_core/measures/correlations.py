"""Correlations of pairs of maps, or of other rows of values; who asks for them says what a constant map means."""

import torch
from torch import Tensor

ROUNDING = 1e-12  # length of a map's deviation as a share of its own, below which it is rounding of a constant


def correlation(first: Tensor, second: Tensor, *, constant: float) -> Tensor:
    """Pearson's correlation of each pair of maps, over all further dimensions.

    Parameters
    ----------
    first, second
        (n, ...), of as many values each.
    constant
        What a pair counts as where one of both is constant, so that no correlation is defined: 0 if such a map says
        nothing of the other one, NaN if the pair is to be left out.

    Returns
    -------
    Tensor
        float64 (n,); NaN where a map holds a NaN.
    """
    maps = [part.flatten(1).double() for part in (first, second)]
    one, other = (part - part.mean(1, keepdim=True) for part in maps)
    lengths = [part.norm(dim=1) for part in (one, other)]
    flat = torch.stack([own <= ROUNDING * part.norm(dim=1) for own, part in zip(lengths, maps, strict=True)]).any(0)
    known = ~(lengths[0] + lengths[1]).isnan()
    return torch.where(flat & known, constant, (one * other).sum(1) / (lengths[0] * lengths[1]))


def rank_correlation(first: Tensor, second: Tensor, *, constant: float) -> Tensor:
    """Spearman's correlation of each pair of maps, equal values with their mean rank: (n,) on the CPU.

    See `correlation`.
    """
    from scipy.stats import rankdata

    ranks = [torch.from_numpy(rankdata(part.flatten(1).cpu().numpy(), axis=1)) for part in (first, second)]
    return correlation(*ranks, constant=constant)
