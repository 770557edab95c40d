"""One garment through all records: the same image everywhere, one thing that changes in each series."""

from types import SimpleNamespace

import numpy as np
import pytest

from cladec_companion.papers.cladec import coat
from cladec_companion.records.files import RECORDED
from cladec_companion.records.record import find_records
from cladec_core.data import DATASETS


@pytest.fixture(scope="module")
def committed():
    return coat.series(find_records(RECORDED))


def flat(*values):
    return np.stack([np.full((1, 4, 4), value, np.uint8) for value in values])


def series(changes=coat.LAYER, values=(10, 20, 30), explained=((0, 0, 0), (51, 51, 51))):
    steps = tuple(coat.Step(f"step {number}", flat(*step)) for number, step in enumerate(explained))
    return coat.Series(changes, flat(*values), np.arange(len(values)), steps)


def test_every_series_shows_the_same_garments(committed):
    chosen = coat.garments(committed)
    assert len(chosen) >= 5
    for one in committed:
        places = one.places(chosen)
        assert None not in places
        np.testing.assert_array_equal(one.original[places], chosen)
    assert DATASETS["fashion_mnist"].classes[int(committed[0].labels[committed[0].places(chosen[:1])[0]])] == "Coat"


def test_garments_are_those_of_all_series_and_are_found_by_their_pixels():
    found = [series(values=(10, 20, 30)), series(coat.ALPHA, values=(30, 5, 10))]
    assert [int(image[0, 0, 0]) for image in coat.garments(found)] == [10, 30]
    assert found[1].places(flat(30, 20, 10)) == [0, None, 2]


def test_scatter_is_the_mean_distance_of_pairs():
    one = series(explained=((0, 0, 0), (51, 0, 0), (102, 0, 0)))
    assert one.scatter([0])["cladec"] == pytest.approx((0.2 + 0.2 + 0.4) / 3)
    assert one.scatter([0, 1])["cladec"] == pytest.approx((0.2 + 0.2 + 0.4) / 6)
    assert np.isnan(one.scatter([0])["refae"])


def test_of_several_series_of_one_kind_the_longest_is_taken(monkeypatch):
    short, long = series(), series(explained=((0, 0, 0), (9, 9, 9), (5, 5, 5)))
    records = [SimpleNamespace(kept=[one]) for one in (short, long, short, series(coat.AGE, explained=((0, 0, 0),)))]
    monkeypatch.setattr(coat, "_of", lambda record: iter(record.kept))
    assert coat.series(records) == [long]  # one explanation alone is no series


def test_the_figure_has_a_note_for_each_garment_and_explanation(committed):
    text = coat.figure(committed).data
    steps = sum(len(one.steps) for one in committed)
    assert text.count("What changes is") == steps * len(coat.garments(committed))
    assert len(text) < 1_500_000


def test_what_is_told_is_measured(committed):
    text = coat.told(committed)
    one = committed[0]
    apart = one.scatter(one.places(coat.garments(committed)))
    assert f"{apart['cladec']:.0%} with {one.changes}" in text
    assert "of the way from white to black (root mean square)" in text.split("\n")[0]
    assert text.count("\n| ") == len(committed) + 2
