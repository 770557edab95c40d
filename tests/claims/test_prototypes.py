"""Claim B37, about learnt prototypes: on made-up rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, NOT_COMPARABLE, UNDECIDED
from cladec_companion.papers.cladec.prototypes import claims
from cladec_companion.records.record import Record


def made_up(count=15, *, prototype=0.2, cladec=0.3, ratio=0.5, ordinary=0.9, accuracy=0.95, falling=0.0, index=None):
    """Evidence from prototypes that are nearly alike, beside images of texture 1.

    `ratio` is how much nearer prototypes are to a reconstruction than to a class mean, `ordinary` the same of ordinary
    images; None leaves it out, as older records do.
    """
    cell = {"dataset": "mnist", "architecture": "vgg11", "layer": "conv4", "prototypes": count, "seed": 0}
    rows = []
    for number in range(1, count + 1):
        values = {
            ("prototype", "texture"): prototype, ("cladec", "texture"): cladec, ("original", "texture"): 1.0,
            ("prototype", "distance_reconstruction"): 0.02 * ratio * (1 + 0.02 * number),
            ("prototype", "distance_class_mean"): 0.02, ("original", "index"): number if index is None else index,
        }  # fmt: skip
        rows += [cell | {"number": number, "method": m, "metric": name, "value": v} for (m, name), v in values.items()]
    overall = dict.fromkeys(claims.OVERALL.values(), 0.5) | {
        ("classifier", "accuracy"): 0.98, ("network", "accuracy"): accuracy, ("classifier", "test_images"): 100,
        ("ordinary", "nearer_reconstruction"): 1.0,
    }  # fmt: skip
    if ordinary is not None:
        overall |= {
            ("ordinary", "log_distance_ratio"): np.log(ordinary), ("ordinary", "log_distance_ratio_sd"): 0.2,
            ("ordinary", "images"): 1000,
        }  # fmt: skip
    absent = {"log_distance_ratio", "log_distance_ratio_sd"} if ordinary is None else set()
    absent |= {"still_falling"} if falling is None else set()
    overall[("network", "still_falling")] = falling
    rows += [
        cell | {"number": 0, "method": method, "metric": metric, "value": value}
        for (method, metric), value in overall.items() if metric not in absent
    ]  # fmt: skip
    return claims.evidence(Record(Path(), pd.DataFrame(rows), {}, {}))


@pytest.mark.parametrize(
    ("verdict", "made", "said"),
    [
        (HOLDS, {}, "3 of 3"),
        (FAILS, {"prototype": 0.6}, "the opposite in 1"),
        (FAILS, {"cladec": 0.6}, "the opposite in 1"),
        (FAILS, {"ratio": 1.5}, "the opposite in 1"),
        (UNDECIDED, {"count": 3}, "open"),
        (UNDECIDED, {"index": 7}, "1.00 (0.21 to 1.00)"),
        (UNDECIDED, {"ordinary": None}, "ordinary images is not recorded yet"),
        (NOT_COMPARABLE, {"accuracy": 0.5}, "0.50 against the classifier's 0.98"),
        (NOT_COMPARABLE, {"falling": 1.0}, "still falling"),
        (HOLDS, {"falling": None}, "was not recorded"),
    ],
)
def test_claim_is_decided_by_made_up_rows(verdict, made, said):
    found = claims.b37(made_up(**made))
    assert found.verdict == verdict, found.evidence
    assert said in found.evidence


def test_being_nearer_to_a_reconstruction_says_nothing_if_every_image_is():
    """All prototypes are nearer to a reconstruction than to a class mean, but no more so than ordinary images."""
    assert claims.b37(made_up(ratio=0.5, ordinary=0.58)).verdict == UNDECIDED
    assert claims.b37(made_up(ratio=0.5, ordinary=0.3)).verdict == FAILS


def test_the_paper_prints_nothing_that_could_decide():
    assert [claim.decide(claims.printed()).verdict for claim in claims.CLAIMS] == [NOT_APPLICABLE]
