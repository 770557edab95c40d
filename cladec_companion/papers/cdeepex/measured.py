"""What the paper shows as pictures, in numbers: what an explanation does when it is applied, and what it is like."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cladec_companion.papers.cdeepex.explainer import Contrasted
from cladec_companion.papers.cdeepex.optimisation import Start
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
            root mean square as a share of the range; `rough`, its total variation over its sum.
        """
        low, high = self.value_range
        shown = (self.images + OVER * change).clamp(low, high)
        size = change.square().mean((1, 2, 3)).sqrt() / (high - low)
        return {
            "flipped": (self.model(shown).argmax(1) == self.probe).float(),
            "judged": (self.judge(shown).argmax(1) == self.probe).float(),
            "extent": extent(change), "size": size, "rough": roughness(change),
        }  # fmt: skip


def of_search(found: Contrasted) -> Values:
    """What a search came to, one value for each image: see `Solution`."""
    solution, (true, probe, third) = found.solution, found.solution.path[-1].exp().unbind(1)
    return {
        "converged": found.converged.float().to(true.device), "met": (solution.violation <= MET).float(),
        "gap": (true - probe).abs(), "intruded": (third > probe).float(), "third": third,
        "distance": solution.distance, "violation": solution.violation, "stationarity": solution.stationarity,
        "complementarity": solution.complementarity, "steps": solution.steps.float(),
    }  # fmt: skip


def of_start(start: Start) -> Values:
    """How far G(z_0) is from the image: `missed`, as a share of the image's energy about its own mean."""
    about = start.images - start.images.mean((1, 2, 3), keepdim=True)
    energy = about.square().sum((1, 2, 3)).clamp(min=1e-12)
    return {"missed": start.residual.square().sum((1, 2, 3)) / energy}


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


def resemblance(first: Tensor, second: Tensor) -> Tensor:
    """Correlation of two explanations of each image, (n,); NaN where one of them is constant."""
    both = [part.flatten(1) - part.flatten(1).mean(1, keepdim=True) for part in (first, second)]
    lengths = both[0].norm(dim=1) * both[1].norm(dim=1)
    return torch.where(lengths > 0, F.cosine_similarity(both[0], both[1], dim=1), torch.nan)


def summary(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Mean over images and its standard error (`_error`) of each value; images without one are left out."""
    found = {}
    for name, value in values.items():
        known = value[~value.isnan()].double()
        if len(known) > 1:
            found[name] = known.mean().item()
            found[f"{name}_error"] = (known.std() / len(known) ** 0.5).item()
    return found
