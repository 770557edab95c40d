"""Garments: Fashion-MNIST with key points, for the metric's own path by Voronoi cells.

The garments are centred and scaled, so key points of a class, given as places in the bounding box, stand in for key
points of each image. They were set by hand from the mean image of each class, and are approximate.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cladec_companion.papers.srae.locality import voronoi
from cladec_core.data import ImageData

INK = 0.1  # grey values above belong to the garment

_TOP = {
    "collar": (0.06, 0.5), "left sleeve": (0.45, 0.1), "right sleeve": (0.45, 0.9), "chest": (0.4, 0.5),
    "hem": (0.92, 0.5),
}  # fmt: skip
_SHOE = {"toe": (0.75, 0.1), "instep": (0.45, 0.45), "heel": (0.6, 0.92), "sole": (0.95, 0.5)}
# Class -> part -> row and column in the bounding box, each from 0 to 1.
KEY_POINTS: tuple[dict[str, tuple[float, float]], ...] = (
    _TOP | {"left sleeve": (0.22, 0.08), "right sleeve": (0.22, 0.92)},  # T-shirt
    {"waist": (0.06, 0.5), "crotch": (0.35, 0.5), "left leg": (0.9, 0.25), "right leg": (0.9, 0.75)},
    _TOP | {"left sleeve": (0.7, 0.08), "right sleeve": (0.7, 0.92)},  # pullover
    {"collar": (0.06, 0.5), "waist": (0.4, 0.5), "skirt": (0.7, 0.5), "hem": (0.95, 0.5)},
    _TOP | {"left sleeve": (0.7, 0.08), "right sleeve": (0.7, 0.92)},  # coat
    _SHOE | {"instep": (0.3, 0.5)},  # sandal
    _TOP | {"left sleeve": (0.6, 0.08), "right sleeve": (0.6, 0.92)},  # shirt
    _SHOE,  # sneaker
    {"handle": (0.1, 0.5), "left side": (0.65, 0.12), "right side": (0.65, 0.88), "front": (0.65, 0.5)},
    _SHOE | {"shaft": (0.1, 0.7)},  # ankle boot
)


@dataclass(frozen=True)
class Garments:
    """Some images with their classes.

    Attributes
    ----------
    images
        Grey values from 0 to 1, (n, 1, height, width).
    labels
        int64 (n,).
    """

    images: Tensor
    labels: Tensor

    def masks(self, which: Tensor) -> Tensor:
        """P(part | pixel) of some images of one class by Algorithm 1, float64 (chosen, parts + 1, height, width)."""
        found = []
        for place in which.tolist():
            box = bounding_box(self.images[place, 0].cpu().numpy())
            points = np.array(list(KEY_POINTS[int(self.labels[place])].values()))
            height, width = self.images.shape[-2:]
            corner, size = np.array(box[:2]), np.array([box[2] - box[0] - 1, box[3] - box[1] - 1])
            found.append(voronoi(corner + points * size, box, (height, width)))
        return torch.from_numpy(np.stack(found))


def bounding_box(image: np.ndarray) -> tuple[int, int, int, int]:
    """First row and column with ink, and those after the last; the whole image where there is none.

    Parameters
    ----------
    image
        Grey values from 0 to 1, (height, width).
    """
    rows, columns = (np.flatnonzero((image > INK).any(axis)) for axis in (1, 0))
    if not len(rows):
        return 0, 0, *image.shape
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def garment_data(data: ImageData) -> tuple[ImageData, Garments]:
    """The data set as grey values, which excitation backprop supposes, and its test images with key points."""
    train, test = data.to_unit(data.train_images), data.to_unit(data.test_images)
    made = replace(
        data, train_images=train, test_images=test, mean=torch.zeros_like(data.mean), std=torch.ones_like(data.std)
    )
    return made, Garments(test.cpu(), data.test_labels.cpu())
