"""Methods that change the image and look what becomes of the prediction, or of the explanation."""

import math
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import Lime
from captum.attr import Occlusion as CaptumOcclusion
from skimage.segmentation import quickshift
from torch import Tensor, nn

from cladec_companion.papers.xai.attribution.around import BLUR, Around, blurred
from cladec_core import training
from cladec_core.errors import UsageError

BOOK_SIDE = 224  # pixels of the book's images: settings in pixels are scaled by it
LIME_WIDTH = 0.25  # of its kernel (section 22.2.1)
AT_ONCE = 512


def occlusion(
    model: nn.Module, images: Tensor, target: Tensor, around: Around, *, patch: int = 8, stride: int | None = None
) -> Tensor:
    """How much the logit falls when a grey square covers a pixel: mean over the squares that do (Fig. 9.4).

    Squares move by half of their side, or by `stride`.
    """
    if not 1 <= patch <= min(images.shape[-2:]):
        raise UsageError(f"patch is {patch}; valid: from 1 to {min(images.shape[-2:])}, the side of the images.")
    step, channels = stride or max(1, patch // 2), images.shape[1]
    with torch.no_grad():
        return CaptumOcclusion(model).attribute(
            images, (channels, patch, patch), (channels, step, step), around.baseline("mean", images), target=target,
            perturbations_per_eval=max(1, AT_ONCE // len(images)),
        ).detach()  # fmt: skip


def occlusion_small(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """Occlusion by squares of 3 pixels."""
    return occlusion(model, images, target, around, patch=3, stride=2)


def occlusion_large(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """Occlusion by squares of 12 pixels, as in the paper's section 6.6."""
    return occlusion(model, images, target, around, patch=12, stride=4)


def segments(image: Tensor) -> Tensor:
    """Super-pixels of an image (channels, height, width): a number for each pixel, (height, width).

    Chapter 22 takes quickshift with kernel 4, distance 200 and ratio 0.2 on 224 pixels; lengths are scaled here.
    """
    values = image.detach().cpu().numpy().transpose(1, 2, 0)
    unit = (values - values.min()) / max(float(np.ptp(values)), 1e-9)
    colour = unit if unit.shape[-1] == 3 else np.repeat(unit.mean(-1, keepdims=True), 3, -1)
    scale = image.shape[-1] / BOOK_SIDE
    return torch.from_numpy(quickshift(colour, kernel_size=max(1, 4 * scale), max_dist=200 * scale, ratio=0.2, rng=0))


def lime(model: nn.Module, images: Tensor, target: Tensor, around: Around, *, samples: int = 1000) -> Tensor:
    """LIME on super-pixels, of the logit: ridge with α = 1, cosine kernel of width 0.25 (section 22.2.1)."""
    found, base = [], around.baseline("mean", images)
    explain = Lime(model, SkLearnRidge(alpha=1.0), _likeness)
    for image, grey, label in zip(images.detach().split(1), base.split(1), target, strict=True):
        mask = segments(image[0]).to(image.device).expand_as(image)
        with training.seeded(around.seed), torch.no_grad():
            options = {"n_samples": samples, "perturbations_per_eval": AT_ONCE}
            found.append(explain.attribute(image, grey, target=int(label), feature_mask=mask, **options))
    return torch.cat(found).mean(1, keepdim=True)


def _likeness(image: Tensor, changed: Tensor, features: Tensor, **_: object) -> float:
    """Weight of a variant by the cosine between its features, each on or off, and all of them on.

    The book compares features; captum's own kernel compares pixels, by which a dark super-pixel weighs next to nothing.
    """
    return math.exp(-((1 - float(features.double().mean().sqrt())) ** 2) / (2 * LIME_WIDTH**2))


def meaningful_perturbation(
    model: nn.Module, images: Tensor, target: Tensor, around: Around, *, fill: str = "blur", iterations: int = 300,
    cells: int = 8, refill: int = 10, rate: float = 0.1, sparse: float = 1e-4, smooth: float = 1e-2, power: float = 3.0,
) -> Tensor:  # fmt: skip
    """Learn the smallest mask that takes the class away (Eqs. 8.8 and 8.9); the map is what the mask deletes.

    Parameters
    ----------
    fill
        What stands where the mask deletes (see `Around.filling`).
    iterations, rate, sparse, smooth, power
        Steps of Adam, its rate, λ1, λ2 and β, as in section 8.3.3. λ1 is scaled so that deleting everything costs what
        it costs the book's mask of 28 x 28 cells.
    cells
        Side of the mask in cells; the book has 28, for images of seven times our side.
    refill
        After how many steps it is computed anew what stands where the mask deletes.
    """
    images = images.detach()
    side, weight = images.shape[-1], sparse * 28**2 / cells**2
    with torch.no_grad():
        start = 1 - F.adaptive_avg_pool2d(_smallest_disc(model, images, target, around), cells)
    mask = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([mask], lr=rate)
    reach, draw = max(1, round(4 * side / BOOK_SIDE)), torch.Generator().manual_seed(around.seed)
    with torch.enable_grad():
        for step in range(iterations):
            shift = torch.randint(0, reach + 1, (2,), generator=draw).tolist()
            hidden = 1 - _enlarged(mask, side)
            if step % refill == 0:
                filling = around.filling(images, hidden.detach(), fill)
            moved, instead = (torch.roll(part, shift, (2, 3)) for part in (images, filling))
            shown = moved + hidden * (instead - moved)
            score = model(shown).softmax(1).gather(1, target.unsqueeze(1)).sum()
            rough = sum(mask.diff(dim=at).abs().pow(power).sum() for at in (2, 3))
            loss = weight * (1 - mask).abs().sum() + smooth * rough + score
            (mask.grad,) = torch.autograd.grad(loss, mask)
            optimiser.step()
            mask.data.clamp_(0, 1)
    return 1 - _enlarged(mask.detach(), side)


def meaningful_refae(
    model: nn.Module, images: Tensor, target: Tensor, around: Around, *, iterations: int = 300
) -> Tensor:
    """Meaningful perturbation where the RefAE fills what the mask deletes."""
    return meaningful_perturbation(model, images, target, around, fill="refae", iterations=iterations)


def _enlarged(mask: Tensor, side: int) -> Tensor:
    """A mask of cells as a mask of pixels: bilinear, then a Gaussian of 5 of the book's pixels (Eq. 8.9)."""
    large = F.interpolate(mask, (side, side), mode="bilinear", align_corners=False)
    return blurred(large, 5 * side / BOOK_SIDE)


def _smallest_disc(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """The smallest disc in the middle that takes away 99 % of what blurring all takes, (n, 1, height, width)."""
    side = images.shape[-1]
    at = torch.arange(side, device=images.device) - (side - 1) / 2
    distance = (at.square().view(-1, 1) + at.square()).sqrt()

    def score(shown: Tensor) -> Tensor:
        return model(shown).softmax(1).gather(1, target.unsqueeze(1)).squeeze(1)

    whole, gone = score(images), score(blurred(images))
    found = torch.ones_like(images[:, :1])
    for radius in range(side * 3 // 4, 0, -max(1, side // 16)):
        disc = (distance <= radius).to(images.dtype).expand_as(found)
        enough = score(around.filled(images, disc, "blur")) - gone <= 0.01 * (whole - gone)
        found = torch.where(enough.view(-1, 1, 1, 1), disc, found)
    return found


@torch.no_grad()
def pda(
    model: nn.Module, images: Tensor, target: Tensor, around: Around, *, patch: int = 4, window: int = 8,
    stride: int = 2, samples: int = 8,
) -> Tensor:  # fmt: skip
    """Prediction difference analysis: what a patch adds to the evidence over what could stand there (1.4.2, 9.4.3).

    The book gives no formula. After Zintgraf et al. (2017): weight of evidence, with patches drawn from a normal
    distribution given their surroundings, the same everywhere in an image; a pixel has the mean over its patches.
    """
    n, channels, side = len(images), images.shape[1], images.shape[-1]
    moments, known = _window_moments(around.images, window), {}
    draw = torch.Generator().manual_seed(around.seed)
    total, count = images.new_zeros(n, 1, side, side), images.new_zeros(1, 1, side, side)
    before = _log_odds(*_chances(model(images), target))
    labels = target.repeat_interleave(samples)
    for top, left in product(range(0, side - patch + 1, stride), repeat=2):
        y, x = (min(max(place - (window - patch) // 2, 0), side - window) for place in (top, left))
        if (top - y, left - x) not in known:
            inside = torch.zeros(channels, window, window, dtype=torch.bool, device=images.device)
            inside[:, top - y : top - y + patch, left - x : left - x + patch] = True
            known[top - y, left - x] = _Conditional(*moments, inside.flatten())
        drawn = known[top - y, left - x].draw(images[:, :, y : y + window, x : x + window].flatten(1), samples, draw)
        shown = images.repeat_interleave(samples, 0)
        drawn = drawn.clamp(around.low.min(), around.high.max()).view(-1, channels, patch, patch)
        shown[:, :, top : top + patch, left : left + patch] = drawn
        logits = torch.cat([model(part) for part in shown.split(AT_ONCE)])
        likely, unlikely = (chance.view(n, samples).mean(1) for chance in _chances(logits, labels))
        lost = (before - _log_odds(likely, unlikely)).to(total)
        total[:, 0, top : top + patch, left : left + patch] += lost[:, None, None]
        count[..., top : top + patch, left : left + patch] += 1
    return total / count.clamp(min=1)


def _window_moments(images: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of windows anywhere in images, over (channels, window, window)."""
    found = F.unfold(images[:256], window, stride=window // 2).transpose(1, 2).flatten(0, 1).double()
    spread = torch.cov(found.T)
    return found.mean(0), spread + 1e-3 * spread.diagonal().mean() * torch.eye(len(spread)).to(
        spread.device, spread.dtype
    )


class _Conditional:
    """The normal distribution of one part of a window given the rest.

    Parameters
    ----------
    mean, covariance
        Of whole windows.
    inside
        True in the part that is drawn.
    """

    def __init__(self, mean: Tensor, covariance: Tensor, inside: Tensor) -> None:
        self.inside, self.mean = inside, mean
        across = covariance[~inside][:, inside]
        self.gain = torch.linalg.solve(covariance[~inside][:, ~inside], across).T
        left = covariance[inside][:, inside] - self.gain @ across
        tiny = 1e-8 * torch.eye(len(left)).to(left.device, left.dtype)
        self.root = torch.linalg.cholesky((left + left.T) / 2 + tiny)

    def draw(self, windows: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """Draw the part of each window, (n, features) -> (n * samples, features inside)."""
        outside = windows.double()[:, ~self.inside] - self.mean[~self.inside]
        expected = self.mean[self.inside] + outside @ self.gain.T
        noise = torch.randn(len(windows) * samples, len(self.root), generator=generator, dtype=self.root.dtype)
        return (expected.repeat_interleave(samples, 0) + noise.to(self.root.device) @ self.root.T).to(windows.dtype)


def _chances(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of a class and of all others together, (n,) each: 1 minus the first rounds to 0 where it is sure."""
    chances = logits.double().softmax(1)
    others = chances.scatter(1, target.unsqueeze(1), 0.0)
    return chances.gather(1, target.unsqueeze(1)).squeeze(1), others.sum(1)


def _log_odds(likely: Tensor, unlikely: Tensor) -> Tensor:
    tiny = torch.finfo(torch.float64).tiny
    return likely.clamp(min=tiny).log2() - unlikely.clamp(min=tiny).log2()


@torch.no_grad()
def cladec(
    model: nn.Module, images: Tensor, target: Tensor, around: Around, *, patch: int = 8, stride: int = 4
) -> Tensor:
    """ClaDec's relevance: how much the explanation changes in a square that is covered (section 6.6), per pixel.

    Mean over the squares that cover a pixel. The classes play no part: the explanation is of a layer.
    """
    if around.decoder is None:
        raise UsageError("cladec needs the decoder of a layer: one that maps images to reconstructions.")
    side, before, grey = images.shape[-1], around.decoder(images), around.baseline("mean", images)
    total, count = torch.zeros_like(images[:, :1]), torch.zeros_like(images[:1, :1])
    for top in range(0, side - patch + 1, stride):
        for left in range(0, side - patch + 1, stride):
            hidden = torch.zeros_like(images[:1, :1])
            hidden[..., top : top + patch, left : left + patch] = 1
            change = (around.decoder(images + hidden * (grey - images)) - before).square().sum(1, keepdim=True)
            total += hidden * (change * hidden).sum((2, 3), keepdim=True)
            count += hidden
    return total / count.clamp(min=1)


__all__ = [
    "BLUR", "cladec", "lime", "meaningful_perturbation", "meaningful_refae", "occlusion", "occlusion_large",
    "occlusion_small", "pda", "segments",
]  # fmt: skip
