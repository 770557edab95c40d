"""What several chapters of the paper share: the images that are shown, and whether a training had ended."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cladec_companion.engine.runner import Samples
from cladec_companion.records.samples import as_uint8, originals, scored
from cladec_core import training
from cladec_core.data import ImageData


def sample_indices(labels: Tensor, predicted: Tensor, wrong: int = 6, bags: int = 4) -> Tensor:
    """Choose the test images that are shown: the first right one of ten classes, some wrong ones, more bags.

    Returns
    -------
    Tensor
        int64 on the CPU; the first ten (or fewer) are classified correctly, then up to six are not.
    """
    labels, predicted = labels.cpu(), predicted.cpu()
    right = labels == predicted
    first = [torch.nonzero(right & (labels == label))[:1, 0] for label in labels.unique()[:10]]
    missed = torch.nonzero(~right)[:wrong, 0]
    more = torch.nonzero(right & (labels == min(8, int(labels.max()))))[1 : 1 + bags, 0]
    return torch.cat([*first, missed, more])


def still_falling(model: nn.Module) -> dict[str, float]:
    """The row that says whether a training would have gone on: its loss was still falling when it ended (1) or not."""
    history = model.history
    assert isinstance(history, training.History)
    return {"still_falling": float(training.still_falling(history))}


def pictures(
    data: ImageData, predicted: Tensor, reconstructions: dict[str, Tensor], logits: Mapping[str, Tensor] | None = None
) -> Samples:
    """The test images that are shown, with what the prediction decides about the choice, and reconstructions.

    Parameters
    ----------
    predicted, reconstructions
        Of all test images; reconstructions by their name in the record.
    logits
        What a classifier says of all test images, by the name of these images: their scores are kept.
    """
    at = sample_indices(data.test_labels, predicted).to(predicted.device)
    samples = {name: as_uint8(data.to_unit(images[at])) for name, images in reconstructions.items()}
    for name, said in (logits or {}).items():
        samples |= scored(name, said[at])
    return samples | originals(data, at, predicted)
