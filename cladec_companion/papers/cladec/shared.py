"""What several chapters of the paper share: layers as parameters, the images that are shown, rows of a record."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cladec_companion.engine.runner import Rows, Samples
from cladec_companion.engine.trainings import CLASSIFIER
from cladec_companion.records.samples import as_uint8, originals
from cladec_companion.records.settings import Settings, parameter
from cladec_core import networks, training
from cladec_core.data import SIZE, ImageData
from cladec_core.errors import UsageError


@dataclass(frozen=True)
class LayeredSettings(Settings):
    """Parameters of every experiment that explains layers by their index in the paper, or by name."""

    layers: tuple[int | str, ...] = parameter(
        (-1, -5), (-1, -3, -5), (-1, -3, -5, -2, -4), (-1, -2, -3, -4, -5),
        "layers to explain: the paper's index, or a name", overnight=(-1, -3, -5), axis=True,
    )  # fmt: skip
    index_map: Literal["code", "paper"] = parameter(
        *("code",) * 4, "which layer an index means: as in the authors' code or in the paper's text"
    )

    def __post_init__(self) -> None:
        """Check the layers against every architecture."""
        super().__post_init__()
        for architecture in self.architectures:
            names = [networks.layer_name(architecture, layer, self.index_map) for layer in self.layers]
            if len(set(names)) < len(names):
                raise UsageError(f"layers {list(self.layers)} name the same layer of {architecture} twice: {names}.")


@lru_cache
def last_convolution(architecture: str, width: float = 1.0) -> tuple[str, int]:
    """Name of the last convolution (or block), the layer of section 6.4, and how many channels it has."""
    name = networks.layer_name(architecture, -2, "paper")
    with torch.random.fork_rng(devices=[]):  # only shapes are of interest; the meta device takes seconds to import
        encoder = networks.classifier(architecture, 1, 2, width).up_to(name)
    return name, networks.activation_shape(encoder, (1, SIZE, SIZE))[0]


def layer_cells(settings: LayeredSettings, architecture: str) -> Iterator[str]:
    """Name the layers to explain, after the classifier itself."""
    yield CLASSIFIER
    for layer in settings.layers:
        yield networks.layer_name(architecture, layer, settings.index_map)


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


def rows_of(values: dict[str, dict[str, float]], **axes: Any) -> Rows:
    """Rows from values by method and metric, and what they have in common."""
    return [
        axes | {"method": method, "metric": metric, "value": value}
        for method, measured in values.items()
        for metric, value in measured.items()
    ]


def pictures(data: ImageData, predicted: Tensor, reconstructions: dict[str, Tensor]) -> Samples:
    """The test images that are shown, with what the prediction decides about the choice, and reconstructions."""
    at = sample_indices(data.test_labels, predicted).to(predicted.device)
    samples = {name: as_uint8(data.to_unit(images[at])) for name, images in reconstructions.items()}
    return samples | originals(data, at, predicted)
