"""Which signs give a cheating classifier away: the findings of the chapter your_own, on made-up rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cladec_companion.papers.cladec.your_own import claims
from cladec_companion.records.record import Record

SEEDS = range(4)


def made_up(**changes):
    """A record in which everything gives the biased classifier away, but for some changes."""
    clear = {
        "conv4": {
            ("ClaDec, biased", "share"): 0.2, ("ClaDec, biased", "share_others"): 0.2, ("two models", "share"): 0.3,
            ("two models", "share_others"): 0.4, ("ClaDec, honest", "drawn_bare"): 0.7,
            ("ClaDec, biased", "drawn_others"): 0.8, ("ClaDec, honest", "drawn_others"): 0.1,
            ("ClaDec, biased", "changed_others"): 0.1, ("ClaDec, honest", "changed_others"): 0.01,
        },
        "classifier": {
            ("area", "share"): 0.04, ("occlusion, biased", "share"): 0.7, ("LIME, biased", "share"): 0.5,
        },
    }  # fmt: skip
    rows = [
        {"dataset": "mnist", "architecture": "vgg5", "layer": layer, "method": method, "seed": seed, "metric": metric,
         "value": changes.get(f"{method}, {metric}", value) * (1 + (0 if method == "area" else 0.01 * seed))}
        for seed in SEEDS
        for layer, values in clear.items()
        for (method, metric), value in values.items()
    ]  # fmt: skip
    return Record(Path(), pd.DataFrame(rows), {}, {})


def test_a_finding_holds_if_all_its_intervals_do():
    found = claims.findings(made_up())["conv4"]
    assert found.str.startswith("holds: so in ").all()


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({"LIME, biased, share": 0.07}, [0]),
        ({"ClaDec, biased, share": 0.07}, [1]),
        ({"two models, share": 0.07}, [2]),
        ({"ClaDec, honest, drawn_bare": 0.3}, [3]),
        ({"ClaDec, biased, share_others": 0.07}, [4]),
        ({"two models, share_others": 0.07}, [5]),
        ({"ClaDec, honest, drawn_others": 0.6}, [6]),
        ({"ClaDec, biased, drawn_others": 0.4}, [6]),
        ({"ClaDec, honest, changed_others": 0.06}, [7]),
        ({"area, share": 0.3}, [0, 1, 2, 4, 5]),
    ],
)
def test_a_finding_fails_by_its_own_numbers(change, fails):
    found = claims.findings(made_up(**change))["conv4"]
    assert list(np.flatnonzero(found.str.startswith("does not hold"))) == fails
    assert found.drop(found.index[fails]).str.startswith("holds").all()


def test_what_differs_from_run_to_run_is_open():
    record = made_up()
    noisy = (record.rows["method"] == "two models") & (record.rows["metric"] == "share")
    record.rows.loc[noisy, "value"] = [0.3, 0.02, 0.01, 0.25]
    found = claims.findings(record)["conv4"]
    assert found.iloc[2].startswith("undecided: so in 0 of 1, open in 1")


def test_a_reference_that_had_not_converged_decides_nothing():
    record = made_up()
    marks = record.rows[record.rows["metric"] == "drawn_others"].assign(metric="still_falling", value=1.0)
    found = claims.findings(Record(Path(), pd.concat([record.rows, marks]), {}, {}))["conv4"]
    assert found.iloc[6].startswith("not comparable: not converged: ClaDec, biased at conv4")
