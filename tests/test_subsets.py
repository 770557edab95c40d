from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from cladec_companion.book.notebook import class_names
from cladec_companion.engine.models import Models
from cladec_companion.engine.setup import Setup
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec.layer_parameters import last_convolution
from cladec_companion.papers.cladec.subsets import claims, figures
from cladec_companion.papers.cladec.subsets import experiment as subsets
from cladec_companion.papers.cladec.subsets.settings import Part
from cladec_companion.records.record import read_record
from cladec_core.errors import UsageError
from cladec_core.measures import mean_image
from cladec_core.networks import Select


@pytest.fixture(scope="module")
def smoke_record(run_smoke):
    return run_smoke("subsets", sizes=[64, 1], disjoint_count=1)


def test_nested_disjoint_and_random_subsets_are_what_they_say():
    nested = [Part("conv4", "nested", size, 0).channels(512, 0) for size in (4, 2, 1)]
    assert nested == [[0, 1, 2, 3], [0, 1], [0]]
    disjoint = [Part("conv4", "disjoint", 10, number).channels(512, 0) for number in range(3)]
    assert disjoint[1] == list(range(10, 20))
    assert len(set().union(*disjoint)) == 30
    random = [Part("conv4", "random", 10, number).channels(512, 0) for number in range(20)]
    assert all(len(set(part)) == 10 and part == sorted(part) for part in random)
    assert 0 <= min(map(min, random)) < max(map(max, random)) < 512
    assert len(set(map(tuple, random))) == 20
    assert (
        random[3] == Part("conv4", "random", 10, 3).channels(512, 0) != Part("conv4", "random", 10, 3).channels(512, 1)
    )


def test_select_keeps_the_chosen_channels_and_the_decoder_follows_their_number(digits, smoke, on):
    activations = torch.randn(2, 5, 3, 3)
    assert torch.equal(Select([1, 4])(activations), activations[:, [1, 4]])
    setup = Setup(digits, "vgg11", 0, smoke, on)
    classifier = Models().train(setup.classifier)
    for channels in ([0], [3, 5, 8], range(64)):
        decoder = setup.decoder("conv4", channels=list(channels)).build(classifier)
        (first, *_) = [part for part in decoder.modules() if isinstance(part, torch.nn.Linear)]
        assert first.in_features == len(channels)


def test_the_last_convolution_and_its_channels():
    assert last_convolution("vgg11") == ("conv4", 512)
    assert last_convolution("vgg11", 0.125) == ("conv4", 64)
    assert last_convolution("resnet10") == ("block4", 512)
    assert last_convolution("vgg5") == ("conv4", 256)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sizes": [0]}, "sizes has 0 .an empty subset"),
        ({"sizes": [600]}, "sizes has 600 .more than conv4 of vgg11"),
        ({"sizes": [64, 64]}, "repeated"),
        ({"sizes": []}, "empty"),
        ({"architectures": ["vgg5"]}, "from 1 to 256"),
        ({"disjoint_size": 0}, "disjoint_size has 0"),
        ({"disjoint_size": 200, "disjoint_count": 3}, "disjoint_count is 3"),
        ({"disjoint_count": -1}, "disjoint_count is -1"),
    ],
)
def test_impossible_subsets_are_refused_by_name(changes, named):
    with pytest.raises(UsageError, match=named):
        settings_for("subsets", "quick", **changes)


def test_measures_are_those_of_slow_loops(digits):
    setup = SimpleNamespace(data=digits)
    reconstructions = digits.test_images + 0.1 * digits.test_labels.view(-1, 1, 1, 1)
    predicted = torch.where(digits.test_labels < 5, digits.test_labels, 0)
    found = {(name, metric): value for name, metric, value in subsets._measure(setup, reconstructions, predicted)}
    assert found["3", "loss_standardised"] == pytest.approx(0.09, rel=1e-3)
    assert (found["3", "accuracy"], found["7", "accuracy"]) == (1, 0)
    assert found["", "accuracy"] == pytest.approx((digits.test_labels < 5).double().mean().item())
    slow = np.mean([(0.1 * label.item()) ** 2 for label in digits.test_labels])
    assert found["", "loss_standardised"] == pytest.approx(slow, rel=1e-3)
    assert ("3", "loss_raw_sum") not in found
    assert all(metric != "accuracy" for _, metric, _ in subsets._measure(setup, mean_image(digits), None))


def test_dead_channels_are_counted_and_a_telling_subset_is_read(digits, on):
    class Units(torch.nn.Module):
        """One dead channel, one that says whether the label is 0 (from the image alone: its mean), one constant."""

        def forward(self, images):
            mean = images.mean((1, 2, 3))
            return torch.stack([torch.zeros_like(mean), torch.relu(mean), torch.ones_like(mean)], 1)

    setup = SimpleNamespace(data=digits, on=on, test=lambda model: model(digits.test_images))
    found = {(method, name): value for method, name, _, value in subsets._read(setup, Units(), 3)}
    assert found["activation", ""] == 1
    overall = found["probe", ""]
    counts = torch.bincount(digits.test_labels, minlength=10)
    per_class = sum(found["probe", str(label)] * counts[label].item() for label in range(10))
    assert overall == pytest.approx(per_class / len(digits.test_labels))


def test_a_smoke_run_is_a_record_that_reads_back_the_same(smoke_record):
    rows = smoke_record.rows
    pd.testing.assert_frame_equal(read_record(smoke_record.folder).rows, rows, check_dtype=False, rtol=1e-6)
    assert set(zip(rows["subset"], rows["size"], rows["number"], strict=True)) == {
        ("floors", 0, 0), ("nested", 64, 0), ("nested", 1, 0), ("disjoint", 10, 0), ("random", 10, 0),
        ("random", 1, 0),
    }  # fmt: skip
    assert set(rows["layer"]) == {"conv4"}
    assert set(rows["class"]) == {"", *map(str, range(10))}
    assert list(claims.by_size(smoke_record).index.get_level_values("channels")) == [64, 1]
    assert claims.improvement(smoke_record).notna().all(axis=None)


def test_figures_are_drawn_from_a_record(smoke_record):
    classes = class_names("digits")
    shown = len(smoke_record.samples["digits/vgg11/label"])
    assert len(figures.nested(smoke_record, classes).axes) == 3 * shown
    assert "dead" in figures.disjoint(smoke_record, classes).axes[shown].get_ylabel()
    assert len(figures.loss_over_size(smoke_record).axes) == 2
    assert len(figures.classes_by_subset(smoke_record, classes).axes) == 4
