"""Decoders that are trained on dimmed images, of a classifier that was trained on the images as they are."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from cladec_companion.engine.rows import rows_of
from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.records.samples import as_uint8, below, valued
from cladec_companion.records.settings import Settings, parameter

LAYER = "conv4"
SHOWN = 3


@dataclass(frozen=True)
class DimmedSettings(Settings):
    """Parameters of the made-up chapter."""

    experiment: ClassVar[str] = "dimmed"
    architectures: tuple[str, ...] = parameter(*(("vgg5",),) * 4, "classifiers to explain", axis=True)
    dimming: tuple[float, ...] = parameter(
        *((0.25, 1.0),) * 4, "what the grey values are multiplied by", axis=True, limits=(0, 1)
    )


@dataclass(frozen=True)
class Part:
    """How much the images of a decoder are dimmed."""

    dimming: float

    def __str__(self) -> str:
        return f"dimmed to {self.dimming}"


def cells(settings: DimmedSettings, architecture: str) -> Iterator[Part]:
    """One part for each factor."""
    yield from map(Part, settings.dimming)


def run_cell(setup: Setup, part: Part, keep_samples: bool) -> CellRun:
    """Measure how bright the reconstructions of a decoder are that saw dimmed images only."""
    data = setup.data
    unit = data.to_unit(data.train_images) * part.dimming
    dimmed = setup.explained(data=replace(data, train_images=(unit - data.mean) / data.std))
    explain, judge = yield [dimmed.decoder(LAYER), dimmed.judge(None, str(part))]
    shown = data.to_unit(setup.test(explain))
    values = {
        "cladec": {"brightness": shown.mean().item()},
        "original": {"brightness": data.to_unit(data.test_images).mean().item()},
        "classifier": {"seen": setup.test(judge).argmax(1).eq(data.test_labels).double().mean().item()},
    }
    rows = rows_of(values, layer=LAYER, dimming=part.dimming)
    if not keep_samples:
        return rows, {}
    samples = {
        below(valued("dimming", part.dimming), "cladec"): as_uint8(shown[:SHOWN]),
        below("index"): np.arange(SHOWN), below("label"): data.test_labels[:SHOWN].cpu().numpy(),
    }  # fmt: skip
    return rows, samples
