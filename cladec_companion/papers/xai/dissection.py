"""Network dissection: which concept does a unit detect? (chapter 12 of the XAI book)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cladec_core.errors import UsageError

SHARE = 0.005  # of the pixels of all scenes lie above a unit's threshold T_k (section 12.2.2)
DETECTS = 0.04  # IoU above which a unit counts as a detector (section 12.2.2)
TEXTURES = ("horizontal stripes", "vertical stripes", "diagonal stripes", "squares", "dots", "noise")
SEAMS = ("horizontal seam", "vertical seam")
OBJECT, TEXTURE, EDGE = "object", "texture", "edge"
TEXTURED = 1 / 3  # chance that a tile has a texture, not an object
SEAM = 2  # pixels on each side
PERIOD = 4  # pixels between stripes
DARK = 0.1  # grey value in [0, 1] up to which a pixel is background, where images are grey on black
UNITS_AT_ONCE = 8
STRIDE = 2  # pixels: every other one of every other row is counted, a quarter of the work for the same shares


@dataclass(frozen=True, eq=False)
class Scenes:
    """Images of two by two tiles, and where each concept is in them.

    Attributes
    ----------
    images
        (n, channels, height, width).
    masks
        True where a concept is, (concepts, n, height, width).
    concepts, categories
        Name of each concept, and its kind: "object", "texture" or "edge".
    """

    images: Tensor
    masks: Tensor
    concepts: tuple[str, ...]
    categories: tuple[str, ...]

    def of_others(self, seed: int) -> "Scenes":
        """The same images with the masks of other ones: what a unit still matches, it matches by chance."""
        n = self.masks.shape[1]
        draw = torch.Generator().manual_seed(seed)
        order = torch.randperm(n, generator=draw)
        shifted = torch.empty_like(order)
        shifted[order] = order.roll(1)  # one cycle through all scenes: none keeps its own masks
        return replace(self, masks=self.masks[:, shifted.to(self.masks.device)])

    def without_seams(self) -> "Scenes":
        """The same scenes without the concepts that are at the same place in each: other scenes have them, too."""
        kept = [place for place, category in enumerate(self.categories) if category != EDGE]
        concepts, categories = ([names[place] for place in kept] for names in (self.concepts, self.categories))
        return Scenes(self.images, self.masks[kept], tuple(concepts), tuple(categories))


def texture(kind: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """A texture with a random phase, (side, side), of zeros and ones; noise has all values between."""
    phase = rng.integers(PERIOD)
    down, right = np.indices((side, side))
    waves = (down, right, down + right)
    if kind < len(waves):
        return ((waves[kind] + phase) % PERIOD < PERIOD // 2).astype(np.float32)
    if kind == 3:
        return (((down + phase) // PERIOD + (right + phase) // PERIOD) % 2).astype(np.float32)
    if kind == 4:
        return (((down + phase) % PERIOD == 0) & ((right + phase) % PERIOD == 0)).astype(np.float32)
    return rng.random((side, side)).astype(np.float32)


def scenes(images: Tensor, labels: Tensor, shown: Sequence[int], names: Sequence[str], count: int, seed: int) -> Scenes:
    """Put together images of some classes and made textures.

    Parameters
    ----------
    images, labels
        (n, channels, side, side) and (n,); a texture has the range of values that they have in each channel.
    shown, names
        Classes that are concepts, and the name of each class of the data.
    count
        How many scenes.

    Raises
    ------
    UsageError
        If a class has no image.
    """
    rng = np.random.default_rng(seed)
    side, device = images.shape[-1], images.device
    low, high = images.amin((0, 2, 3)).view(-1, 1, 1), images.amax((0, 2, 3)).view(-1, 1, 1)
    of_class = {label: torch.nonzero(labels == label)[:, 0].tolist() for label in shown}
    for label, places in of_class.items():
        if not places:
            raise UsageError(f"Class {names[label]!r} has no image for the scenes; valid: classes that have one.")
    concepts = (*(names[label] for label in shown), *TEXTURES, *SEAMS)
    made = torch.empty(count, images.shape[1], 2 * side, 2 * side, device=device)
    masks = torch.zeros(len(concepts), count, 2 * side, 2 * side, dtype=torch.bool, device=device)
    for scene in range(count):
        for tile in range(4):
            down, right = (slice(place * side, (place + 1) * side) for place in divmod(tile, 2))
            if rng.random() < TEXTURED:
                kind = int(rng.integers(len(TEXTURES)))
                drawn = torch.from_numpy(texture(kind, side, rng)).to(device)
                made[scene, :, down, right] = low + (high - low) * drawn
                masks[len(shown) + kind, scene, down, right] = True
            else:
                place = int(rng.integers(len(shown)))
                image = images[int(rng.choice(of_class[shown[place]]))]
                made[scene, :, down, right] = image
                masks[place, scene, down, right] = _silhouette(image, low, high)
    masks[-2, :, side - SEAM : side + SEAM] = True
    masks[-1, :, :, side - SEAM : side + SEAM] = True
    categories = (*(OBJECT for _ in shown), *(TEXTURE for _ in TEXTURES), *(EDGE for _ in SEAMS))
    return Scenes(made, masks, concepts, categories)


def _silhouette(image: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Where the object of a grey image on black is, (side, side); everywhere in a colour photograph."""
    if len(image) > 1:
        return torch.ones_like(image[0], dtype=torch.bool)
    return (image > low + DARK * (high - low))[0]


