"""What trainings cost: benchmarks that were recorded, seconds in the manifests, operations by counting."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cladec_companion.engine import estimate
from cladec_companion.engine.plan import Planned, of_profile, tables_of
from cladec_companion.evidence import tables
from cladec_companion.papers.cladec import claims_without_tables
from cladec_companion.records.files import RECORDED
from cladec_companion.records.record import Record
from cladec_companion.records.settings import Settings

LADDER = {
    "images_per_second": "images/s",
    "times_plain": "times the plain loop",
    "operations_per_second": "operations/s",
    "share_of_peak": "share of the peak",
    "megabytes": "memory (MB)",
    "casts_per_step": "casts per step",
    "first_step_seconds": "first step (s)",
    "repeats_bit_for_bit": "repeats bit for bit",
}


def recorded() -> dict[str, dict[str, Any]]:
    """The committed results of `python -m benchmarks`: device -> result."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((RECORDED / "bench").glob("*.json"))]
    return {result["provenance"]["device"]: result for result in found}


def ladder(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rungs of `benchmarks.ladder.measure`, by training, with readable numbers."""
    table = pd.DataFrame(rows).set_index(["training", "rung"])[list(LADDER)]
    table = table.assign(
        images_per_second=table["images_per_second"].map("{:,.0f}".format),
        operations_per_second=table["operations_per_second"].map("{:.2g}".format),
        share_of_peak=table["share_of_peak"].map("{:.0%}".format),
        megabytes=table["megabytes"].map("{:,.0f}".format),
        times_plain=table["times_plain"].round(2),
        first_step_seconds=table["first_step_seconds"].round(2),
    )
    return table.rename(columns=LADDER, index=tables.ARCHITECTURE_NAMES)


def exponents(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """What `benchmarks.sizes.measure` varied, between which sizes, and the exponent of its cost."""
    sizes = pd.DataFrame(rows).groupby("what", sort=False)
    table = sizes.agg(smallest=("size", "min"), largest=("size", "max"), cost=("times_smallest", "last"))
    return table.assign(exponent=sizes["exponent"].first()).round(2).rename(columns={"cost": "cost of the largest"})


def whole_cells(results: Mapping[str, dict[str, Any]]) -> pd.DataFrame:
    """What a whole cell of the chapter on layers takes by the plain loop and by ours, and its memory, by device."""
    rows = []
    for device, result in results.items():
        (cell,), (memory,) = result["cell"], result["memory"]
        rows.append({
            "device": device, "layer": cell["layer"], "images": f"{cell['images']:,}",
            "plain loop (s)": f"{cell['plain_seconds']:.2f}", "ours (s)": f"{cell['ours_seconds']:.2f}",
            "times the plain loop": f"{cell['times_plain']:.2f}",
            "memory (GB)": f"{memory['megabytes_of_the_process'] / 1000:.2f} for {memory['images']:,} images",
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("device")


def trainings(record: Record) -> pd.DataFrame:
    """Milliseconds per image and epoch of each training of a record of `layers`, as `claims_without_tables` times it.

    Returns
    -------
    DataFrame
        One row for each training, with data set, classifier, layer, kind and device; those that came from a cache
        are not there. Times of evaluation classifiers leave out making the reconstructions.
    """
    epochs = record.manifest["configuration"]
    counts = tables.value_of(record, "classifier", "train_images")["mean"].groupby(level="dataset").first()
    found = claims_without_tables.seconds(record).rename(columns={"training": "kind"})
    of_decoder = found["kind"].isin(["decoder", "RefAE"])
    passes = np.where(of_decoder, epochs["decoder_epochs"], epochs["classifier_epochs"])
    milliseconds = 1000 * found.pop("seconds") / passes / found["dataset"].map(counts)
    return found.assign(layer=found["layer"].mask(found["kind"] == "classifier", "-"), milliseconds=milliseconds)


def by_layer(architecture: str, layers: list[str]) -> pd.DataFrame:
    """Millions of operations per image of one training step, for every layer that can be explained.

    Of grey images of ten classes.

    Returns
    -------
    DataFrame
        By layer: the decoder, the RefAE, both over the classifier. Operations of convolutions and matrix products,
        forward and backward.
    """

    setup = estimate.blank(("digits", architecture, 0), Settings())
    rows = [
        {
            "layer": layer,
            "decoder": estimate.per_image(setup.decoder(layer)) / 1e6,
            "RefAE": estimate.per_image(setup.reference(layer)) / 1e6,
        }
        for layer in layers
    ]
    table = pd.DataFrame(rows).set_index("layer")
    classifier = estimate.per_image(setup.classifier) / 1e6
    return table.assign(**{"both over the classifier": table.sum(axis=1) / classifier}).round(2)


def profiles(chapters: Mapping[str, Planned], speed: float) -> pd.DataFrame:
    """Cells, trainings and operations of whole profiles, and the hours that they would take.

    Parameters
    ----------
    chapters
        By name.
    speed
        Operations per second.
    """
    whole = {name: of_profile(chapters, name) for name in ("quick", "laptop", "paper")}
    printed = set(tables_of(chapters).values())
    whole["paper, Tables 2 to 8 alone"] = [
        task for task in whole["paper"] if (task.settings.experiment, task.cell.architecture) in printed
    ]
    rows = []
    for name, tasks in whole.items():
        counts = [one.operations for found in estimate.costs(tasks).values() for one in found]
        hours = sum(counts) / speed / 3600
        rows.append({
            "profile": name, "cells": len(tasks), "trainings": len(counts),
            "operations": estimate.with_unit(sum(counts)), "hours": f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}",
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("profile")
