"""Tables: the same numbers as a plain calculation, and the transcription of the paper."""

import statistics

import pandas as pd
import pytest

from cladec_companion.evidence import tables
from cladec_companion.papers.cladec import printed_tables
from tests.made_up import as_claimed, made_up


def test_published_numbers_are_those_of_the_transcription():
    printed = printed_tables.layers()
    assert len(printed) == 30 * 6
    cell = printed.loc["fashion_mnist", "vgg11", -1]
    assert cell.loc["rec_cladec", ["mean", "sd", "n"]].tolist() == [0.24, 0.0183, 5]
    assert cell.loc["d_acc", "mean"] == pytest.approx(0.905 - 0.917)
    assert printed.loc[("cifar100", "resnet10", -5, "rec_refae"), "mean"] == 0.005


def test_summary_is_mean_and_sample_deviation_over_seeds_with_paired_differences():
    summary = made_up(as_claimed).summary
    losses = [0.05 * 5 + 0.0005 * seed for seed in range(3)]
    cell = summary.loc["fashion_mnist", "vgg11", -1]
    assert cell.loc["rec_cladec", "mean"] == pytest.approx(statistics.mean(losses))
    assert cell.loc["rec_cladec", "sd"] == pytest.approx(statistics.stdev(losses))
    assert cell.loc["rec_cladec", "n"] == 3
    assert cell.loc["d_rec", "sd"] == pytest.approx(0, abs=1e-12)  # the same wobble in both methods


def test_side_by_side_shows_measured_cells_and_the_paper_beside_them():
    record = made_up(as_claimed).record
    table = tables.side_by_side(
        {"published": printed_tables.layers(), "this run": printed_tables.layers_of(record)}, printed_tables.HEADINGS
    )
    assert table.index.get_level_values("data").unique().tolist() == ["Fashion-MNIST"]
    assert table.loc[("Fashion-MNIST", "VGG-11", -1, "published"), "Rec ClaDec"] == "0.240 ± 0.018"
    assert table.loc[("Fashion-MNIST", "VGG-11", -1, "this run"), "n"] == 3
    digits = made_up(as_claimed, dataset="digits", seeds=(0,)).summary
    alone = tables.side_by_side({"published": printed_tables.layers(), "this run": digits}, printed_tables.HEADINGS)
    assert alone.index.get_level_values("source").unique().tolist() == ["this run"]
    assert alone["Rec ClaDec"].iloc[0] == "0.250"


def test_layer_index_follows_the_records_map():
    record = made_up(as_claimed).record
    record.rows = pd.concat([record.rows, record.rows.head(1).assign(layer="logits")], ignore_index=True)
    assert tables.layer_index(record).iloc[-1] is pd.NA
    record.manifest["configuration"]["index_map"] = "paper"
    assert tables.layer_index(record).iloc[-1] == -1
    assert tables.layer_index(record)[record.rows["layer"] == "conv4a"].eq(-3).all()
