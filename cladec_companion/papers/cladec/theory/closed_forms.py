"""Section 4 of the paper for linear models, in closed form, and the small simulations that go with it.

Inputs x are centred, with covariance Σ (d, d) and eigenpairs λ_1 ≥ λ_2 ≥ ..., u_1, u_2, ...; an encoder E (k, d)
makes the code y = Ex, a decoder R (d, k) the reconstruction, and the loss L(R, E) is the mean of ‖x - REx‖². RefAE
chooses both; ClaDec is given E and chooses R. Statements are numbered D1 to D16; `checks` measures them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from scipy import stats
from scipy.integrate import solve_ivp
from scipy.linalg import subspace_angles
from scipy.optimize import brentq
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.random_projection import GaussianRandomProjection
from torch import Tensor, nn

from cladec_core import data, networks, training

CPU = training.Compute(torch.device("cpu"), torch.float32)
LINEAR_RECIPE = training.Recipe("adam", 1e-2, 0.0)


Labelled = tuple[np.ndarray, np.ndarray]


def small_digits() -> tuple[Labelled, Labelled]:
    """Training and test digits at 8x8 pixels: inputs (n, 64), centred by the training mean, and labels (n,)."""
    digits = data.load("digits")
    train, test = (
        images[:, 0, ::4, ::4].flatten(1).double().numpy() for images in (digits.train_images, digits.test_images)
    )
    mean = train.mean(0)
    return (train - mean, digits.train_labels.numpy()), (test - mean, digits.test_labels.numpy())


def covariance_of(inputs: np.ndarray) -> np.ndarray:
    """Σ of centred inputs (n, d), with divisor n."""
    return inputs.T @ inputs / len(inputs)


def eigenvectors(covariance: np.ndarray) -> np.ndarray:
    """u_1, u_2, ... as rows, (d, d)."""
    return np.linalg.eigh(covariance)[1].T[::-1]


def loss(covariance: np.ndarray, encoder: np.ndarray, decoder: np.ndarray) -> float:
    """D1: L(R, E) = tr Σ - 2 tr(REΣ) + tr(R EΣEᵀ Rᵀ)."""
    both = decoder @ encoder
    return float(np.trace(covariance) - 2 * np.trace(both @ covariance) + np.trace(both @ covariance @ both.T))


def optimal_decoder(covariance: np.ndarray, encoder: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """D2: R*(E) = ΣEᵀ (EΣEᵀ + τI)⁺, (d, k), for noise of variance τ on each unit of the code."""
    code = encoder @ covariance @ encoder.T + noise * np.eye(len(encoder))
    return covariance @ encoder.T @ np.linalg.pinv(code, rcond=1e-12, hermitian=True)


def optimal_loss(covariance: np.ndarray, encoder: np.ndarray, noise: float = 0.0) -> float:
    """D3: L*(E) = tr Σ - tr[(EΣEᵀ + τI)⁺ EΣ²Eᵀ], the loss of ClaDec."""
    explained = optimal_decoder(covariance, encoder, noise) @ encoder @ covariance
    return float(np.trace(covariance) - np.trace(explained))


def smallest_loss(covariance: np.ndarray, size: int) -> float:
    """D4: the sum of all eigenvalues but the `size` largest, the loss of RefAE."""
    return float(np.linalg.eigvalsh(covariance)[: len(covariance) - size].sum())


def coordinate_losses(covariance: np.ndarray, encoder: np.ndarray) -> np.ndarray:
    """D8: mean of (x_i - x̂_i)² under the optimal decoder, (d,), the variance of x_i that the code does not explain."""
    return np.diag(covariance - optimal_decoder(covariance, encoder) @ encoder @ covariance)


def rotation(covariance: np.ndarray, towards: np.ndarray, angles: np.ndarray) -> pd.DataFrame:
    """D7: the encoder cos θ u_1 + sin θ v for a unit vector v ⟂ u_1.

    Returns
    -------
    DataFrame
        Indexed by θ in degrees: `loss` is L*, `distance` the mean of ‖x̂_R - x̂_E‖² between both.
    """
    first = np.linalg.eigvalsh(covariance)[-1]
    a, b = towards @ covariance @ towards, towards @ covariance @ covariance @ towards
    c2, s2 = np.cos(np.radians(angles)) ** 2, np.sin(np.radians(angles)) ** 2
    variance = first * c2 + a * s2  # of the code
    lost = np.trace(covariance) - (first**2 * c2 + b * s2) / variance
    return pd.DataFrame({"loss": lost, "distance": first + (b * s2 - first**2 * c2) / variance}, index=angles)


def tilted(variances: tuple[float, float], tilt: float) -> np.ndarray:
    """Σ of Fig. 4: a plane in which u_1 leans by `tilt` degrees against the first axis, (2, 2)."""
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    turn = np.array([[c, -s], [s, c]])
    return turn @ np.diag(variances) @ turn.T


def angle_frames(covariance: np.ndarray, angles: np.ndarray) -> pd.DataFrame:
    """What Fig. 4 shows for each angle between encoder and u_1 in the plane: E, R*, L* and each axis's share kept."""
    first = eigenvectors(covariance)[0]
    first = first * np.sign(first[0])
    second = np.array([-first[1], first[0]])
    rows = []
    for angle in np.radians(angles):
        encoder = (np.cos(angle) * first + np.sin(angle) * second)[None]
        kept = 1 - coordinate_losses(covariance, encoder) / np.diag(covariance)
        decoder = optimal_decoder(covariance, encoder)[:, 0]
        rows.append([*encoder[0], *decoder, optimal_loss(covariance, encoder), *kept])
    columns = ["e1", "e2", "r1", "r2", "loss", "kept1", "kept2"]
    return pd.DataFrame(rows, columns=columns, index=pd.Index(angles, name="angle"))


