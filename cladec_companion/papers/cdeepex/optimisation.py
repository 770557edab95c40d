"""What would have to change for another class: Algorithm 2 and Eq. 2 of CDeepEx, for many images at once.

Eq. 2 asks for the latent point next to z_0 whose image the classifier finds as likely of the probe class as of the true
one, and of any other class less likely. Eq. 3 turns it into a row of problems without constraints, the augmented
Lagrangian. Three things in print cannot be meant, and are corrected here:

- the residual is I - G(z_0), not G(z_0) - I: only then is the image at z_0 the input, as the text says;
- the inequalities stand in Eq. 3 with the opposite sign and without ε: g = ε - h(z, ·, y') ≤ 0 is what Eq. 2 asks;
- the multipliers are never updated: λ grows by c·h, and μ becomes max(0, μ + c·g) (Bertsekas, section 4.2).

Without the inequalities the problem is that of xGEMs, as the paper uses it. Each image has its own multipliers, its own
penalty c and its own end: what is done leaves the batch, so that the answer does not depend on the other images.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cladec_core.errors import UsageError
from cladec_core.networks import in_eval_mode
from cladec_core.training import exact_float32

Decode = Callable[[Tensor], Tensor]
MOMENTS = (0.8, 0.95)  # of Adam: shorter than usual, as each set of multipliers has few steps
PACES = (0.7, 1.1)  # what a step is multiplied with where it was too long, and elsewhere
SLOPES = (2.0, 1e4)  # ‖∇h‖² at z_0 that c counts by: where h is flat, a large c would throw z far away
TINY = 1e-8
CONVERGED, UNSETTLED, UNMET = "converged", "constraints met, still moving", "constraints not met"


@dataclass(frozen=True)
class Search:
    """How Eq. 2 is solved.

    The paper prints γ = 0.24, β = 1.01 and a first c of 1, but neither ε nor any step. What c = 1 does depends on the
    units of the latent space and of the logits; here c begins in units of 1 / ‖∇h‖² at z_0, and may grow faster.

    Attributes
    ----------
    margin
        ε, in nats: how much less likely any third class has to be.
    others
        Whether third classes are constrained; without, it is xGEMs.
    rate, inner, outer
        Of Adam: its step at the start, its steps for one set of multipliers, and the most sets of multipliers.
    penalty, growth, progress
        c·‖∇h‖² at the start, β and γ of Eq. 4: c grows by β where |h| has not fallen below γ times what it was.
    tolerance
        In nats: a constraint that is missed by less counts as met.
    settled
        An image is done when its constraints are met, and `Solution.stationarity` and `Solution.complementarity` are
        below this. Networks of ReLUs have kinks, at which no gradient vanishes.
    """

    margin: float = 0.1
    others: bool = True
    rate: float = 0.1
    inner: int = 10
    outer: int = 40
    penalty: float = 5.0
    growth: float = 1.1
    progress: float = 0.24
    tolerance: float = 0.02
    settled: float = 0.1


@dataclass(frozen=True, eq=False)
class Start:
    """Where a search begins.

    Attributes
    ----------
    z
        z_0, (n, *latent).
    images
        The images themselves, (n, channels, height, width), as the classifier takes them.
    error
        Root mean square difference between G(z_0) and the image, in the images' unit, (n,).
    residual
        Δ = I - G(z_0), shaped as `images`.
    """

    z: Tensor
    images: Tensor
    error: Tensor
    residual: Tensor

    @property
    def missed(self) -> Tensor:
        """How far G(z_0) is from the image, as a share of the image's energy about its own mean, (n,)."""
        about = self.images - self.images.mean((1, 2, 3), keepdim=True)
        energy = about.square().sum((1, 2, 3)).clamp(min=1e-12)
        return self.residual.square().sum((1, 2, 3)) / energy


