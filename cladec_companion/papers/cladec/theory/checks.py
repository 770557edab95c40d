"""Statements D1 to D16 checked: each closed form of `theory` beside a number that was measured without it."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression
from sklearn.random_projection import GaussianRandomProjection, johnson_lindenstrauss_min_dim

from cladec_companion.evidence.claims import FAILS, HOLDS
from cladec_companion.papers.cladec.theory import closed_forms as theory

EXACT = 1e-8  # rounding errors of double precision stay far below it, a wrong formula does not


@dataclass(frozen=True)
class Check:
    """One statement: a closed form or bound, and the measured number.

    `relation` says how the measured number stands to the closed form or bound if the statement is true: measured =,
    ≤ or ≥ bound, each within `tolerance`.
    """

    statement: str
    what: str
    closed_form: float
    measured: float
    relation: str = "="
    tolerance: float = EXACT

    @property
    def verdict(self) -> str:
        """`holds` or `does not hold`."""
        difference = self.measured - self.closed_form
        beyond = {"=": abs(difference), "≤": difference, "≥": -difference}[self.relation]
        return HOLDS if beyond <= self.tolerance else FAILS


def table(checks: list[Check]) -> pd.DataFrame:
    """One row per check, rounded, so that a rounding error reads 0.

    From left to right a row reads as the statement: what was measured, how it should stand to the bound, the bound.
    """
    rows = [
        [
            check.statement, check.what, check.measured, check.relation, check.closed_form,
            check.measured - check.closed_form, check.verdict,
        ]
        for check in checks
    ]  # fmt: skip
    columns = ["statement", "what", "measured", "", "closed form or bound", "difference", "verdict"]
    numbers = ["measured", "closed form or bound", "difference"]
    frame = pd.DataFrame(rows, columns=columns).set_index("statement").rename_axis(None)
    return frame.assign(**(frame[numbers].astype(float).round(3) + 0))  # + 0: no negative zeros


def _fitted(codes: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Least-squares reconstructions (n, d) from codes (n, k) or (n,): the best linear decoder without a formula."""
    codes = codes.reshape(len(codes), -1)
    return LinearRegression(fit_intercept=False).fit(codes, inputs).predict(codes)


def _mean_square(errors: np.ndarray) -> float:
    """Mean over rows of the squared length."""
    return float(np.square(errors).sum(1).mean())


def decoders(inputs: np.ndarray, encoder: np.ndarray, seed: int) -> list[Check]:
    """D1 to D3: the loss of any decoder, the best decoder, and its loss."""
    covariance, codes = theory.covariance_of(inputs), inputs @ encoder.T
    decoder = np.random.default_rng(seed).standard_normal(encoder.T.shape)
    best, fitted = theory.optimal_decoder(covariance, encoder), _fitted(codes, inputs)
    losses = theory.loss(covariance, encoder, decoder), theory.optimal_loss(covariance, encoder)
    return [
        Check("D1", "loss of a random decoder", losses[0], _mean_square(inputs - codes @ decoder.T)),
        Check("D2", "R*(E) and least squares, largest gap", 0, np.abs(codes @ best.T - fitted).max()),
        Check("D3", "loss of the best decoder", losses[1], _mean_square(inputs - fitted)),
    ]


def optimum(inputs: np.ndarray, encoders: dict[str, np.ndarray]) -> list[Check]:
    """D4, D5: PCA reaches the smallest loss; no encoder goes below the smallest loss of its rank."""
    covariance, size = theory.covariance_of(inputs), len(encoders["PCA"])
    top, pca = theory.eigenvectors(covariance)[:size], PCA(size).fit(inputs)
    reached = _mean_square(inputs - pca.inverse_transform(pca.transform(inputs)))
    product = theory.optimal_decoder(covariance, pca.components_) @ pca.components_
    checks = [
        Check("D4", "loss of PCA", theory.smallest_loss(covariance, size), reached),
        Check("D4", "R*E and the projector U Uᵀ, largest gap", 0, np.abs(product - top.T @ top).max()),
    ]
    for name, encoder in encoders.items():
        codes = inputs @ encoder.T
        least = theory.smallest_loss(covariance, np.linalg.matrix_rank(codes))
        checks.append(
            Check("D5", f"loss of encoder: {name}", least, _mean_square(inputs - _fitted(codes, inputs)), "≥")
        )
    return checks


