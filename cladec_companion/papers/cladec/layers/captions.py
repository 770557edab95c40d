"""What the figures of the chapter `layers` show, from the record that they are drawn from.

Layers at which a training of the decoder or of the RefAE had not converged are left out, as in the verdicts.
"""

import pandas as pd

from cladec_companion.evidence.measurements import FALLING
from cladec_companion.evidence.tables import ARCHITECTURE_NAMES
from cladec_companion.papers.cladec.layers.claims import evidence
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, runs_of

FASHION, DIGITS = ("fashion_mnist", "vgg11"), ("mnist", "vgg11")
PENULTIMATE = -1


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with."""
    fashion = measured(record, FASHION)
    sentences = {
        "fig-layers-right": _apart(record, fashion),
        "fig-layers-wrong": _drift(record, FASHION),
        "fig-layers-mnist": _drift(record, DIGITS),
        "fig-networks": _networks(record),
        "fig-depth": _over_depth(measured(record, FASHION, all_seeds=True)),
    }
    if PENULTIMATE in fashion.index:
        sentences |= _one_layer(fashion.loc[PENULTIMATE])
    return sentences


def measured(record: Record, run: tuple[str, str], *, all_seeds: bool = False) -> pd.DataFrame:
    """What was measured of a run: a row per layer, from the input to the output.

    The mean over all seeds, or what was measured with the seed of the images.
    """
    if run not in runs_of(record):
        return pd.DataFrame()
    runs = evidence(record).runs
    assert runs is not None
    runs = runs.loc[run]
    if not all_seeds:
        runs = runs[runs.index.get_level_values("seed") == RunImages.of(record, *run)["seed"].item()]
    return runs[~(runs[list(FALLING)] > 0).any(axis=1)].groupby("index").mean()


def _name(record: Record, run: tuple[str, str], index: int) -> str:
    return next(layer.label for layer in RunImages.of(record, *run).layers() if layer.index == index)


def _one_layer(at: pd.Series) -> dict[str, str]:
    """Of the figures of the penultimate layer."""
    closer = "ClaDec's" if at["rec_cladec"] < at["rec_refae"] else "the RefAE's"
    return {
        "fig-triples-fashion": f"The reconstruction loss at the penultimate layer is {at['rec_cladec']:.2f} for ClaDec "
        f"and {at['rec_refae']:.2f} for the RefAE (standardised mean over all test images): {closer} images are closer "
        f"to the originals.",
        "fig-bags": f"Over all handbags among the test images, the grey tone of a bag correlates with that of ClaDec's "
        f"reconstruction by {at['tone_cladec']:.2f} and with that of the RefAE's by {at['tone_refae']:.2f}; of the "
        f"texture ClaDec keeps {at['texture_cladec']:.1%} and the RefAE {at['texture_refae']:.1%}.",
    }  # fmt: skip


def _apart(record: Record, layers: pd.DataFrame) -> str:
    if layers.empty:
        return ""
    first, last = (
        f"{layers.loc[index, 'distance']:.3f} at {_name(record, FASHION, index)}" for index in layers.index[[0, -1]]
    )
    return (
        f"The mean squared difference between the images of the RefAE and of ClaDec is {first} and {last} "
        f"(standardised values, all test images)."
    )


def _drift(record: Record, run: tuple[str, str]) -> str:
    """How misclassified images come to look to another classifier (B11)."""
    layers = measured(record, run)
    if layers.empty:
        return ""
    index, (drift, error) = layers.index[-1], layers[["drift", "drift_error"]].iloc[-1]
    return (
        f"Over all misclassified test images, another classifier sees the wrongly predicted class "
        f"{100 * abs(drift):.1f} percentage points {'more' if drift > 0 else 'less'} often in ClaDec's images from "
        f"{_name(record, run, index)} than in the originals (standard error {100 * error:.1f})."
    )


def _networks(record: Record) -> str:
    """How far the two methods part, in each network of Fashion-MNIST."""
    tables = {name: measured(record, ("fashion_mnist", name)) for name in ("vgg11", "resnet10")}
    parts = []
    for name, layers in tables.items():
        if not layers.empty:
            ratios = layers["rec_cladec"] / layers["rec_refae"]
            first, last = ratios.index[[0, -1]]
            parts.append(
                f"{ratios[first]:.2f} times the RefAE's at layer {first} and {ratios[last]:.2f} times at layer {last} "
                f"({ARCHITECTURE_NAMES[name]})"
            )
    return f"ClaDec's loss on all test images is {'; '.join(parts)}." if parts else ""


def _over_depth(layers: pd.DataFrame) -> str:
    if layers.empty:
        return ""
    first, last = layers.iloc[0], layers.iloc[-1]
    return (
        f"Recorded, from layer {first.name} to layer {last.name}: ClaDec's loss goes from {first['rec_cladec']:.2f} to "
        f"{last['rec_cladec']:.2f} and the RefAE's from {first['rec_refae']:.2f} to {last['rec_refae']:.2f}; the "
        f"evaluation accuracy goes from {first['acc_cladec']:.1%} to {last['acc_cladec']:.1%} for ClaDec and from "
        f"{first['acc_refae']:.1%} to {last['acc_refae']:.1%} for the RefAE."
    )
