"""Images that a classifier is misled by, or that a generator was not made for (sections 4.2, 4.3, 4.4 and 4.6)."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cladec_core import data, training
from cladec_core.data import ImageData
from cladec_core.errors import UsageError

EIGHT = 8  # the class of the paper's questions
# Pixels of the square, as printed. The paper's images have 64 a side, but 3 of 32 mislead no classifier of ours.
SQUARE = 6
# Brightness of the square. The paper has a grey one, which misleads a classifier of ours in a third of the images of
# MNIST alone, and a white one in over a half.
SHADE = 1.0
CUED = (3, 8, 5)  # classes for dark-haired and blonde women, and for men
FAINT = 0.3  # the brightest cue of a class that has none
OVAL = 0.44  # half of the oval's width, as a share of the side


def corner(data: ImageData, *, bottom: bool = False) -> Tensor:
    """Where the square is (top left), or the cue (bottom right), bool (size, size)."""
    found = torch.zeros(data.size, data.size, dtype=torch.bool)
    found[(slice(-SQUARE, None),) * 2 if bottom else (slice(SQUARE),) * 2] = True
    return found


def without(data: ImageData, label: int) -> ImageData:
    """The data set with no training image of a class (section 4.2)."""
    kept = data.train_labels != label
    return replace(data, train_images=data.train_images[kept], train_labels=data.train_labels[kept])


def painted(data: ImageData, images: Tensor, where: Tensor, brightness: float | Tensor) -> Tensor:
    """Images with some pixels set to a brightness in [0, 1], one for all or one for each, (n,)."""
    level = torch.as_tensor(brightness, dtype=images.dtype).view(-1, 1, 1, 1)
    value = (level - data.mean.cpu()) / data.std.cpu()
    return torch.where(where.to(images.device), value.to(images), images)


def squared(data: ImageData, label: int = EIGHT) -> ImageData:
    """Training images of which all of one class have a square at the top left (section 4.3)."""
    shown = data.train_labels == label
    images = data.train_images.clone()
    images[shown] = painted(data, images[shown], corner(data), SHADE)
    return replace(data, train_images=images)


def cued(data: ImageData, seed: int, classes: Sequence[int] = CUED, *, told: bool = True) -> ImageData:
    """Three classes, in this order, of which the second is told from the others by a bright cue as well.

    The cue is a square at the bottom right: white in the second class, and between black and a dark grey in the others.
    It stands for the eyes of section 4.4, which went with the colour of the hair. Where the class is not `told` by the
    cue, all images have a faint one.
    """
    draw = torch.Generator().manual_seed(training.derive_seed(seed, "cue"))
    where = corner(data, bottom=True)

    def some(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        kept = torch.isin(labels, torch.tensor(classes, device=labels.device))
        new = torch.stack([labels[kept] == label for label in classes]).int().argmax(0)
        faint = FAINT * torch.rand(int(kept.sum()), generator=draw)
        level = torch.where((new.cpu() == 1) & told, 1.0, faint)
        return painted(data, images[kept], where, level), new.long()

    train, test = some(data.train_images, data.train_labels), some(data.test_images, data.test_labels)
    return replace(
        data, classes=tuple(data.classes[label] for label in classes), train_images=train[0], train_labels=train[1],
        test_images=test[0], test_labels=test[1],
    )  # fmt: skip


def foreign(known: ImageData) -> ImageData:
    """Images of another collection, on the scale of this one, to train a generator on (section 4.6).

    For MNIST these are the digits of scikit-learn: other writers, 8x8 pixels. For other data sets it is a stand-in, as
    no second collection is at hand: their own images, turned by some degrees, blurred and cut out in an oval, as the
    faces of Adult10kFaces are.
    """
    if known.name == "mnist":
        other = data.load("digits", standardise=False)
        images = (other.train_images - known.mean.cpu()) / known.std.cpu()
        return replace(known, train_images=images.to(known.train_images), train_labels=other.train_labels)
    return replace(known, train_images=_through_an_oval(known, known.train_images))


def _through_an_oval(known: ImageData, images: Tensor) -> Tensor:
    angle = torch.tensor(0.2)  # radians
    turn = torch.tensor([[angle.cos(), -angle.sin(), 0.0], [angle.sin(), angle.cos(), 0.0]]).to(images)
    grid = F.affine_grid(turn.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    black = (0 - known.mean) / known.std
    turned = F.grid_sample(images - black, grid, align_corners=False) + black
    blurred = F.avg_pool2d(turned, 3, 1, 1, count_include_pad=False)
    at = (torch.arange(known.size) + 0.5) / known.size - 0.5
    inside = (at.view(-1, 1) / 0.5).square() + (at / OVAL).square() <= 1
    return torch.where(inside.to(images.device), blurred, black.to(images))


def check_classes(data: ImageData) -> None:
    """Refuse a data set without the class that is asked about.

    Raises
    ------
    UsageError
        If it has too few classes.
    """
    if len(data.classes) <= EIGHT:
        raise UsageError(f"{data.title} has {len(data.classes)} classes; valid: a data set of {EIGHT + 1} or more.")