def linear_encoders(inputs: np.ndarray, labels: np.ndarray, size: int, seed: int) -> dict[str, np.ndarray]:
    """D5: linear encoders of five origins, (size, d) or (classes, d)."""
    width = inputs.shape[1]
    return {
        "PCA": PCA(size).fit(inputs).components_,
        "least squares": LinearRegression().fit(inputs, np.eye(labels.max() + 1)[labels]).coef_,
        "logistic": LogisticRegression(max_iter=2000).fit(inputs, labels).coef_,
        "random": GaussianRandomProjection(size, random_state=seed).fit(inputs).components_,
        "untrained": np.random.default_rng(seed).uniform(-1, 1, (size, width)) / np.sqrt(width),
    }


def linear_fidelity(train: Labelled, test: Labelled, encoders: dict[str, np.ndarray]) -> pd.DataFrame:
    """ΔRec and ΔAcc (section 5) of linear encoders against the RefAE of the same rank.

    Parameters
    ----------
    train, test
        Inputs (n, d), centred by the training mean, and labels (n,). The losses are those of the training inputs,
        C_Eval is a nearest-neighbour classifier.
    """
    covariance = covariance_of(train[0])

    def accuracy(encoder: np.ndarray) -> float:
        both = optimal_decoder(covariance, encoder) @ encoder
        return KNeighborsClassifier().fit(train[0] @ both.T, train[1]).score(test[0] @ both.T, test[1])

    rows = {}
    for name, encoder in encoders.items():
        rank = np.linalg.matrix_rank(train[0] @ encoder.T)
        losses = optimal_loss(covariance, encoder), smallest_loss(covariance, rank)
        accuracies = accuracy(encoder), accuracy(eigenvectors(covariance)[:rank])
        rows[name] = [rank, *losses, losses[0] - losses[1], *accuracies, accuracies[0] - accuracies[1]]
    columns = ["rank", "Rec ClaDec", "Rec RefAE", "ΔRec", "Acc ClaDec", "Acc RefAE", "ΔAcc"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def regression(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """D9: least-squares weights Σ⁺ cov(x, t) as an encoder of one unit, (1, d)."""
    return LinearRegression().fit(inputs, targets).coef_[None]


def suppressor() -> pd.DataFrame:
    """D8, D9: x_1 = s + t, x_2 = t, x_3 = s + t + noise, and a regression that finds s = x_1 - x_2.

    A value that the model needs is not shown by its ClaDec, and one that it ignores is.
    """
    covariance = np.array([[2.0, 1, 2], [1, 1, 1], [2, 1, 3]])  # s, t, noise: independent, variance 1
    encoder = np.array([[1.0, -1, 0]])
    kept = 1 - coordinate_losses(covariance, encoder) / np.diag(covariance)
    index = ["x_1 = s + t", "x_2 = t", "x_3 = s + t + noise"]
    return pd.DataFrame({"weight in the model": encoder[0], "share reproduced": kept}, index=index)


def two_classes(distance: float, spread: tuple[float, float], points: int, seed: int) -> Labelled:
    """D10: inputs (points, 2) and labels of two Gaussian classes at ±`distance` on the second axis."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, points)
    centres = np.stack([np.zeros(points), distance * (2 * labels - 1)], axis=1)
    return centres + rng.standard_normal((points, 2)) * spread, labels


def depth_violations(summary: pd.DataFrame) -> pd.DataFrame:
    """D11: layers whose loss is above that of a deeper layer, which no optimal decoder could show.

    Parameters
    ----------
    summary
        `printed_tables.layers` or `printed_tables.layers_of`: mean, sd, n by dataset, architecture, index, metric.

    Returns
    -------
    DataFrame
        Per such layer the best deeper one, the part of its loss that is the decoder's fault at least, and Welch's p.
    """
    rows = []
    for method, metric in (("ClaDec", "rec_cladec"), ("RefAE", "rec_refae")):
        for run, layers in summary.xs(metric, level="metric").groupby(level=["dataset", "architecture"]):
            chain = layers.droplevel([0, 1]).sort_index().astype(float)[["mean", "sd", "n"]]
            for index, here in chain.iloc[:-1].iterrows():
                best = chain.loc[chain.index > index, "mean"].idxmin()
                excess = here["mean"] - chain.loc[best, "mean"]
                if excess > 0:
                    p = stats.ttest_ind_from_stats(*here, *chain.loc[best], equal_var=False).pvalue
                    means = here["mean"], chain.loc[best, "mean"]
                    rows.append([*run, method, index, means[0], best, means[1], excess, excess / means[0], p])
    columns = ["dataset", "classifier", "method", "layer", "loss", "deeper layer", "its loss", "excess", "share", "p"]
    return pd.DataFrame(rows, columns=columns)


def random_losses(covariance: np.ndarray, sizes: list[int], draws: int, seed: int) -> np.ndarray:
    """D12: L* of encoders with independent N(0, 1/k) entries, (sizes, draws)."""
    rng, width = np.random.default_rng(seed), len(covariance)
    return np.array(
        [[optimal_loss(covariance, rng.standard_normal((k, width)) / np.sqrt(k)) for _ in range(draws)] for k in sizes]
    )


def guaranteed_distortion(points: int, size: int) -> float:
    """D13: the smallest ε in (0, 1) that the Johnson-Lindenstrauss lemma grants a projection to `size`, or NaN."""

    def surplus(epsilon: float) -> float:
        return size * (epsilon**2 / 2 - epsilon**3 / 3) - 4 * np.log(points)

    return brentq(surplus, 0, 1) if surplus(1) > 0 else float("nan")


def distance_ratios(inputs: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, float]:
    """D13: ratios of squared distances of codes and inputs over all pairs, with mean 1, and their rank correlation."""
    before, after = (pdist(points.reshape(len(points), -1), "sqeuclidean") for points in (inputs, codes))
    ratios = after / before
    return ratios / ratios.mean(), float(stats.spearmanr(before, after).statistic)


@torch.no_grad()
def untrained_taps(images: Tensor, seed: int) -> dict[str, np.ndarray]:
    """D13: activations of every layer of an untrained VGG-11, BatchNorm statistics calibrated on the same images.

    Without the calibration all codes are nearly the same (finding 5).
    """
    with training.seeded(seed):
        network = networks.classifier("vgg11", images.shape[1], 10).up_to("logits")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain average over the one batch that follows
    network.train()(images)
    network.eval()
    taps, activations = {}, images
    for name, layer in network.named_children():
        activations = layer(activations)
        taps[name] = activations.flatten(1).double().numpy()
    return taps


def gradient_flow(
    inputs: np.ndarray, labels: np.ndarray, units: int, scale: float, times: np.ndarray, seed: int
) -> tuple[list[np.ndarray], list[float]]:
    """D14: a linear network y = HEx while it learns one-hot labels by exact gradient descent on the squared error.

    Parameters
    ----------
    units, scale
        Hidden units k; initial weights have the variance scale² / fan-in.
    times
        When to look, from 0; the unit is the reciprocal of the learning rate.

    Returns
    -------
    tuple
        Encoders E of shape (k, d) and training accuracies, one per time.
    """
    width, classes, rng = inputs.shape[1], labels.max() + 1, np.random.default_rng(seed)
    covariance, targets = covariance_of(inputs), np.eye(classes)[labels]
    cross = (targets - targets.mean(0)).T @ inputs / len(inputs)
    start = rng.standard_normal((units, width)) / np.sqrt(width), rng.standard_normal((classes, units)) / np.sqrt(units)

    def parts(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return weights[: units * width].reshape(units, width), weights[units * width :].reshape(classes, units)

    def slope(_: float, weights: np.ndarray) -> np.ndarray:
        encoder, head = parts(weights)
        residual = cross - head @ encoder @ covariance
        return np.concatenate([(head.T @ residual).ravel(), (residual @ encoder.T).ravel()])

    begin = scale * np.concatenate([part.ravel() for part in start])
    path = solve_ivp(slope, (0, times[-1]), begin, t_eval=times, rtol=1e-6, atol=1e-9).y.T
    accuracies = [
        float(((inputs @ (head @ encoder).T).argmax(1) == labels).mean()) for encoder, head in map(parts, path)
    ]
    return [parts(weights)[0] for weights in path], accuracies


def relative_noise_losses(covariance: np.ndarray, encoders: list[np.ndarray], noise: float) -> np.ndarray:
    """D14: L* of each encoder if every unit carries noise of `noise` times the units' mean variance."""
    variances = [np.trace(encoder @ covariance @ encoder.T) / len(encoder) for encoder in encoders]
    return np.array(
        [optimal_loss(covariance, encoder, noise * v) for encoder, v in zip(encoders, variances, strict=True)]
    )


def rise_and_fall(losses: np.ndarray) -> dict[str, float | bool]:
    """D14: does a loss rise from its first value and fall again, each by more than one percent?"""
    start, highest, end = losses[0], max(losses), losses[-1]
    rises, falls = highest / start - 1, 1 - end / highest
    return {
        "start": start, "highest": highest, "end": end, "rises by": rises, "then falls by": falls,
        "inverted U": bool(rises > 0.01 and falls > 0.01),
    }  # fmt: skip


def interleave(pixels: np.ndarray, bits: int) -> Fraction:
    """D15: one number in [0, 1) that holds all pixels (n,) of `bits` bits, the most significant bits first."""
    planes = (pixels[None] >> np.arange(bits)[::-1, None]) & 1
    return Fraction(int("".join(map(str, planes.ravel())), 2), 2**planes.size)


def separate(number: Fraction, count: int, bits: int) -> np.ndarray:
    """D15: read the pixels back from `interleave`."""
    digits = format(int(number * 2 ** (count * bits)), f"0{count * bits}b")
    planes = np.array(list(digits), dtype=int).reshape(bits, count)
    return (planes * 2 ** np.arange(bits)[::-1, None]).sum(0)


def train_linear(
    inputs: np.ndarray, size: int, epochs: int, seed: int, encoder: np.ndarray | None = None
) -> pd.DataFrame:
    """D16: train a linear auto-encoder with Adam or, given an encoder, only its decoder (D2).

    Training runs in stretches that end at 1, 2, 4, ... epochs; the learning rate falls within each.

    Returns
    -------
    DataFrame
        Indexed by epochs: `loss`, and `angle` in degrees, the largest principal angle between the decoder's columns
        and those of the optimal decoder.
    """
    covariance, images = covariance_of(inputs), torch.from_numpy(inputs).float()
    with training.seeded(training.derive_seed(seed, "linear")):
        model = nn.Sequential(
            nn.Linear(len(covariance), size, bias=False), nn.Linear(size, len(covariance), bias=False)
        )
    if encoder is not None:
        model[0].weight.data = torch.from_numpy(encoder).float()
        model[0].requires_grad_(False)
    best = eigenvectors(covariance)[:size].T if encoder is None else optimal_decoder(covariance, encoder)
    marks = sorted({*(2**power for power in range(epochs.bit_length())), epochs})
    rows = []
    for done, mark in pairwise([0, *marks]):
        with _one_thread():
            job = training.Job(
                model, images, (images,), training.reconstruction_loss, LINEAR_RECIPE,
                epochs=mark - done, seed=training.derive_seed(seed, mark), on=CPU,
            )  # fmt: skip
            training.fit(job)
        weights, decoder = (layer.weight.detach().double().numpy() for layer in model if isinstance(layer, nn.Linear))
        rows.append([loss(covariance, weights, decoder), np.degrees(subspace_angles(decoder, best).max())])
    return pd.DataFrame(rows, columns=["loss", "angle"], index=pd.Index(marks, name="epochs"))


@contextmanager
def _one_thread() -> Iterator[None]:
    """For steps that are too small to share: several times faster where the other cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
