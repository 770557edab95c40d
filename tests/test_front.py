"""The example of the front page: by which rule it is chosen, and what its caption says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cladec_companion.evidence.style import apart, unit
from cladec_companion.papers.cladec import front
from cladec_companion.records.files import RECORDED
from cladec_companion.records.record import Record, find_records, recorded
from cladec_companion.records.samples import RunImages


def record(name, differences, *, index=(0, 1, 2, 3), predicted=(0, 1, 2, 3), architecture="vgg11", seed=0, limit=None):
    """A record in which ClaDec is, for each image, so much paler than a reference of grey value 150."""
    prefix = f"fashion_mnist/{architecture}"
    even = np.ones((len(index), 1, 8, 8))
    samples = {
        f"{prefix}/original": (even * 150).astype(np.uint8), f"{prefix}/index": np.array(index, np.int32),
        f"{prefix}/label": np.array(index, np.uint8), f"{prefix}/predicted": np.array(predicted, np.uint8),
        f"{prefix}/seed": np.array(seed),
    }  # fmt: skip
    for layer in (*front.LAYERS, "penultimate"):
        samples[f"{prefix}/{layer}/refae"] = samples[f"{prefix}/original"]
        explained = 150 - even * np.array(differences)[:, None, None, None]
        samples[f"{prefix}/{layer}/cladec"] = explained.astype(np.uint8)
    configuration = {"index_map": "code", "decoder_epochs": 4, "train_limit": limit}
    manifest = {"experiment": "layers", "configuration": configuration}
    return Record(
        Path(name),
        pd.DataFrame(columns=["dataset", "architecture", "layer", "method", "seed", "metric", "value"]),
        samples,
        manifest,
    )


def test_what_differences_share_has_one_sign_and_the_smallest_size():
    shared = front.stable(np.array([[3.0, -2.0, 1.0, 0.0], [1.0, -5.0, -1.0, 2.0]]))
    assert shared.tolist() == [1.0, -2.0, 0.0, 0.0]
    assert front.stable(np.array([[3.0, -2.0]])).tolist() == [3.0, -2.0]


def test_the_example_is_large_in_every_run():
    first = record("first", [80, 60, 40, 10])
    assert front.choose(first, [first]).image == 0
    second = record("second", [-80, 50, 90, 10])  # the first image goes the other way here
    chosen = front.choose(first, [first, second])
    assert chosen.image == 1
    assert chosen.shared == pytest.approx(50 / 255, abs=1e-3)
    third = record("third", [40, 90, 70], index=(2, 3, 0), predicted=(2, 3, 0), architecture="resnet10", seed=1)
    chosen = front.choose(first, [first, second, third])  # the second image is not shown by all
    assert (chosen.image, len(chosen.runs)) == (2, 3)


def test_the_classifier_of_the_picture_is_right_about_it():
    first = record("first", [80, 60, 40, 10], predicted=(9, 1, 2, 3))
    chosen = front.choose(first, [first])
    assert (chosen.image, chosen.of) == (1, 3)


def test_other_experiments_and_data_sets_do_not_count():
    first, other = record("first", [80, 60, 40, 10]), record("other", [0, 60, 40, 10])
    other.manifest["experiment"] = "alpha"
    digits = record("digits", [0, 60, 40, 10])
    digits.samples = {name.replace("fashion_mnist", "mnist"): array for name, array in digits.samples.items()}
    assert len(front.choose(first, [other, first, digits]).runs) == 1


def test_the_page_says_the_rule_and_from_what_it_chose():
    first = record("first", [80, 60, 40, 10], limit=20_000)
    alone = front.figure(first, front.choose(first, [first]))
    assert "in the only run that is recorded" in alone
    assert "(t-shirt" in alone.lower()
    second = record("second", [80, 50, 90, 10], architecture="resnet10", seed=1)
    told = front.figure(first, front.choose(first, [second, first]))
    assert "VGG-11 or ResNet-10; seed 0 or 1; 20,000 or 60,000 training images; 4 epochs" in told
    assert "paler" in told
    assert "A network other than VGG-11 may keep" in alone
    assert "may keep what" not in told
    assert "as far as both runs agree on it" in told


def test_the_numbers_of_the_caption_are_those_of_the_committed_record():
    shown = recorded("layers", "laptop")
    chosen = front.choose(shown, find_records(RECORDED))
    images = RunImages.of(shown, "fashion_mnist", "vgg11")
    at = list(images.index).index(chosen.image)
    parts = [images.original, *(images.aligned("penultimate", method) for method in ("refae", "cladec"))]
    original, refae, cladec = (unit(part[at]) for part in parts)
    told = front.figure(shown, chosen)
    assert f"the reference's image is {apart(original, refae):.0%} away from the test image" in told
    assert f"and ClaDec's {apart(original, cladec):.0%}" in told
    assert "in per cent of the way from white to black" in told
    assert f"The two are {apart(refae, cladec):.0%} apart there" in told
    assert ("darker overall" in told) == (cladec.mean() > refae.mean())
    assert chosen.shared <= apart(refae, cladec)