@dataclass(frozen=True, eq=False)
class Solution:
    """What a search found, one row for each image.

    Attributes
    ----------
    z
        z_e, (n, *latent).
    images
        I_{z,z0} = G(z_e) + Δ, (n, channels, height, width).
    distance
        ‖z_e - z_0‖, (n,).
    path
        Log-likelihood of the true class, the probe class and the likeliest third one after each set of multipliers,
        (1 + outer, n, 3); the first is that of the input, and an image that is done repeats its last.
    path_z
        z at the same places, (1 + outer, n, *latent).
    equality
        h = llh(true) - llh(probe) at the end, in nats, (n,).
    inequality
        The largest g = ε - h(z, ·, y') over both sets and all third classes; below 0 all of them are met. (n,)
    stationarity
        Length of the gradient of the Lagrangian in z, as a share of that of its first term (n,): 0 at a point where
        the conditions of Karush, Kuhn and Tucker hold.
    complementarity
        The largest |min(μ, -g)| of the inequalities, (n,): 0 where each multiplier or its constraint is.
    multiplier
        λ, (n,).
    steps
        Steps of Adam, (n,).
    state
        For each image one of `CONVERGED`, `UNSETTLED`, `UNMET`.
    """

    z: Tensor
    images: Tensor
    distance: Tensor
    path: Tensor
    path_z: Tensor
    equality: Tensor
    inequality: Tensor
    stationarity: Tensor
    complementarity: Tensor
    multiplier: Tensor
    steps: Tensor
    state: tuple[str, ...]

    @property
    def converged(self) -> Tensor:
        """Which images meet their constraints at a point that is at rest, bool (n,)."""
        return torch.tensor([state == CONVERGED for state in self.state])

    @property
    def violation(self) -> Tensor:
        """By how many nats the constraint that is missed most is missed, (n,)."""
        return torch.maximum(self.equality.abs(), self.inequality).clamp(min=0)


