"""Decoders that are trained on dimmed images, of a classifier that was trained on the images as they are."""

from dataclasses import replace

import numpy as np

from cladec_companion.engine.rows import rows_of
from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.records.samples import as_uint8, below, valued
from tests.made_up_paper.dimmed.settings import Part

LAYER = "conv4"
SHOWN = 3


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