def directions(inputs: np.ndarray, seed: int) -> list[Check]:
    """D6, D7: the encoder u_2 of Fig. 4, and encoders that turn away from u_1."""
    covariance = theory.covariance_of(inputs)
    first, second, *_, last = theory.eigenvectors(covariance)
    variances = first @ covariance @ first, second @ covariance @ second
    errors = inputs - _fitted(inputs @ second, inputs)
    checks = [
        Check("D6", "loss of the encoder u_2", np.trace(covariance) - variances[1], _mean_square(errors)),
        Check("D6", "its error along u_2", 0, np.square(errors @ second).mean()),
        Check("D6", "its error along u_1", variances[0], np.square(errors @ first).mean()),
    ]
    other = np.random.default_rng(seed).standard_normal(len(first))
    other -= first * (first @ other)
    angles = np.arange(0, 90, 10.0)
    for name, towards in (("u_2", second), ("random v", other / np.linalg.norm(other))):
        turned = [inputs @ (np.cos(t) * first + np.sin(t) * towards) for t in np.radians(angles)]
        made = [_fitted(code, inputs) for code in turned]
        measured = np.array([[_mean_square(inputs - each), _mean_square(each - made[0])] for each in made])
        gap = np.abs(theory.rotation(covariance, towards, angles).to_numpy() - measured).max()
        checks += [
            Check("D7", f"towards {name}: both closed forms, largest gap", 0, gap),
            Check("D7", f"towards {name}: smallest step with the angle", 0, np.diff(measured, axis=0).min(), "≥"),
        ]
    near = theory.rotation(covariance, second, np.array([20.0]))["loss"].iloc[0]
    far = _mean_square(
        inputs - _fitted(inputs @ (np.cos(np.radians(80)) * first + np.sin(np.radians(80)) * last), inputs)
    )
    return [*checks, Check("D7", "loss at 80° towards u_d, 20° towards u_2", near, far, "≥")]


def coordinates(inputs: np.ndarray, targets: np.ndarray) -> list[Check]:
    """D8, D9: which input values a regression's code shows, and that its decoder is the activation pattern."""
    covariance, cross = theory.covariance_of(inputs), inputs.T @ (targets - targets.mean()) / len(inputs)
    weights = LinearRegression().fit(inputs, targets).coef_
    code = inputs @ weights
    errors = np.square(inputs - _fitted(code, inputs)).mean(0)
    varying = inputs.std(0) > 0
    correlations = np.array([np.corrcoef(column, code)[0, 1] for column in inputs.T[varying]])
    expected = inputs.var(0)[varying] * (1 - correlations**2)
    scale = cross @ np.linalg.pinv(covariance, hermitian=True) @ cross
    pattern = LinearRegression().fit(code[:, None], inputs).coef_[:, 0]
    return [
        Check("D8", "error of a value by correlation, largest gap", 0, np.abs(expected - errors[varying]).max()),
        Check("D9", "c / (cᵀΣ⁺c) and cov(x, t̂) / var(t̂), largest gap", 0, np.abs(cross / scale - pattern).max()),
        Check("D9", "loss of a regression", np.trace(covariance) - cross @ cross / scale, errors.sum()),
    ]


def task(distance: float, spread: tuple[float, float], points: int, seed: int) -> list[Check]:
    """D10: two classes apart along the direction of less variance; ΔRec and accuracies within 4 standard errors."""
    inputs, labels = theory.two_classes(distance, spread, points, seed)
    inputs, half = inputs - inputs.mean(0), points // 2
    made = {
        "RefAE": _fitted(PCA(1).fit_transform(inputs), inputs),
        "ClaDec": _fitted(LinearRegression().fit(inputs, labels).predict(inputs) - labels.mean(), inputs),
    }
    gains = np.square(inputs - made["ClaDec"]).sum(1) - np.square(inputs - made["RefAE"]).sum(1)
    expected = spread[0] ** 2 - spread[1] ** 2 - distance**2
    checks = [Check("D10", "ΔRec", expected, gains.mean(), tolerance=4 * gains.std() / np.sqrt(points))]
    for name, share in (("RefAE", 0.5), ("ClaDec", stats.norm.cdf(distance / spread[1]))):
        judge = LinearDiscriminantAnalysis(solver="lsqr").fit(made[name][:half], labels[:half])
        error = np.sqrt(share * (1 - share) / (points - half))
        measured = judge.score(made[name][half:], labels[half:])
        checks.append(Check("D10", f"accuracy on {name}'s reconstructions", share, measured, tolerance=4 * error))
    return checks


def depth(inputs: np.ndarray, seed: int) -> list[Check]:
    """D11: deeper layers lose more under the best decoder; under a decoder that is too simple they need not."""
    rng, codes, losses = np.random.default_rng(seed), inputs, []
    for size in (32, 16, 8):
        codes = codes @ rng.standard_normal((codes.shape[1], size)) / np.sqrt(size)
        losses.append(_mean_square(inputs - _fitted(codes, inputs)))
    wide = np.maximum(codes @ rng.standard_normal((8, 64)), 0)
    deeper = _mean_square(inputs - _fitted(wide - wide.mean(0), inputs))
    return [
        Check("D11", "linear layers: smallest step with depth", 0, np.diff(losses).min(), "≥"),
        Check("D11", "a ReLU layer on top, linear decoder: step", 0, deeper - losses[-1], "≥"),
    ]


