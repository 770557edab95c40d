"""SRAE: a few numbers, the x-features, from which one logit of a frozen classifier can be computed again.

A small network E maps the activation Z of a layer of units to n x-features. A linear predictor v makes the logit of
them, and a mirror of E reconstructs *some* of the units of Z (Eq. 2, 4), which a log penalty chooses. A pull-away
term (Eq. 3) keeps the x-features apart. Equation numbers are those of Qi, Khorram and Li.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from cladec_companion.papers.srae.excitation import UpTo, contrastive_maps
from cladec_core import training
from cladec_core.errors import UsageError
from cladec_core.training import Compute, Job, Recipe

LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-5  # λ1 = λ2 = λ3: the decay is twice the factor on a squared weight
BATCH_SIZE = 1024  # Q and the pull-away term are statistics of the training set, so batches are large
TINY = 1e-12
QUIET = 0.01  # a unit with less than this share of the largest standard deviation is not blown up to the others'


@dataclass(frozen=True)
class Terms:
    """The weights of Eq. 5, which make SRAE, its baselines and its ablations.

    Attributes
    ----------
    beta, eta
        Weight of the reconstruction, and of the pull-away term.
    q
        Of the log penalty; None for plain squares.
    faithful
        Weight of the squared error of the logit.
    """

    beta: float = 1.0
    eta: float = 1.0
    q: float | None = 10.0
    faithful: float = 1.0

    def __post_init__(self) -> None:
        """Refuse weights that make no loss."""
        for name in ("beta", "eta", "faithful"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}; valid: a number from 0.")
        if self.q is not None and self.q <= 0:
            raise UsageError(f"q is {self.q}; valid: a number above 0, or None for plain squares.")


def unit_errors(reconstructed: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
    """Q_k of Eq. 2: the mean squared error of each unit.

    Parameters
    ----------
    reconstructed, codes
        (examples, units).
    weights
        Of the examples, (examples,).

    Returns
    -------
    Tensor
        (units,).
    """
    return (weights[:, None] * (reconstructed - codes).square()).sum(0) / weights.sum()


def sparsity(errors: Tensor, q: float | None) -> Tensor:
    """Eq. 4: the mean of log(1 + q Q_k) over units; with q None the mean of Q_k, as of an ordinary auto-encoder."""
    return (errors if q is None else torch.log1p(q * errors)).mean()


def pull_away(features: Tensor) -> Tensor:
    """Eq. 3: the mean squared cosine of two different x-features over the examples, (examples, n) -> a scalar.

    An x-feature that is 0 everywhere has no direction and counts as orthogonal to all others.
    """
    n = features.shape[1]
    if n < 2:
        return features.new_zeros(())
    length = features.square().sum(0).clamp(min=TINY).sqrt()
    cosines = (features / length).T @ (features / length)
    return (cosines.square().sum() - cosines.diagonal().square().sum()) / (n * (n - 1))


class Embedding(nn.Module):
    """The networks around the x-features: E, its mirror and v.

    Attributes
    ----------
    hidden
        The first layers of E: (examples, units) -> (examples, last hidden units), not negative.
    to_features
        Its last layer, linear: the x-features. Their signs are such that no weight in v is negative, so a large
        x-feature speaks for the class.
    mirror
        (examples, n) -> (examples, units).
    v
        (examples, n) -> (examples, 1). It has an intercept, as our logits are signed.
    """

    def __init__(self, units: int, n: int, hidden: Sequence[int] | None = None) -> None:
        super().__init__()
        if not 1 <= n <= units:
            raise UsageError(f"n is {n}; valid: from 1 to the {units} units of the layer.")
        sizes = [units, *(hidden if hidden is not None else hidden_sizes(units, n))]
        self.n = n
        self.hidden = nn.Sequential(*(part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.ReLU())))
        self.to_features = nn.Linear(sizes[-1], n)
        back = [n, *reversed(sizes)]
        chain = [part for pair in pairwise(back) for part in (nn.Linear(*pair), nn.ReLU())]
        self.mirror = nn.Sequential(*chain[:-1])
        self.v = nn.Linear(n, 1)

    def features(self, codes: Tensor) -> Tensor:
        """The x-features, (examples, units) -> (examples, n)."""
        features: Tensor = self.to_features(self.hidden(codes))
        return features

    def forward(self, codes: Tensor) -> Tensor:
        """What the loss needs, side by side: x-features (n), the predicted logit (1), reconstructed units."""
        features = self.features(codes)
        return torch.cat([features, self.v(features), self.mirror(features)], 1)

    def predicted(self, codes: Tensor) -> Tensor:
        """The logit made of the x-features, (examples,)."""
        return self.v(self.features(codes)).squeeze(1)

    def contributions(self, codes: Tensor) -> Tensor:
        """v_i E_i, (examples, n); with the intercept they add up to the predicted logit."""
        return self.features(codes) * self.v.weight[0]


def hidden_sizes(units: int, n: int) -> tuple[int, int]:
    """Sizes of the two hidden layers; the paper's 800 and 100 are of 4,096 units."""
    return max(n, units // 2), max(n, units // 4)


@dataclass(frozen=True)
class SRAELoss:
    """Eq. 5 without its last three terms, which are the optimiser's weight decay."""

    n: int
    terms: Terms

    def parts(self, output: Tensor, codes: Tensor, logits: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """The three terms, unweighted.

        Parameters
        ----------
        output
            Of `Embedding.forward`.
        codes, logits, weights
            Z (examples, units), the logit (examples,), and what each example counts (examples,).
        """
        features, predicted, reconstructed = output.split([self.n, 1, codes.shape[1]], 1)
        errors = (predicted.squeeze(1) - logits).square()
        return {
            "faithfulness": (weights * errors).sum() / weights.sum(),
            "reconstruction": sparsity(unit_errors(reconstructed, codes, weights), self.terms.q),
            "pull_away": pull_away(features),
        }

    def __call__(self, output: Tensor, codes: Tensor, logits: Tensor, weights: Tensor) -> Tensor:
        """Loss of a batch, as a scalar."""
        parts, terms = self.parts(output, codes, logits, weights), self.terms
        return (
            terms.faithful * parts["faithfulness"]
            + terms.beta * parts["reconstruction"]
            + terms.eta * parts["pull_away"]
        )


@dataclass(frozen=True, eq=False)
class Examples:
    """What an embedding is fitted on.

    Attributes
    ----------
    codes
        Z, (examples, units); not negative for excitation backprop.
    logits
        The logit to explain, (examples,).
    positive
        Whether an example is of the target, bool (examples,).
    """

    codes: Tensor
    logits: Tensor
    positive: Tensor

    def check(self, n: int) -> None:
        """Refuse what no embedding can be fitted on.

        Raises
        ------
        UsageError
            If Z is constant, or there are fewer positives than x-features, or no negative.
        """
        if self.codes.ndim != 2:
            raise UsageError(f"The layer puts out {tuple(self.codes.shape[1:])}; valid: a vector of units.")
        if not 1 <= n <= self.codes.shape[1]:
            raise UsageError(f"n is {n}; valid: from 1 to the {self.codes.shape[1]} units of the layer.")
        if not (self.codes.std(0, correction=0) > 0).any():
            raise UsageError(
                f"All {self.codes.shape[1]} units are constant over {len(self.codes)} examples; Z must vary."
            )
        positives = int(self.positive.sum())
        if positives < n or positives == len(self.positive):
            raise UsageError(
                f"{positives} of {len(self.positive)} examples are positive; valid: at least as many as x-features "
                f"({n}), and some negative ones."
            )

    @property
    def weights(self) -> Tensor:
        """Positives count so much more that both kinds count alike; 1 on average."""
        share = self.positive.float().mean()
        return torch.where(self.positive, 0.5 / share, 0.5 / (1 - share))

    def part(self, which: Tensor) -> "Examples":
        """Some of the examples."""
        return Examples(self.codes[which], self.logits[which], self.positive[which])


def one_in_nine(positive: Tensor, seed: int, ratio: int = 8) -> Tensor:
    """Choose examples with so many negatives for each positive, as far as there are.

    Parameters
    ----------
    positive
        bool (examples,).
    seed
        Decides which of the more frequent kind are left out.
    ratio
        Negatives to positives.

    Returns
    -------
    Tensor
        Places of the chosen ones, rising.
    """
    order = torch.randperm(len(positive), generator=torch.Generator().manual_seed(seed))
    kinds = [order[positive.cpu()[order]], order[~positive.cpu()[order]]]
    positives = max(1, min(len(kinds[0]), len(kinds[1]) // ratio))
    return torch.cat([kinds[0][:positives], kinds[1][: ratio * positives]]).sort().values.to(positive.device)


def fit_embedding(
    examples: Examples, n: int, terms: Terms, *, on: Compute, epochs: int, seed: int = 0, progress: bool = False
) -> Embedding:
    """Train E, its mirror and v on Z, by the project's one loop.

    Units and logit are divided by their standard deviations for the training, so that the weights of `Terms` mean the
    same for every classifier; afterwards the divisors go into the first and the last weights.

    Parameters
    ----------
    examples, n, terms
        The examples, the number of x-features, the loss.
    on, epochs, seed, progress
        How it is trained.

    Raises
    ------
    UsageError
        See `Examples.check`.
    """
    examples.check(n)
    scale = spreads(examples.codes)
    unit = max(examples.logits.std().item(), TINY)
    codes, logits = examples.codes / scale, (examples.logits - examples.logits.mean()) / unit
    with training.seeded(training.derive_seed(seed, "embedding", n)):
        embedding = Embedding(codes.shape[1], n).to(on.device)
    job = Job(
        embedding, codes, (codes, logits, examples.weights), SRAELoss(n, terms),
        Recipe("adam", LEARNING_RATE, WEIGHT_DECAY), epochs=epochs, seed=training.derive_seed(seed, "order", n),
        on=replace(on, dtype=torch.float32, graph=False), batch_size=min(BATCH_SIZE, len(codes)), label="x-features",
        progress=progress,
    )  # fmt: skip
    training.fit(job)
    embedding.eval().requires_grad_(False)
    if not terms.faithful:  # v has learnt nothing: the best there is
        read_out(embedding, codes, logits, examples.weights)
    _fold(embedding, scale, unit, examples.logits.mean())
    _turn(embedding)
    return embedding


def spreads(codes: Tensor) -> Tensor:
    """Standard deviation of each unit, (examples, units) -> (units,), that of quiet units set to a bound above 0."""
    found = codes.std(0, correction=0)
    return found.clamp(min=max(QUIET * found.max().item(), TINY))


def read_out(embedding: Embedding, codes: Tensor, logits: Tensor, weights: Tensor) -> None:
    """Set v to the weighted least squares of the logit on the x-features, in place."""
    features = embedding.features(codes)
    inputs = torch.cat([features, torch.ones_like(features[:, :1])], 1).double()
    root = weights.double().sqrt()
    solution = torch.linalg.lstsq(
        (inputs * root[:, None]).cpu(), (logits.double() * root)[:, None].cpu(), driver="gelsd"
    ).solution
    embedding.v.weight.copy_(solution[:-1].T)
    embedding.v.bias.copy_(solution[-1])


def _fold(embedding: Embedding, scale: Tensor, unit: float, mean: Tensor) -> None:
    """Let a trained embedding take units and put out logits as they are."""
    first, last = embedding.hidden[0], embedding.mirror[-1]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    first.weight.div_(scale)
    last.weight.mul_(scale[:, None])
    last.bias.mul_(scale)
    embedding.v.weight.mul_(unit)
    embedding.v.bias.mul_(unit).add_(mean)


def _turn(embedding: Embedding) -> None:
    """Change the sign of every x-feature with a negative weight in v, which changes nothing else."""
    sign = torch.where(embedding.v.weight[0] < 0, -1.0, 1.0)
    embedding.to_features.weight.mul_(sign[:, None])
    embedding.to_features.bias.mul_(sign)
    embedding.v.weight.mul_(sign)
    first = embedding.mirror[0]
    assert isinstance(first, nn.Linear)
    first.weight.mul_(sign)


class SRAE:
    """Explain one logit of a frozen classifier by a few x-features of one of its layers.

    Parameters
    ----------
    model
        From images to logits (n, classes); any module. It is neither trained nor changed.
    layer
        Name of a submodule that puts out a vector of units, such as a fully connected layer with its ReLU.
    target
        The class whose logit is explained.
    n
        Number of x-features.
    terms
        Weights of the loss.
    epochs, seed, device
        Of the training, which takes seconds.
    """

    def __init__(
        self, model: nn.Module, layer: str, target: int, n: int = 5, *, terms: Terms | None = None, epochs: int = 100,
        seed: int = 0, device: str = "auto",
    ) -> None:  # fmt: skip
        self.on = training.compute(device)
        self.model = training.moved(model, self.on).eval()
        self.up_to = UpTo(self.model, layer).eval()
        self.target, self.n, self.terms, self.epochs, self.seed = target, n, terms or Terms(), epochs, seed
        self._embedding: Embedding | None = None

    @property
    def embedding(self) -> Embedding:
        """The fitted networks.

        Raises
        ------
        UsageError
            Before `fit`.
        """
        if self._embedding is None:
            raise UsageError("This SRAE is not fitted; call fit(images) first.")
        return self._embedding

    def fit(self, images: Tensor, positive: Tensor | None = None, progress: bool = False) -> "SRAE":
        """Fit the x-features on the training images.

        Parameters
        ----------
        images
            As the classifier takes them.
        positive
            Whether each is of the target class; None: whether the classifier says so.
        progress
            Show a progress bar.

        Raises
        ------
        UsageError
            For a layer without units, a target that is no class, n that does not fit the layer, fewer positives than
            x-features, or a layer that is constant.
        """
        logits, codes = self._apply(self.model, images), self._apply(self.up_to, images)
        check_target(self.target, logits.shape[1])
        chosen = logits.argmax(1) == self.target if positive is None else positive.to(logits.device)
        examples = Examples(codes, logits[:, self.target], chosen)
        self._embedding = fit_embedding(
            examples, self.n, self.terms, on=self.on, epochs=self.epochs, seed=self.seed, progress=progress
        )
        return self

    def features(self, images: Tensor) -> Tensor:
        """The x-features, (images, n)."""
        return self._read(self.embedding.features, images)

    def predicted(self, images: Tensor) -> Tensor:
        """The logit that the x-features give, (images,)."""
        return self._read(self.embedding.predicted, images)

    def contributions(self, images: Tensor) -> Tensor:
        """v_i E_i, (images, n)."""
        return self._read(self.embedding.contributions, images)

    def explain(self, images: Tensor) -> Tensor:
        """A map per x-feature: contrastive excitation backprop, (images, n, height, width), not normalised."""
        embedding = self.embedding
        body = nn.Sequential(self.up_to, embedding.hidden)
        return contrastive_maps(body, embedding.to_features.weight, images.to(self.on.device))

    def _apply(self, module: nn.Module, images: Tensor) -> Tensor:
        return training.apply(module, images.to(self.on.device), self.on, exact=True)

    def _read(self, what: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        with torch.no_grad():
            return what(self._apply(self.up_to, images))


def check_target(target: int, classes: int) -> None:
    """Refuse a target that is no class.

    Raises
    ------
    UsageError
        If it is not in 0..classes-1.
    """
    if not 0 <= target < classes:
        raise UsageError(f"target is {target}; valid: a class from 0 to {classes - 1}.")