@exact_float32()
def invert(
    model: nn.Module, decode: Decode, images: Tensor, noise: Tensor, *, labels: Tensor | None = None,
    weight: float = 0.1, rate: float = 0.1, steps: int = 200,
) -> Start:  # fmt: skip
    """Algorithm 2: descend from a random point to one whose image is alike.

    Parameters
    ----------
    model, decode
        D, from images to logits, and G, from latent points to images.
    images
        (n, channels, height, width).
    noise
        The point to begin with, the same for each image: (*latent).
    labels
        Classes that the found images should have, too (the "bit of the misclassification cost"); None: any.
    weight
        Of that cost, in squared error summed over an image.
    rate, steps
        Of Adam, whose step falls to nothing along half a cosine; the paper prints neither.
    """
    z = noise.expand(len(images), *noise.shape).clone().requires_grad_()
    optimiser = torch.optim.Adam([z], lr=rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    with in_eval_mode(model), torch.enable_grad():
        for _ in range(steps):
            made = decode(z)
            cost = (made - images).square().sum()
            if labels is not None:
                cost = cost + weight * F.cross_entropy(model(made), labels, reduction="sum")
            (z.grad,) = torch.autograd.grad(cost, z)
            optimiser.step()
            falling.step()
    return begin(decode, images, z.detach())


@torch.no_grad()
def begin(decode: Decode, images: Tensor, z: Tensor) -> Start:
    """Start at latent points that are known, such as those of an encoder."""
    residual = images - decode(z)
    return Start(z.detach(), images, residual.square().mean((1, 2, 3)).sqrt(), residual)


@dataclass(eq=False)
class _Rows:
    """What changes for each image while it is searched: all tensors have a row for each."""

    z: Tensor
    first: Tensor  # moments of Adam
    second: Tensor
    equal: Tensor  # λ
    others: Tensor  # μ and μ̃: (n, 2, classes), 0 for the true class and the probe
    penalty: Tensor  # c
    rate: Tensor
    equality: Tensor  # h at the end of the last set of multipliers
    gradient: Tensor  # stationarity

    def at(self, rows: Tensor) -> "_Rows":
        return _Rows(*(getattr(self, item.name)[rows] for item in fields(self)))

    def put(self, rows: Tensor, part: "_Rows") -> None:
        for item in fields(self):
            getattr(self, item.name)[rows] = getattr(part, item.name)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Eq. 2 for some images: its objective, its constraints, and their gradient."""

    model: nn.Module
    decode: Decode
    start: Start
    true: Tensor
    probe: Tensor
    search: Search

    def of(self, rows: Tensor) -> "_Problem":
        start = self.start
        kept = Start(start.z[rows], start.images[rows], start.error[rows], start.residual[rows])
        return _Problem(self.model, self.decode, kept, self.true[rows], self.probe[rows], self.search)

    def likelihoods(self, z: Tensor) -> Tensor:
        """llh of every class for G(z) + Δ, (n, classes)."""
        found: Tensor = self.model(self.decode(z) + self.start.residual)
        return found.log_softmax(1)

    def constraints(self, llh: Tensor) -> tuple[Tensor, Tensor]:
        """h (n,) and g (n, 2, classes); of the true class and of the probe g is -inf: nothing is asked of them."""
        both = torch.stack([self.true, self.probe], 1)
        chosen = llh.gather(1, both)
        g = self.search.margin - chosen.unsqueeze(2) + llh.unsqueeze(1)
        asked = torch.ones_like(llh).scatter(1, both, 0.0).bool() & self.search.others
        return chosen[:, 0] - chosen[:, 1], g.where(asked.unsqueeze(1), -torch.inf)

    def distance(self, z: Tensor) -> Tensor:
        """The objective, (n,)."""
        return (z - self.start.z).flatten(1).square().sum(1)

    def slope(self) -> Tensor:
        """‖∇h‖² at z_0, (n,)."""
        z = self.start.z.detach().requires_grad_()
        with torch.enable_grad():
            h, _ = self.constraints(self.likelihoods(z))
            (gradient,) = torch.autograd.grad(h.sum(), z)
        return gradient.flatten(1).square().sum(1)

    def descent(self, rows: _Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient of Eq. 3 in z, then llh, h: each image is on its own, so that one sum has all gradients."""
        z = rows.z.detach().requires_grad_()
        with torch.enable_grad():
            llh = self.likelihoods(z)
            h, g = self.constraints(llh)
            c = rows.penalty
            pushed = (rows.others + c.view(-1, 1, 1) * g).clamp(min=0)  # the multipliers come out of the gradient
            value = self.distance(z) + rows.equal * h + c / 2 * h.square() + pushed.square().sum((1, 2)) / (2 * c)
            (gradient,) = torch.autograd.grad(value.sum(), z)
        return gradient, llh.detach(), h.detach()


@exact_float32()
def solve(
    model: nn.Module, decode: Decode, start: Start, true: Tensor, probe: Tensor, search: Search | None = None
) -> Solution:
    """Find z_e of Eq. 2 for each image.

    Parameters
    ----------
    model, decode
        D, from images to logits (n, classes), and G. Neither is changed.
    start
        z_0 and the residual.
    true, probe
        Classes, int64 (n,).

    Raises
    ------
    UsageError
        If a likelihood is not finite at the start.
    """
    problem = _Problem(model, decode, start, true, probe, search or Search())
    with in_eval_mode(model):
        return _solved(problem)


def _solved(problem: _Problem) -> Solution:
    search, n = problem.search, len(problem.true)
    with torch.no_grad():
        llh = problem.likelihoods(problem.start.z)
    if not llh.isfinite().all():
        raise UsageError("The classifier's likelihoods are not finite; valid: images and logits without NaN.")
    rows = _fresh(problem, llh)
    at = torch.arange(n, device=llh.device)
    path, path_z = [_followed(problem, llh)], [problem.start.z.clone()]
    steps, done = torch.zeros_like(at), torch.zeros_like(at, dtype=torch.bool)
    for outer in range(search.outer):
        active = at[~done]
        if not len(active):
            break
        part, own = rows.at(active), problem.of(active)
        llh, finished = _outer(own, part, outer)
        rows.put(active, part)
        steps[active] += search.inner
        done[active] = finished
        path.append(path[-1].clone())
        path[-1][active] = _followed(own, llh)
        path_z.append(rows.z.clone())
    return _solution(problem, rows, path, path_z, steps)


def _fresh(problem: _Problem, llh: Tensor) -> _Rows:
    z, search = problem.start.z, problem.search
    ones = torch.ones_like(llh[:, 0])
    return _Rows(
        z.clone(), torch.zeros_like(z), torch.zeros_like(z), torch.zeros_like(ones),
        torch.zeros_like(llh).unsqueeze(1).repeat(1, 2, 1), search.penalty / problem.slope().clamp(*SLOPES),
        ones * search.rate, problem.constraints(llh)[0], torch.full_like(ones, torch.inf),
    )  # fmt: skip


def _outer(problem: _Problem, rows: _Rows, outer: int) -> tuple[Tensor, Tensor]:
    """One set of multipliers: descend in z, then update them (in place); llh, and which images are done."""
    search, wide = problem.search, (-1, *[1] * (rows.z.ndim - 1))
    for step in range(search.inner):
        gradient, _, _ = problem.descent(rows)
        count = outer * search.inner + step + 1
        rows.first = MOMENTS[0] * rows.first + (1 - MOMENTS[0]) * gradient
        rows.second = MOMENTS[1] * rows.second + (1 - MOMENTS[1]) * gradient.square()
        mean, square = rows.first / (1 - MOMENTS[0] ** count), rows.second / (1 - MOMENTS[1] ** count)
        rows.z = rows.z - rows.rate.view(wide) * mean / (square.sqrt() + TINY)
    gradient, llh, h = problem.descent(rows)
    _, g = problem.constraints(llh)
    c, missed = rows.penalty, h.abs()
    rows.equal = rows.equal + c * h
    rows.others = (rows.others + c.view(-1, 1, 1) * g).clamp(min=0)
    # With these multipliers the gradient of Eq. 3 that was just taken is that of the Lagrangian itself.
    moved = 2 * problem.distance(rows.z).sqrt()
    stationarity = gradient.flatten(1).norm(dim=1) / moved.clamp(min=TINY)
    rows.penalty = c * torch.where(missed > search.progress * rows.equality.abs(), search.growth, 1.0)
    # Steps are too long where h swings about 0, or where the gradient grows although h is met.
    swung = (h * rows.equality < 0) | ((missed < search.tolerance) & (stationarity > rows.gradient))
    rows.rate = (rows.rate * torch.where(swung, *PACES)).clamp(search.rate / 100, search.rate)
    rows.equality, rows.gradient = h, stationarity
    met = torch.maximum(missed, g.amax((1, 2))) <= search.tolerance
    return llh, met & (stationarity <= search.settled) & (_slack(rows, g) <= search.settled)


def _slack(rows: _Rows, g: Tensor) -> Tensor:
    """The largest |min(μ, -g)|, (n,)."""
    return torch.minimum(rows.others, -g).where(g.isfinite(), 0.0).abs().amax((1, 2))


def _followed(problem: _Problem, llh: Tensor) -> Tensor:
    """llh of true class, probe and likeliest third class, (n, 3)."""
    both = torch.stack([problem.true, problem.probe], 1)
    third = llh.scatter(1, both, -torch.inf).amax(1, keepdim=True)
    return torch.cat([llh.gather(1, both), third], 1)


@torch.no_grad()
def _solution(problem: _Problem, rows: _Rows, path: list[Tensor], path_z: list[Tensor], steps: Tensor) -> Solution:
    search = problem.search
    images = problem.decode(rows.z) + problem.start.residual
    h, g = problem.constraints(problem.likelihoods(rows.z))
    worst = g.amax((1, 2))
    slack = _slack(rows, g)
    rest = (rows.gradient <= search.settled) & (slack <= search.settled * 1.01)
    met = torch.maximum(h.abs(), worst) <= search.tolerance * 1.01  # rounding of another batch
    state = tuple(
        UNMET if not one else CONVERGED if still else UNSETTLED
        for one, still in zip(met.tolist(), rest.tolist(), strict=True)
    )
    return Solution(
        rows.z, images, problem.distance(rows.z).sqrt(), torch.stack(path), torch.stack(path_z), h, worst,
        rows.gradient, slack, rows.equal, steps, state,
    )  # fmt: skip