def random_encoders(inputs: np.ndarray, trained: np.ndarray, draws: int, seed: int) -> list[Check]:
    """D12: random encoders of white and of real inputs; `trained` is a classifier's weights (classes, d)."""
    covariance, width = theory.covariance_of(inputs), inputs.shape[1]
    rank = np.linalg.matrix_rank(inputs @ trained.T)
    white = theory.random_losses(np.eye(width), [rank], draws, seed)
    losses = theory.random_losses(covariance, [rank, 3 * rank], draws, seed)
    reached = _mean_square(inputs - _fitted(inputs @ trained.T, inputs))
    gap = np.abs(white - width + rank).max()
    return [
        Check("D12", "white inputs: loss and d - k, largest gap", 0, gap),
        Check("D12", "smallest loss of a random encoder", theory.smallest_loss(covariance, rank), losses[0].min(), "≥"),
        Check("D12", "random, 3 times the rank of trained logits", reached, losses[1].mean(), "≤"),
        Check("D12", "random, the rank of trained logits", reached, losses[0].mean(), "≤"),
    ]


def projections(inputs: np.ndarray, epsilon: float, seed: int) -> list[Check]:
    """D13: a Gaussian projection to the size that the Johnson-Lindenstrauss lemma asks for keeps its promise."""
    size = johnson_lindenstrauss_min_dim(len(inputs), eps=epsilon)
    codes = GaussianRandomProjection(size, random_state=seed).fit_transform(inputs)
    pairs = np.triu_indices(len(inputs), 1)
    before, after = (np.square(each[pairs[0]] - each[pairs[1]]).sum(1) for each in (inputs, codes))
    return [
        Check("D13", f"Gaussian, {size} values: largest distortion", epsilon, np.abs(after / before - 1).max(), "≤")
    ]


def untrained_network(inputs: np.ndarray, codes: np.ndarray, seed: int) -> list[Check]:
    """D13: does an untrained layer (n, k) keep the order of distances as well as a projection to k values does?"""
    projected = GaussianRandomProjection(codes.shape[1], random_state=seed).fit_transform(inputs)
    wanted, found = (theory.distance_ratios(inputs, each)[1] for each in (projected, codes))
    return [Check("D13", "rank correlation, projection and network", wanted, found, "≥")]


def learning(covariance: np.ndarray, path: list[np.ndarray]) -> list[Check]:
    """D14: over the encoders of `theory.gradient_flow`, does a constant rank mean a constant loss?"""
    untrained, trained = (int(np.linalg.matrix_rank(encoder)) for encoder in (path[0], path[-1]))
    losses = theory.relative_noise_losses(covariance, path, 0.0)
    return [
        Check("D14", "rank of E, untrained and trained", untrained, trained),
        Check("D14", "loss without noise, untrained and highest", losses[0], losses.max()),
    ]


def one_number(pixels: np.ndarray, bits: int) -> list[Check]:
    """D15: one number holds an image, a floating-point number only as far as its mantissa goes, never continuously."""
    lost = theory.separate(theory.interleave(pixels, bits), len(pixels), bits) != pixels
    checks = [Check("D15", "pixels lost by an exact number", 0, int(np.count_nonzero(lost)))]
    for name, kind in (("double", np.float64), ("single", np.float32)):
        checks.append(Check("D15", f"bits in a {name}-precision number", np.finfo(kind).nmant + 1, _capacity(kind)))
    half, step = Fraction(1, 2), Fraction(1, 2 ** len(pixels))
    below, above = (theory.separate(number, len(pixels), 1) for number in (half - step, half))
    return [
        *checks,
        Check("D15", "neighbouring numbers: share of pixels changed", 0, (below != above).mean()),
    ]


def _capacity(kind: type[np.floating]) -> int:
    """How many one-bits in a row survive as a floating-point number."""
    numbers = (theory.interleave(np.ones(bits, dtype=int), 1) for bits in range(1, 100))
    return next(bits for bits, number in enumerate(numbers) if Fraction(float(kind(float(number)))) != number)


def auto_encoder(inputs: np.ndarray, size: int, trained: pd.DataFrame) -> list[Check]:
    """D16: what `theory.train_linear` reached against PCA, within one percent of the loss and one degree."""
    least, (reached, angle) = theory.smallest_loss(theory.covariance_of(inputs), size), trained.iloc[-1]
    return [
        Check("D16", "loss of the trained linear auto-encoder", least, reached, tolerance=0.01 * least),
        Check("D16", "principal angle to u_1, ..., u_k, in degrees", 0, angle, tolerance=1),
    ]
