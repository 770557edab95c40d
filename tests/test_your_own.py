"""The classifier that cheats: its marker, the measure of an explanation, and whether it is found out."""

import pytest
import torch

from cladec_core.errors import UsageError
from companion import experiments
from companion.experiments import your_own
from companion.figures import your_own as figures
from companion.settings import settings_for


def test_the_marker_covers_its_corner_of_the_chosen_images_only():
    images = torch.randn(3, 2, 32, 32)
    inside = your_own.corner(5)
    colour = torch.tensor([1.0, -1.0])[:, None, None]
    marked = your_own.marker_on(images, torch.tensor([True, False, True]), inside, colour)
    for index in (0, 2):
        for channel, value in enumerate((1.0, -1.0)):
            assert (marked[index, channel, :5, :5] == value).all()
    assert torch.equal(marked[1], images[1])
    assert torch.equal(marked[:, :, 5:], images[:, :, 5:])
    assert torch.equal(marked[:, :, :, 5:], images[:, :, :, 5:])


def test_the_share_of_a_map_inside_the_marker():
    inside = your_own.corner(8)
    area = 64 / 1024
    maps = torch.zeros(1, 1, 32, 32)
    assert your_own.share(maps, inside) == pytest.approx(area)
    assert your_own.share(maps + 3, inside) == pytest.approx(area)
    maps[0, 0, 0, 0] = -2
    assert your_own.share(maps, inside) == 1
    maps[0, 0, 20, 20] = 4
    assert your_own.share(maps, inside) == pytest.approx(4 / 20)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    root = tmp_path_factory.mktemp("records")
    changes = {"train_limit": 600, "test_limit": 200, "classifier_epochs": 5, "decoder_epochs": 5, "width": 0.5}
    return experiments.run(settings_for("your_own", "smoke", **changes), root=root, progress=False)


def test_the_biased_classifier_is_found(record):
    table = figures.table(record)
    fooled = table["others with the marker taken for the class"]
    assert fooled["biased"] > fooled["honest"] + 0.1
    values = record.rows.set_index(["method", "metric"])["value"]
    # What only the biased classifier keeps lies where the marker is.
    assert values["two models", "share"] > 2 * values["area", "share"]


def test_every_figure_can_be_drawn(record):
    drawn = [figures.reconstructions(record, kind) for kind in ("marked", "others")]
    drawn += [figures.maps(record), figures.shares(record)]
    assert all(figure.axes for figure in drawn)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": "conv9"}, "conv9"),
        ({"marker": 17}, "marker is 17"),
        ({"images": 0}, "images is 0"),
        ({"marked_class": 10}, "10"),
    ],
)
def test_parameters_out_of_range_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        settings_for("your_own", "quick", **changes)
