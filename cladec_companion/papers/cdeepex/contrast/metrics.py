"""What the paper shows as pictures, in numbers: what an explanation does when it is applied, and what it is like."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cladec_companion.papers.cdeepex.explainer import Contrasted
from cladec_core import measures
from cladec_core.training import exact_float32

OVER = 1.2  # strength at which explanations are applied: CDeepEx itself ends where both classes are equally likely
ENERGY = 0.9  # of an explanation, held by the pixels that count as its extent
MET = 0.03  # nats by which a constraint may be missed at the end of a search
Values = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Asked:
    """Images of a classifier with the question that is asked of each.

    Attributes
    ----------
    model, judge
        The classifier, and another one of the same data that was trained by itself.
    images
        (n, channels, height, width).
    true, probe
        Classes, int64 (n,).
    value_range
        Of the images.
    """

    model: nn.Module
    judge: nn.Module
    images: Tensor
    true: Tensor
    probe: Tensor
    value_range: tuple[float, float]

    @classmethod
    def of(
        cls, model: nn.Module, judge: nn.Module, images: Tensor, probe: int | None, value_range: tuple[float, float]
    ) -> "Asked":
        """Ask about the second most likely class, or about one for all."""
        with torch.no_grad():
            true, second = model(images).topk(2, dim=1).indices.unbind(1)
        return cls(model, judge, images, true, second if probe is None else torch.full_like(true, probe), value_range)

    @exact_float32()
    @torch.no_grad()
    def applied(self, change: Tensor) -> Values:
        """What adding an explanation (n, channels or 1, height, width) does, a bit stronger than it was found.

        Returns
        -------
        dict
            One value for each image: `flipped`, whether the classifier then sees the probe; `judged`, whether the
            judge does; `extent`, the share of pixels that hold nine tenths of the explanation's energy; `size`, its
            root mean square as a share of the range; `rough`, its total variation over its sum. A change that is NaN
            is no answer (see `answered`), and nor is anything about it.
        """
        low, high = self.value_range
        size = change.square().mean((1, 2, 3)).sqrt() / (high - low)
        return self.seen(OVER * change) | {"extent": extent(change), "size": size, "rough": roughness(change)}

    @exact_float32()
    @torch.no_grad()
    def seen(self, change: Tensor, named: str = "") -> Values:
        """Whether classifier (`flipped`) and judge (`judged`) see the probe in images with a change."""
        low, high = self.value_range
        known = change.isfinite().flatten(1).all(1)
        shown = (self.images + change.nan_to_num()).clamp(low, high)
        return {
            name + named: torch.where(known, (network(shown).argmax(1) == self.probe).float(), torch.nan)
            for name, network in (("flipped", self.model), ("judged", self.judge))
        }

    @exact_float32()
    def slope(self) -> Tensor:
        """Gradient of log p(probe) - log p(true) in the pixels, shaped as the images: the shortest way, by itself."""
        images = self.images.detach().requires_grad_()
        with torch.enable_grad():
            likely = self.model(images).log_softmax(1)
            both = likely.gather(1, torch.stack([self.true, self.probe], 1)).sum(0)
            (gradient,) = torch.autograd.grad(both[1] - both[0], images)
        return gradient


def is_met(found: Contrasted) -> Tensor:
    """Which searches met all of their constraints, bool (n,); they may still have been moving."""
    return found.solution.violation <= MET


def answered(found: Contrasted) -> Tensor:
    """Changes, shaped as the images; NaN where the constraints were not met, as these are no answers."""
    return torch.where(is_met(found).view(-1, 1, 1, 1), found.change, torch.nan)


def of_search(found: Contrasted) -> Values:
    """What a search came to, one value for each image: see `Solution`.

    `met` and `converged` are shares of all searches, and so is `intruded`, for which a search that was not met counts
    as one without a third class. `violation` and `steps` are of all searches. The others are NaN where a search was not
    met. `missed` is what the generator misses (see `Start`).
    """
    solution, met = found.solution, is_met(found)
    true, probe, third = solution.path[-1].exp().unbind(1)
    answers = {
        "gap": (true - probe).abs(), "third": third, "distance": solution.distance,
        "stationarity": solution.stationarity, "complementarity": solution.complementarity,
    }  # fmt: skip
    return {
        "met": met.float(), "converged": found.converged.float().to(true.device),
        "intruded": (met & (third > torch.maximum(true, probe))).float(),
        "violation": solution.violation, "steps": solution.steps.float(),
        **{name: torch.where(met, value, torch.nan) for name, value in answers.items()}, "missed": found.start.missed,
    }  # fmt: skip


def of_both(first: Contrasted, second: Contrasted) -> Values:
    """How `alike` two answers are, NaN without both; `met`, whether there are both; the larger `missed`."""
    return {
        "alike": measures.correlation(answered(first), answered(second), constant=torch.nan),
        "met": (is_met(first) & is_met(second)).float(),
        "missed": torch.maximum(first.start.missed, second.start.missed),
    }  # fmt: skip


def as_long(change: Tensor, norm: Tensor) -> Tensor:
    """Changes (n, channels, height, width) of a given L2 norm (n,); one that is 0 stays 0."""
    own = change.flatten(1).norm(dim=1)
    return change * torch.where(own == 0, 0.0, norm / own).view(-1, 1, 1, 1)


def extent(change: Tensor) -> Tensor:
    """Share of the pixels that hold most of an explanation's energy, (n,); NaN where there is no explanation."""
    energy = change.square().sum(1).flatten(1).sort(1, descending=True).values
    total = energy.sum(1, keepdim=True)
    counted = (energy.cumsum(1) < ENERGY * total).sum(1) + 1.0
    return torch.where(total[:, 0] > 0, counted / energy.shape[1], torch.nan)


def roughness(change: Tensor) -> Tensor:
    """Total variation over the sum of sizes, (n,): up to 4 for a chequered change, near 0 for a smooth one."""
    total = change.abs().sum((1, 2, 3))
    varied = sum(change.diff(dim=at).abs().sum((1, 2, 3)) for at in (2, 3))
    return torch.where(total > 0, varied / total, torch.nan)


def energy_in(change: Tensor, where: Tensor) -> Tensor:
    """Share of an explanation's energy that lies in some pixels (height, width), (n,); NaN without an explanation."""
    energy = change.square().sum(1)
    total = energy.sum((1, 2))
    return torch.where(total > 0, (energy * where.to(energy)).sum((1, 2)) / total, torch.nan)
