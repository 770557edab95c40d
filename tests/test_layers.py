"""Figures of the chapter layers: the right images of the right run, in the right place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cladec_companion.evidence.style import apart, picture, signed_difference, unit
from cladec_companion.papers.cladec.layers import figures
from cladec_companion.records.record import Record
from cladec_companion.records.samples import ImageName, RunImages, below, valued
from cladec_core.errors import RunError
from tests.made_up import content

CLASSES = ("shirt", "bag", "boot")
NO_ROWS = pd.DataFrame(columns=["dataset", "architecture", "layer", "method", "seed", "metric", "value"])
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
    return Record(Path(), NO_ROWS, samples, {"configuration": {"index_map": "code"}})


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
    record = Record(Path(), NO_ROWS, {name: np.zeros(1) for name in names}, {})
    assert RunImages.of(record, "mnist", asked).run == ("mnist", asked or "vgg11")
    assert RunImages.of(record).run == ("fashion_mnist", "vgg5")


# ---- numbers of layers, sizes, colours


PAPER = ["logits", "conv4", "conv4a", "conv3", "conv3a"]


def made(layers, index_map, images=(4, 1, 8, 8), architecture="vgg11"):
    """A record with random images of some layers."""
    numbers = np.random.default_rng(0)
    prefix, count = f"fashion_mnist/{architecture}", images[0]
    names = ["original", *(f"{layer}/{method}" for layer in layers for method in ("refae", "cladec"))]
    samples = {f"{prefix}/{name}": numbers.integers(0, 256, images, dtype=np.uint8) for name in names}
    samples |= {f"{prefix}/{layer}/gradcam": np.zeros((count, *images[2:]), np.uint8) for layer in layers}
    samples |= {f"{prefix}/{name}": np.arange(count, dtype=np.uint8) % 3 for name in ("index", "label", "predicted")}
    return Record(Path(), NO_ROWS, samples, {"configuration": {"index_map": index_map}})


def test_a_record_with_the_papers_numbers_is_drawn_like_any_other():
    record = made(PAPER, "paper")
    assert figures.recorded_layers(record) == PAPER
    shown = figures.layers_by_samples(record, PAPER, CLASSES, wrong=False)
    labels = [axis.get_ylabel() for axis in shown.axes if axis.get_ylabel()]
    assert labels == ["X", "logits (-1)", "conv4 (-2)", "conv4a (-3)", "conv3 (-4)", "conv3a (-5)"]
    data, _ = content(figures.interactive(record))
    assert data["controls"][1]["values"][-1] == "logits (-1)"
    rows = shades_of(figures.networks(record, CLASSES, "fashion_mnist"))
    assert [name.split(", ")[-1] for name in rows][1::2] == ["-1", "-2", "-3", "-4", "-5"]


def test_pictures_say_which_training_had_not_converged():
    record = made(PAPER, "paper")
    parts = {"dataset": "fashion_mnist", "architecture": "vgg11", "seed": 0, "metric": "still_falling"}
    rows = [parts | {"layer": "conv4", "method": name, "value": value} for name, value in (("refae", 1), ("cladec", 0))]
    record = replace(record, rows=pd.DataFrame(rows))
    shown = figures.layers_by_samples(record, PAPER, CLASSES, wrong=False)
    labels = [axis.get_ylabel() for axis in shown.axes if axis.get_ylabel()]
    assert [label for label in labels if "not converged" in label] == ["conv4 (-2)\n(RefAE not converged)"]
    rows = [axis.get_ylabel() for axis in figures.triples(record, "conv4", CLASSES).axes if axis.get_ylabel()]
    assert [row.endswith("not converged") for row in rows] == [False, True, False, False]


def test_layers_without_a_number_are_drawn_where_they_stand_in_the_network():
    record = made(["conv1", "penultimate", "conv4"], "code")
    layers = RunImages.of(record).layers()
    assert [layer.label for layer in layers] == ["penultimate (-1)", "conv4", "conv1"]
    figures.layers_by_samples(record, [layer.name for layer in layers], CLASSES, wrong=False)


@pytest.mark.parametrize("images", [(4, 3, 32, 32), (4, 3, 64, 64), (4, 1, 20, 20)])
def test_images_of_any_size_are_drawn_in_their_colours(images):
    record = made(["conv3", "penultimate"], "code", images)
    shown = figures.triples(record, "conv3", CLASSES, count=2)
    first = shown.axes[0].images[0].get_array()
    expected = record.samples["fashion_mnist/vgg11/original"][0]
    assert np.array_equal(first, expected.transpose(1, 2, 0) if images[1] == 3 else expected[0])
    assert shown.axes[-1].images[0].get_array().shape == (*images[2:], 3)
    data, tile = content(figures.interactive(record))
    assert data["side"] == images[-1]
    for place, layer in enumerate(("conv3", "penultimate")):
        drawn = record.samples[f"fashion_mnist/vgg11/{layer}/cladec"][1]
        drawn = drawn.transpose(1, 2, 0) if images[1] == 3 else np.repeat(255 - drawn[0][..., None], 3, -1)
        assert np.abs(tile(2, 1, place).astype(int) - drawn).max() <= (0 if images[1] == 3 else 8)


def test_a_change_of_colour_alone_does_not_vanish_in_the_difference():
    red, green = (np.zeros((3, 1, 1)) for _ in range(2))
    red[0], green[1] = 0.6, 0.6
    shown = signed_difference(red, green)[0, 0]
    assert (shown < 0.5).all()  # as strong as the change
    assert np.ptp(shown) < 0.01  # but of neither method's colour: no brightness is gained or lost
    brighter = signed_difference(red + 0.3, red)[0, 0]
    grey = signed_difference(np.full((1, 1, 1), 0.8), np.full((1, 1, 1), 0.5))[0, 0]
    assert np.allclose(brighter, grey)
    assert apart(red, green) == pytest.approx(np.sqrt(2 * 0.36 / 3))


def test_ink_is_for_grey_values_only():
    grey, colour = np.full((1, 2, 2), 51, np.uint8), np.full((3, 2, 2), 51, np.uint8)
    assert np.allclose(picture(grey), 0.8)
    assert np.allclose(picture(colour), 0.2)
    assert np.allclose(picture(unit(colour)), 0.2)


def test_images_that_are_not_of_the_same_test_images_stand_in_no_column():
    record = made(["conv3"], "code")
    record.samples["fashion_mnist/vgg11/conv3/refae"] = record.samples["fashion_mnist/vgg11/conv3/refae"][:3]
    with pytest.raises(RunError, match="'fashion_mnist/vgg11/conv3/refae' are 3 images, but the run shows 4"):
        figures.triples(record, "conv3", CLASSES)
    both = made(["penultimate"], "code")
    other = made(["penultimate"], "code", architecture="resnet10").samples
    other["fashion_mnist/resnet10/index"] = np.arange(10, 14)
    both.samples |= other
    with pytest.raises(RunError, match="no test image in common"):
        figures.networks(both, CLASSES, "fashion_mnist")


def test_what_a_record_lacks_is_named():
    record = made(["conv3"], "code")
    with pytest.raises(RunError, match=r"no images 'fashion_mnist/vgg11/conv2/refae'.*conv3/cladec"):
        figures.triples(record, "conv2", CLASSES)
    with pytest.raises(RunError, match="no images of mnist, any architecture; it has: fashion_mnist/vgg11"):
        figures.triples(record, "conv3", CLASSES, dataset="mnist")
    with pytest.raises(RunError, match="of class 2; there are 2"):
        figures.triples(record, "conv3", CLASSES[:2])


# ---- names


@given(
    st.lists(st.text(st.characters(exclude_characters="/", categories=("L", "N", "P", "S", "Zs")), min_size=1).filter(
        str.isprintable), min_size=3, max_size=6)
)  # fmt: skip
def test_names_are_read_back_as_they_were_made(parts):
    name = ImageName(parts[0], parts[1], tuple(parts[2:]))
    assert ImageName.read(str(name)) == name


@pytest.mark.parametrize("text", ["", "mnist", "mnist/vgg11", "mnist/vgg11/", "mnist//label", "a/b/c\n", "a/b/\x1b[2J"])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(RunError, match="name"):
        ImageName.read(text)


def test_parts_are_named_alike_where_they_are_made_and_where_they_are_read():
    samples = {f"mnist/vgg5/{below(valued('alpha', value))}": np.zeros(1) for value in (0.5, -0.0, 0.500000000001)}
    samples |= {f"mnist/vgg5/{below('nested', size, 0)}": np.zeros(1) for size in (10, 4)}
    images = RunImages("mnist", "vgg5", samples)
    assert images.values("alpha") == [0.0, 0.5, 0.500000000001]
    assert all(valued("alpha", value) in images for value in images.values("alpha"))
    assert images.numbers("nested") == [(4, 0), (10, 0)]


def test_the_scores_of_originals_belong_to_what_was_predicted(whole_run):
    for name, predicted in whole_run.samples.items():
        if not name.endswith("predicted"):
            continue
        scores = whole_run.samples[name.removesuffix("predicted") + "score/original"].astype(int)
        assert (np.abs(scores.sum(1) - 100) <= scores.shape[1] / 2).all()
        assert (np.take_along_axis(scores, predicted[:, None].astype(int), 1)[:, 0] == scores.max(1)).all()
