"""Made-up records of the experiment `layers`, and what a page shows, for tests of tables, claims and figures."""

import base64
import io
import itertools
import json
import re

import numpy as np
import pandas as pd
from PIL import Image

from cladec_companion.papers.cladec.layers.claims import evidence
from cladec_companion.records.cells import Conditions, Cost
from cladec_companion.records.record import Record

CPU = Conditions("cpu", "float32", 1, code="c0de" * 8, name="cpu (test)")
NAMES = {-1: "penultimate", -2: "conv4a", -3: "conv3", -4: "conv3a", -5: "conv2"}
RESNET = {-1: "penultimate", -2: "block4", -3: "block3", -4: "block2", -5: "block1"}


def made_up(values, seeds=(0, 1, 2), dataset="fashion_mnist", extra=(), architectures=("vgg11",), **configuration):
    """A record from `values(architecture, index, seed) -> {(method, metric): value}`."""
    rows = [
        {"dataset": dataset, "architecture": net, "layer": names[index], "method": method, "seed": seed,
         "metric": metric, "value": value}
        for net in architectures
        for names in [NAMES if net == "vgg11" else RESNET]
        for index, seed in itertools.product(names, seeds)
        for (method, metric), value in values(net, index, seed).items()
    ]  # fmt: skip
    rows += [
        {"dataset": dataset, "architecture": net, "layer": "classifier", "method": "classifier", "seed": seed,
         "metric": metric, "value": value}
        for net in architectures
        for seed in seeds
        for metric, value in {"accuracy": 0.93, "test_images": 10_000, **dict(extra)}.items()
    ]  # fmt: skip
    manifest = {"configuration": {"index_map": "code", **configuration}, "cells": {}}
    return evidence(Record(None, pd.DataFrame(rows), {}, manifest))


def as_claimed(net, index, seed):
    """Rows in which every claim about VGG's losses and pictures is true."""
    depth, wobble = index + 6, 0.0005 * seed
    factor = 0.5 if net == "resnet10" else 1.0
    return {
        ("cladec", "loss_standardised"): factor * 0.05 * depth + wobble,
        ("refae", "loss_standardised"): factor * 0.01 * depth + wobble,
        ("cladec", "accuracy"): (0.90 if index == -1 else 0.93) + wobble,
        ("refae", "accuracy"): 0.91 + wobble,
        ("cladec", "distance_to_refae"): 0.02 * depth + wobble,
        ("cladec", "judge_drift"): 0.1 * depth + wobble,
        ("cladec", "misclassified"): 700,
        ("cladec", "grey_tone"): 0.8 - wobble, ("refae", "grey_tone"): 0.95,
        ("cladec", "texture"): 0.1 + wobble, ("refae", "texture"): 0.3 + wobble,
        ("cladec", "shape"): 0.9 + wobble, ("refae", "shape"): 0.95,
        ("cladec", "within_class_share"): 0.3 + wobble, ("refae", "within_class_share"): 0.4,
    }  # fmt: skip


def content(figure):
    """The data of a figure with controls, and a function that gives a picture by pane and places of the controls."""
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', figure.data, re.S)[1])
    if "sprite" not in data:
        return data, None
    sprite = np.array(Image.open(io.BytesIO(base64.b64decode(data["sprite"].split(",")[1]))).convert("RGB"))
    side, columns = data["side"], data["columns"]

    def shown(pane, *choice):
        state = np.ravel_multi_index(choice, [len(control["values"]) for control in data["controls"]])
        row, column = divmod(data["panes"][pane]["tiles"][state], columns)
        return sprite[row * side : (row + 1) * side, column * side : (column + 1) * side]

    return data, shown


def cell(layer, seed=0, classifiers=None, index=None):
    """What `Record.add` takes, of a made-up cell of the digits."""
    numbers = np.random.default_rng([len(layer), seed])
    axes = {"dataset": "digits", "architecture": "vgg11", "layer": layer, "seed": seed}
    rows = [
        axes | {"method": method, "metric": metric, "value": float(numbers.normal())}
        for method in ("refae", "cladec")
        for metric in ("loss_raw_sum", "accuracy")
    ]
    samples = {f"digits/vgg11/{layer}/{seed}": numbers.integers(0, 256, (3, 1, 32, 32), dtype=np.uint8)}
    if index is not None:
        samples["digits/vgg11/index"] = np.array(index, np.int32)
    return {
        "cell": f"digits/vgg11/{layer}/{seed}", "rows": rows, "samples": samples, "cost": Cost(1.234, 2.345),
        "trainings": {"decoder": 1.0}, "classifiers": {"classifier": "a" * 32} if classifiers is None else classifiers,
    }  # fmt: skip


def same(first, second):
    """Whether two records say the same, whatever bytes they are made of; values have 8 digits in a file."""
    if first.rows.empty or second.rows.empty:
        return first.rows.empty and second.rows.empty
    return (
        first.rows.drop(columns="value").equals(second.rows.drop(columns="value"))
        and np.allclose(first.rows["value"], second.rows["value"], rtol=1e-7, atol=0)
        and first.samples.keys() == second.samples.keys()
        and all(np.array_equal(first.samples[name], second.samples[name]) for name in first.samples)
        and first.manifest["cells"] == second.manifest["cells"]
    )
