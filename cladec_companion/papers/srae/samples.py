"""What a record keeps to be looked at: some images of a target, the maps of every method, contributions."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from cladec_companion.engine.runner import Samples
from cladec_companion.papers.srae.baselines import SRAE
from cladec_companion.papers.srae.explained import Asked
from cladec_companion.papers.srae.method import Embedding
from cladec_companion.papers.srae.metrics import kept_pixels, masked, smoothed
from cladec_companion.records.samples import as_uint8
from cladec_core import training

SHOWN = 4  # images of a target
CROP = 28  # pixels: around the strongest response of an x-feature
EXAMPLES = 3  # such crops that are shown
AVERAGED = (
    24  # such crops, at most, whose mean is shown; never more than a quarter of the images, as others respond less
)
REMOVED_GAMMA = 0.3  # pixels that are shown when an x-feature is removed


def kept_samples(
    asked: Asked, embeddings: Mapping[str, Embedding], maps: Mapping[str, Tensor], pictures: Tensor
) -> Samples:
    """Arrays of one target, each named below it.

    Returns
    -------
    dict
        `original` and the maps of each method as uint8, each map on a scale of its own; `contributions/...`
        (images, n); `logits` (images, classes) and `intercept`; `decoded`; `crops` and `mean_crop` of each x-feature;
        `removed` and `removed_logits`: the images that are left, and what the classifier says of them, if none or one
        x-feature is removed.
    """
    shown = slice(0, SHOWN)
    at = asked.places[shown]
    samples: Samples = {"original": as_uint8(asked.images[shown]), "decoded": as_uint8(pictures)}
    for name, found in maps.items():
        part = found[shown]
        samples[f"maps/{name}"] = as_uint8(part / part.amax((-2, -1), keepdim=True).clamp(min=1e-12))
    codes = asked.seen.codes["test"][at]
    for name, embedding in embeddings.items():
        with torch.no_grad():
            samples[f"contributions/{name}"] = embedding.contributions(codes).cpu().numpy()
    samples["intercept"] = embeddings[SRAE].v.bias.detach().cpu().numpy()
    samples["logits"] = asked.seen.logits["test"][at].cpu().numpy()
    crops = crops_of(asked, embeddings[SRAE])
    samples["crops"], samples["mean_crop"] = (
        as_uint8(crops[:, :EXAMPLES]),
        as_uint8(crops[:, : averaged(asked)].mean(1)),
    )
    samples |= _removed(asked, maps[SRAE])
    return {f"{asked.target}/{name}": array for name, array in samples.items()}


def averaged(asked: Asked) -> int:
    """Of how many of the strongest responses the mean is shown."""
    return max(1, min(AVERAGED, len(asked.places) // 4))


def crops_of(asked: Asked, embedding: Embedding) -> Tensor:
    """Where the test images that excite an x-feature most have its strongest response, (n, images, channels, 28, 28).

    Only images of the target are asked, as maps are made of no others.
    """
    with torch.no_grad():
        features = embedding.features(asked.seen.codes["test"][asked.places])
    strongest = features.argsort(0, descending=True)[: max(EXAMPLES, averaged(asked))]
    maps, images = asked.maps_of(embedding), asked.images
    found = []
    for feature in range(embedding.n):
        chosen = strongest[:, feature]
        found.append(torch.stack([_crop(images[at], maps[at, feature]) for at in chosen]))
    return torch.stack(found)


def _crop(image: Tensor, response: Tensor) -> Tensor:
    """The window with the most of a map; the image where it is no larger."""
    if image.shape[-1] <= CROP:
        return image
    sums = F.avg_pool2d(response[None, None], CROP, stride=1)[0, 0]
    row, column = divmod(int(sums.argmax()), sums.shape[1])
    return image[:, row : row + CROP, column : column + CROP]


def _removed(asked: Asked, maps: Tensor) -> Samples:
    """Images of which only the pixels of the remaining x-features are shown; first with all of them."""
    images, part = asked.images[:SHOWN], smoothed(maps[:SHOWN])
    n = part.shape[1]
    left = [list(range(n)), *([other for other in range(n) if other != one] for one in range(n))]
    made = torch.stack([
        masked(images, kept_pixels(part[:, chosen], REMOVED_GAMMA)) if chosen else torch.zeros_like(images)
        for chosen in left
    ], 1)  # fmt: skip
    setup = asked.seen.scenes.setup
    logits = training.apply(asked.seen.classifier, made.flatten(0, 1), setup.on, exact=True)
    return {"removed": as_uint8(made), "removed_logits": logits.unflatten(0, made.shape[:2]).cpu().numpy()}
