"""The table of controls: does the sign of ΔRec and of ΔAcc survive each of them?"""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from cladec_companion.evidence import noise
from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, UNDECIDED
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.controls import figures
from cladec_companion.papers.cladec.controls.claims import (
    answers,
    evidence,
    printed,
    robustness,
    survival,
    survival_table,
)
from cladec_companion.papers.cladec.controls.settings import BASELINE
from cladec_companion.records.record import Record


def made_up(gaps, seeds=(0, 1, 2), spread=0.001):
    """A record in which `gaps[control]` is (ΔRec, ΔAcc); ΔRec None: the control has no losses."""
    rows, run = [], {"dataset": "fashion_mnist", "architecture": "vgg11", "layer": "conv3"}
    for control, (rec, acc) in gaps.items():
        for seed in seeds:
            values = {
                ("cladec", "accuracy"): 0.9 + acc + spread * seed, ("refae", "accuracy"): 0.9,
                ("classifier", "accuracy"): 0.92, ("classifier", "test_images"): 10_000,
            }  # fmt: skip
            if rec is not None:
                for scale in ("loss_raw_sum", "loss_standardised"):
                    values |= {("cladec", scale): 10 + rec + spread * seed, ("refae", scale): 10.0}
            rows += [
                run | {"control": control, "seed": seed, "method": method, "metric": metric, "value": value}
                for (method, metric), value in values.items()
            ]  # fmt: skip
    return Record(Path(), pd.DataFrame(rows), {}, {"configuration": {"index_map": "code"}, "cells": {}})


GAPS = {BASELINE: (2, 0.02), "unit": (3, -0.02), "sigmoid": (-2, 0.01), "originals": (None, 0.03), "table1": (2, 0.0)}


def test_signs_survive_change_or_stay_open():
    found = survival(made_up(GAPS))["verdict"].droplevel([0, 1, 2]).unstack("metric")
    assert found["d_acc"].to_dict() == {
        BASELINE: "", "unit": FAILS, "sigmoid": HOLDS, "originals": HOLDS, "table1": UNDECIDED
    }  # fmt: skip
    assert found["d_rec"].dropna().to_dict() == {BASELINE: "", "unit": HOLDS, "sigmoid": FAILS, "table1": HOLDS}


def test_a_classifier_that_did_not_learn_decides_nothing():
    record = made_up(GAPS)
    of_classifier = (record.rows["method"] == "classifier") & (record.rows["metric"] == "accuracy")
    for accuracy, verdict in ((0.45, UNDECIDED), (0.47, FAILS)):  # half of the baseline's is 0.46
        record.rows.loc[of_classifier & (record.rows["control"] == "unit"), "value"] = accuracy
        assert survival(record)["verdict"].xs("d_acc", level="metric").xs("unit", level="control").item() == verdict
    assert survival_table(record).set_index("control").loc["unit", "Acc of C"] == "0.470"


def test_an_unclear_baseline_leaves_everything_open():
    found = survival(made_up(GAPS | {BASELINE: (2, 0.0)}))["verdict"].xs("d_acc", level="metric")
    assert set(found) == {"", UNDECIDED}


def test_noise_is_half_the_interval_over_several_seeds():
    row = survival(made_up({BASELINE: (2, 0.02)})).xs("d_acc", level="metric").iloc[0]
    assert row["mean"] == pytest.approx(0.021)
    assert row["noise"] == pytest.approx(stats.t.ppf(0.975, 2) * 0.001 / 3**0.5, rel=1e-5)


def test_one_seed_has_the_noise_that_other_records_know(monkeypatch):
    known = noise.Noise({
        (noise.LOSS, ""): noise.Spread(0.03, 10**6, True, "made up"),
        (noise.ACCURACY, ""): noise.Spread(0.002, 10**6, False, "made up"),
    })  # fmt: skip
    monkeypatch.setattr(printed_tables, "known", lambda: known)
    gaps = survival(made_up({BASELINE: (0.9, 0.02)}, seeds=(0,))).droplevel([0, 1, 2])
    two = stats.norm.ppf(0.975)
    assert gaps.loc[(BASELINE, "d_rec"), "noise"] == pytest.approx(two * 0.03 * (10.9**2 + 10**2) ** 0.5, rel=1e-3)
    variance = 2 * 0.002**2 + (0.92 * 0.08 + 0.9 * 0.1) / 10_000
    assert gaps.loc[(BASELINE, "d_acc"), "noise"] == pytest.approx(two * variance**0.5, rel=1e-3)


def test_a_control_that_had_not_converged_has_no_sign():
    record = made_up(GAPS)
    marks = record.rows[record.rows["metric"] == "accuracy"].query("method in ('cladec', 'refae')")
    falling = (marks["method"] == "refae") & (marks["control"] == "unit")
    marks = marks.assign(metric="still_falling", value=falling.astype(float))
    found = survival(replace(record, rows=pd.concat([record.rows, marks])))
    assert found["verdict"].xs("unit", level="control").tolist() == [UNDECIDED, UNDECIDED]
    assert found["verdict"].xs(("sigmoid", "d_acc"), level=("control", "metric")).item() == HOLDS
    reasons = [comparison.obstacle for comparison in found["comparison"] if comparison.obstacle]
    assert any("not converged: RefAE at conv3 unit" in reason for reason in reasons)


def test_the_table_has_a_row_for_each_control_in_their_order():
    table = survival_table(made_up(GAPS))
    assert list(table["control"]) == [BASELINE, "originals", "unit", "sigmoid", "table1"]
    by_name = table.set_index("control")
    assert by_name.loc[BASELINE, ["sign of ΔRec", "sign of ΔAcc"]].tolist() == ["+", "+"]
    assert by_name.loc["originals", ["ΔRec (raw sum per image)", "sign of ΔRec"]].tolist() == ["–", "–"]
    assert by_name.loc["unit", "ΔAcc"] == "-0.019 ± 0.001"
    assert by_name.loc["unit", "sign of ΔAcc"] == FAILS
    assert survival_table(made_up({BASELINE: (-2, 0.0)}))["sign of ΔAcc"].tolist() == ["unclear"]
    assert survival_table(made_up({BASELINE: (-2, 0.0)}))["sign of ΔRec"].tolist() == ["−"]


def test_the_answer_counts_the_controls():
    kept = {name: GAPS[name] for name in (BASELINE, "sigmoid", "originals")}
    assert robustness(evidence(made_up(kept)), "d_acc").verdict == HOLDS
    found = robustness(evidence(made_up(GAPS)), "d_acc")
    assert (found.verdict, found.evidence[:44]) == (FAILS, "ΔAcc has the baseline's sign in 2 of 4, the ")
    assert robustness(evidence(made_up(GAPS | {"unit": (3, 0.0)})), "d_acc").verdict == UNDECIDED
    table = answers({"published": printed(), "this run": evidence(made_up(GAPS))})
    assert table["published"].str.startswith(NOT_APPLICABLE).all()


def test_the_baseline_stands_beside_the_papers_tables():
    summary = evidence(made_up(GAPS)).summary
    assert summary.loc[("fashion_mnist", "vgg11", -3, "d_rec"), "mean"] == pytest.approx(2.001)
    assert set(summary.index.get_level_values("index")) == {-3}


def test_seeds_are_dots_and_verdicts_have_markers():
    axis = figures.differences(made_up(GAPS)).axes[1]
    dots = [line for line in axis.lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in dots] == [3] * len(GAPS)
    labels = axis.get_legend_handles_labels()[1]
    assert set(labels) == {"baseline", "sign of the baseline", "the other sign", "undecided"}
