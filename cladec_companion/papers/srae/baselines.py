"""What SRAE is compared with: the same network with other losses, and a choice of some units by Lasso."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cladec_companion.papers.srae.method import Examples, Terms

SRAE, NN, SAE, CAE, LASSO = "SRAE", "NN", "SAE", "CAE", "Lasso"
CONSTANT = "constant"  # no explanation: the same logit for every example
NO_PULL, NO_RECONSTRUCTION = "SRAE, η = 0", "SRAE, β = 0"
PENALTIES = 40  # along the path, from the one that leaves nothing
SMALLEST = 1e-3  # of them, as a share of the largest


def variants(chosen: Terms, plain: Terms) -> dict[str, Terms]:
    """The losses that are compared, from the weights chosen for SRAE and those chosen for SAE.

    NN has the faithfulness alone; SAE adds an ordinary reconstruction; CAE has nothing but that. With β = 0 and the
    pull-away term SRAE becomes what the paper does not show; plain squares with the pull-away term are left to SAE,
    which has none.
    """
    return {
        SRAE: chosen,
        NN: Terms(beta=0, eta=0),
        SAE: plain,
        CAE: Terms(beta=1, eta=0, q=None, faithful=0),
        NO_PULL: replace(chosen, eta=0),
        NO_RECONSTRUCTION: replace(chosen, beta=0),
    }


@dataclass(frozen=True)
class Selection:
    """A linear model of some units of Z.

    Attributes
    ----------
    alpha
        Weight of the L1 term, as scikit-learn writes it.
    units
        Which units have a weight other than 0, the largest contribution first.
    weights
        Of all units, float64 (units,).
    intercept
        What is added.
    """

    alpha: float
    units: tuple[int, ...]
    weights: Tensor
    intercept: float

    def predicted(self, codes: Tensor) -> Tensor:
        """The logit that the units give, (examples,)."""
        return codes @ self.weights.to(codes.device, codes.dtype) + self.intercept


def constant(examples: Examples) -> Selection:
    """No unit at all: the mean logit, with the same weights of positives and negatives as SRAE."""
    weights = examples.weights.double()
    mean = (weights * examples.logits.double()).sum() / weights.sum()
    return Selection(float("inf"), (), torch.zeros(examples.codes.shape[1], dtype=torch.float64), mean.item())


def lasso_path(examples: Examples) -> list[Selection]:
    """Lasso of the logit on Z for falling penalties, with the same weights of positives and negatives as SRAE.

    Parameters
    ----------
    examples
        The training examples; units that are constant have weight 0.

    Returns
    -------
    list of Selection
        From few units to many.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lasso_path as path

    codes, logits = examples.codes.double().cpu().numpy(), examples.logits.double().cpu().numpy()
    importance = examples.weights.double().cpu().numpy()
    mean, centre = (np.average(part, axis=0, weights=importance) for part in (codes, logits))
    root = np.sqrt(importance)
    inputs, outputs = (codes - mean) * root[:, None], (logits - centre) * root
    largest = np.abs(inputs.T @ outputs).max() / len(outputs) * (1 + 1e-9)  # no unit, whatever rounding does
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the smallest penalties, where units are copies
        alphas, weights, _ = path(inputs, outputs, alphas=largest * np.geomspace(1, SMALLEST, PENALTIES))
    spread = codes.std(0)
    return [
        Selection(
            float(alpha),
            tuple(int(unit) for unit in np.argsort(-np.abs(found) * spread) if found[unit]),
            torch.from_numpy(found.copy()),
            float(centre - mean @ found),
        )
        for alpha, found in zip(alphas, weights.T, strict=True)
    ]


def with_units(path: list[Selection], count: int) -> Selection:
    """The selection of a path with as many units as possible up to a number; of several the smallest penalty."""
    few = [one for one in path if len(one.units) <= count]
    most = max(len(one.units) for one in few)
    return [one for one in few if len(one.units) == most][-1]


def strongest_units(path: list[Selection], count: int) -> tuple[int, ...]:
    """So many units with the largest contributions, of the first selection of a path that has as many; () without one.

    Maps of x-features are compared with theirs, and the orthogonality and locality of fewer maps are other numbers: the
    largest O1 of n maps is n - sqrt(n).
    """
    return next((one.units[:count] for one in path if len(one.units) >= count), ())


def directions(codes: Tensor, n: int, seed: int) -> dict[str, Tensor]:
    """n random and n principal directions of Z: what any few numbers of a layer keep.

    Parameters
    ----------
    codes
        (examples, units).
    n
        How many.
    seed
        Of the random ones.

    Returns
    -------
    dict
        "random" and "principal": float32 (units, n) with orthonormal columns.
    """
    noise = torch.randn(codes.shape[1], n, generator=torch.Generator().manual_seed(seed)).to(codes.device)
    _, _, principal = torch.linalg.svd((codes - codes.mean(0)).float(), full_matrices=False)
    return {"random": torch.linalg.qr(noise).Q, "principal": principal[:n].T.contiguous()}
