"""Figures of the chapter layers: the right images of the right run, in the right place."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cladec_companion.papers.cladec.layers import figures
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages

CLASSES = ("shirt", "bag", "boot")
INDEX = {"vgg11": [4, 7, 9], "resnet10": [7, 3, 9]}


def shade(architecture, method, index):
    """A grey value that names where an image is from."""
    offset = {"original": 0, "refae": 60, "cladec": 120}[method]
    return offset + index + (0 if method == "original" else 20 * (architecture == "resnet10"))


def record_of(*architectures):
    samples = {}
    for architecture in architectures:
        prefix, index = f"mnist/{architecture}", INDEX[architecture]
        samples |= {f"{prefix}/index": np.array(index), f"{prefix}/label": np.array(index) % 3}
        names = {"original": "original", "penultimate/refae": "refae", "penultimate/cladec": "cladec"}
        for name, method in names.items():
            shades = [shade(architecture, method, each) for each in index]
            samples[f"{prefix}/{name}"] = np.array(shades, np.uint8)[:, None, None, None] * np.ones((1, 4, 4), np.uint8)
    return Record(Path(), pd.DataFrame(), samples, {"configuration": {"index_map": "code"}})


def shades_of(figure):
    """Row name -> the grey value of each image."""
    columns = len([axis for axis in figure.axes if axis.get_title()])
    lines = [figure.axes[start : start + columns] for start in range(0, len(figure.axes), columns)]
    return {line[0].get_ylabel(): [int(axis.images[0].get_array().flat[0]) for axis in line] for line in lines}


def test_two_networks_stand_side_by_side_for_the_images_that_both_have():
    figure = figures.networks(record_of("vgg11", "resnet10"), CLASSES, "mnist")
    rows = shades_of(figure)
    assert [name.split(" ", 2)[-1] for name in rows][1:] == ["VGG-11, -1", "ResNet-10, -1"] * 2
    assert list(rows.values()) == [
        [shade(architecture, method, index) for index in (7, 9)]
        for architecture, method in [
            ("vgg11", "original"), ("vgg11", "refae"), ("resnet10", "refae"),
            ("vgg11", "cladec"), ("resnet10", "cladec"),
        ]
    ]  # fmt: skip
    assert [axis.get_title() for axis in figure.axes][:2] == ["bag", "shirt"]


def test_one_network_stands_alone():
    rows = shades_of(figures.networks(record_of("vgg11"), CLASSES, "mnist"))
    assert len(rows) == 3
    assert rows["X"] == INDEX["vgg11"]


@pytest.mark.parametrize("asked", [None, "vgg11", "vgg11_maxpool"])
def test_a_run_is_found_by_its_whole_name(asked):
    names = [f"{run}/index" for run in ("mnist/vgg11_maxpool", "mnist/resnet10", "mnist/vgg11", "fashion_mnist/vgg5")]
    record = Record(Path(), pd.DataFrame(), {name: np.zeros(1) for name in names}, {})
    assert RunImages.of(record, "mnist", asked).run == ("mnist", asked or "vgg11")
    assert RunImages.of(record).run == ("fashion_mnist", "vgg5")