def thresholds(maps: Tensor, share: float = SHARE) -> Tensor:
    """T_k: the value that a share of the pixels of all scenes reach, of each unit: (units,) of (units, pixels)."""
    above = max(1, int(share * maps.shape[1]))
    return maps.topk(above, dim=1).values[:, -1]


def unit_masks(activation: Tensor, size: Sequence[int], stride: int = 1) -> Tensor:
    """M_k: where the upsampled activation of each unit reaches its threshold, (units, n, height, width).

    Periodic textures make a unit exactly as active in many places. All of them count if they tie at the threshold, so
    that the mask may be larger than its share; not those that tie at zero, where a unit behind a ReLU is silent.

    Parameters
    ----------
    activation
        (n, units, height', width').
    size
        (height, width) of the scenes.
    stride
        Of the pixels that are counted; the mask has so many fewer rows and columns.
    """
    up = F.interpolate(activation, size=tuple(size), mode="bilinear", align_corners=False).transpose(0, 1)
    up = up[..., ::stride, ::stride]
    limits = thresholds(up.flatten(1)).view(-1, 1, 1, 1)
    return torch.where(limits > 0, up >= limits, up > limits)


def overlaps(activation: Tensor, *several: Scenes) -> list[Tensor]:
    """IoU of each unit with each concept (Eq. 12.1), (units, concepts), once for each set of masks.

    Sums are over the scenes that have any concept of the same category, as in the book; the threshold of a unit is
    over all. A unit that is the same everywhere has no mask and overlaps nothing.

    Parameters
    ----------
    activation
        For the scenes, (n, units, height', width').
    several
        The same images with one or several sets of masks: what a unit selects is found once for all of them.
    """
    found = [torch.zeros(activation.shape[1], len(scenes.concepts)) for scenes in several]
    kinds = [_kinds(scenes) for scenes in several]
    for start in range(0, activation.shape[1], UNITS_AT_ONCE):
        part = slice(start, start + UNITS_AT_ONCE)
        selected = unit_masks(activation[:, part], several[0].images.shape[-2:], STRIDE)
        for overlap, of_masks in zip(found, kinds, strict=True):
            for places, labelled, truth in of_masks:
                own = selected[:, labelled].flatten(1).float()
                both = own @ truth.T
                either = own.sum(1, keepdim=True) + truth.sum(1) - both
                overlap[part, places] = (both / either.clamp(min=1)).cpu()
    return found


def _kinds(scenes: Scenes) -> list[tuple[list[int], Tensor, Tensor]]:
    """Of each category its concepts, the scenes that have any of them, and their masks there, (concepts, pixels)."""
    counted = scenes.masks[..., ::STRIDE, ::STRIDE]
    kinds = []
    for name in dict.fromkeys(scenes.categories):
        places = [place for place, own in enumerate(scenes.categories) if own == name]
        labelled = counted[places].any(0).flatten(1).any(1)
        kinds.append((places, labelled, counted[places][:, labelled].flatten(1).float()))
    return kinds


@dataclass(frozen=True)
class Detectors:
    """What some units detect.

    Attributes
    ----------
    iou
        Of each unit with its best concept, (units,).
    concept
        Which one that is, (units,).
    """

    iou: Tensor
    concept: Tensor

    @classmethod
    def of(cls, overlap: Tensor) -> "Detectors":
        """The top concept of each unit, from `overlaps`."""
        return cls(*overlap.max(1))

    @property
    def detects(self) -> Tensor:
        """Whether each unit is a detector, (units,)."""
        return self.iou > DETECTS

    @property
    def share(self) -> float:
        """Share of the units that are detectors."""
        return self.detects.double().mean().item()

    def unique(self, among: Sequence[bool] | None = None) -> int:
        """How many different concepts are detected, or how many among some of them (true for each that counts)."""
        found = set(self.concept[self.detects].tolist())
        return len(found if among is None else [concept for concept in found if among[concept]])


def rotation(units: int, seed: int) -> Tensor:
    """A random orthogonal matrix, (units, units), uniform over all of them."""
    draw = torch.randn(units, units, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found, triangle = torch.linalg.qr(draw)
    return (found * triangle.diagonal().sign()).float()


def rotated(activation: Tensor, matrix: Tensor) -> Tensor:
    """The same representation in another basis: units are now weighted sums of the old ones, (n, units, h, w)."""
    return torch.einsum("uv,nvhw->nuhw", matrix.to(activation), activation)
