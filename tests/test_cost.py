"""The chapter `cost`: recorded benchmarks, milliseconds from manifests, operations by layer, figures."""

import json

import pytest

from cladec_companion.engine import estimate
from cladec_companion.engine.plan import of_profile
from cladec_companion.papers import CHAPTERS, settings_for
from cladec_companion.papers.cladec.cost import costs, figures
from cladec_companion.records.files import RECORDED
from cladec_core import networks
from tests.made_up import as_claimed, made_up


def rung(training, name, times):
    return {
        "training": training, "rung": name, "images_per_second": 1234.5 * times, "times_plain": times,
        "times_before": times, "operations_per_second": 1.25e11, "share_of_peak": 0.456, "megabytes": 88.8,
        "casts_per_step": 30, "first_step_seconds": 0.123, "spread": 0.01, "repeats_bit_for_bit": True,
    }  # fmt: skip


RUNGS = [rung(name, step, times) for name in ("vgg11", "resnet10") for step, times in (("plain loop", 1), ("ours", 3))]
SIZES = [
    {"what": what, "size": size, "seconds": 0.1 * size, "times_smallest": size / 2, "exponent": 1.0}
    for what in ("images", "seeds")
    for size in (2, 4, 8, 16)
]


def test_recorded_benchmarks_are_found_by_device(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "RECORDED", tmp_path)
    assert costs.recorded() == {}
    (tmp_path / "bench").mkdir()
    for device in ("cpu", "cuda"):
        result = {"provenance": {"device": device}, "ladder": RUNGS}
        (tmp_path / "bench" / f"{device}.json").write_text(json.dumps(result))
    assert list(costs.recorded()) == ["cpu", "cuda"]
    assert costs.recorded()["cuda"]["ladder"] == RUNGS


def test_every_committed_result_beside_the_benchmarks_of_training_is_one():
    files = {path.stem for path in (RECORDED / "bench").glob("*.json")}
    assert files
    assert len(costs.recorded()) == len(files)
    assert all({"ladder", "provenance"} < result.keys() for result in costs.recorded().values())


def test_the_ladder_as_a_table():
    row = costs.ladder(RUNGS).loc[("ResNet-10", "ours")]
    assert row["images/s"] == "3,704"
    assert row["share of the peak"] == "46%"
    assert row["times the plain loop"] == 3


def test_growth_as_a_table():
    table = costs.exponents(SIZES)
    assert table.loc["images"].to_dict() == {"smallest": 2, "largest": 16, "cost of the largest": 8, "exponent": 1}


def test_milliseconds_per_image_and_epoch_from_a_manifest():
    record = made_up(as_claimed).record
    record.manifest["configuration"] |= {"decoder_epochs": 4, "classifier_epochs": 8}
    record.manifest["runs"] = [{"device": "cpu"}]
    labels = {"classifier": 80.0, "decoder conv2": 10.0, "RefAE conv2": 20.0, "evaluation ClaDec conv2": 40.0}
    record.manifest["cells"] = {"fashion_mnist/vgg11/conv2/3": {"run": 0, "trainings": labels}}
    rows = record.rows
    count = {"method": "classifier", "metric": "train_images", "value": 1000.0}
    rows.loc[len(rows)] = {**rows.iloc[0].to_dict(), "dataset": "fashion_mnist", "architecture": "vgg11", **count}
    found = costs.trainings(record).set_index("kind")
    assert found["milliseconds"].to_dict() == {"classifier": 10, "decoder": 2.5, "RefAE": 5, "evaluation": 5}
    assert found["layer"].to_dict() == {"classifier": "-", "decoder": "conv2", "RefAE": "conv2", "evaluation": "conv2"}
    assert set(found["seed"]) == {3}
    # The cell had half of the processor.
    record.manifest["cells"]["fashion_mnist/vgg11/conv2/3"] |= {"seconds": 150.0, "cpu_seconds": 75.0}
    assert costs.trainings(record).set_index("kind")["milliseconds"].to_dict() == {
        "classifier": 5, "decoder": 1.25, "RefAE": 2.5, "evaluation": 2.5
    }  # fmt: skip


def test_operations_by_layer_add_up():
    layers = list(networks.LAYER_INDEX["vgg5"]["code"].values())
    table = costs.by_layer("vgg5", layers)
    assert list(table.index) == layers
    assert (table["RefAE"] > table["decoder"]).all()
    # A single layer of 3x3 taps, 1 -> 32 channels onto 16x16 positions, is trained on top of the decoder: forward,
    # and backward for the weights only.
    first = 2 * 2 * 9 * 32 * 16 * 16 / 1e6
    entry = 2 * 9 * 32 * 32 * 16 * 16 / 1e6  # the decoder's first layer now also passes a gradient on
    assert table.loc["conv1", "RefAE"] - table.loc["conv1", "decoder"] == pytest.approx(first + entry, abs=0.02)


def test_figures_have_a_panel_for_each_training_and_size():
    drawn = figures.climb(RUNGS)
    assert [axis.get_title() for axis in drawn.axes] == ["VGG-11", "ResNet-10"]
    assert [bar.get_width() for bar in drawn.axes[0].containers[0]] == [3, 1]
    assert [axis.get_title() for axis in figures.growth(SIZES).axes] == ["images", "seeds"]


def test_the_settings_of_the_chapter_are_checked():
    assert settings_for("cost", "smoke").batch_size == 8
    assert settings_for("cost").width == 1
    with pytest.raises(ValueError, match="repeats is 0; valid: from 1 to 1000"):
        settings_for("cost", repeats=0)


def test_profiles_cost_more_from_quick_to_paper():
    chapters = {name: CHAPTERS[name] for name in ("layers", "controls")}  # one with printed tables, one without
    table = costs.profiles(chapters, 1e12)
    assert list(table.index) == ["quick", "laptop", "paper", "paper, Tables 2 to 8 alone"]
    hours = [float(text.replace(",", "")) for text in table["hours"]]
    assert hours[0] < hours[1] < hours[3] < hours[2]
    tasks = of_profile(chapters, "laptop")
    assert table.loc["laptop", "cells"] == len(tasks)
    total = sum(one.operations for found in estimate.costs(tasks).values() for one in found)
    assert table.loc["laptop", "operations"] == estimate.with_unit(total)
    assert hours[1] == pytest.approx(total / 1e12 / 3600, rel=0.05)
