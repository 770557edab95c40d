"""Claims B32-B36, about subsets of channels: on made-up rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, UNDECIDED
from cladec_companion.papers.cladec.subsets import captions, claims
from cladec_companion.records.record import Record

DECIDE = {claim.key: claim.decide for claim in claims.CLAIMS}
FLOOR = "mean training image"


def made_record(
    losses, *, accuracy=None, disjoint=(), random=(), single=(), per_class=(), seeds=(0, 1, 2), floor=FLOOR
):
    """A record with the loss of each nested size, of disjoint and of random subsets.

    `single` are accuracies of single channels; `per_class` is [(gain, accuracy of C, probe) of each class] for each
    disjoint subset.
    """
    rows = []

    def add(subset, size, number, method, metric, value, name=""):
        for seed in seeds:
            rows.append(
                {
                    "dataset": "digits", "architecture": "vgg11", "layer": "conv4", "seed": seed, "subset": subset,
                    "size": size, "number": number, "method": method, "class": name, "metric": metric,
                    "value": value * (1 + 0.001 * seed),
                }
            )  # fmt: skip

    add("floors", 0, 0, "classifier", "test_images", 400)
    for name in ("", *map(str, range(10))):
        add("floors", 0, 0, floor, "loss_standardised", 0.7, name)
    for size, loss in losses.items():
        add("nested", size, 0, "cladec", "loss_standardised", loss)
        add("nested", size, 0, "cladec", "accuracy", (accuracy or {}).get(size, 0.5))
        add("nested", size, 0, "cladec", "loss_raw_mean", loss / 8)
        add("nested", size, 0, "cladec", "loss_raw_sum", loss * 128)
        add("nested", size, 0, "probe", "accuracy", 0.9)
        add("nested", size, 0, "activation", "dead_channels", 3)
        for label in range(10):
            add("nested", size, 0, "cladec", "loss_standardised", loss, str(label))
    for number, value in enumerate(single):
        add("single", 1, number, "cladec", "accuracy", value)
    for kind, values in (("disjoint", disjoint), ("random", random)):
        for number, loss in enumerate(values):
            add(kind, 10, number, "cladec", "loss_standardised", loss)
    for number, classes in enumerate(per_class):
        for label, (gain, hit, probe) in enumerate(classes):
            add("disjoint", 10, number, "cladec", "loss_standardised", 1 - gain, str(label))
            add("disjoint", 10, number, "cladec", "accuracy", hit, str(label))
            add("disjoint", 10, number, "probe", "accuracy", probe, str(label))
    return Record(Path(), pd.DataFrame(rows), {}, {"configuration": {}})


FALLING = {512: 0.20, 128: 0.22, 10: 0.5, 1: 0.6}
SPREAD = np.linspace(-0.02, 0.02, 5)
WIDE = 9 * SPREAD
RNG = np.random.default_rng(5)
BASE = np.linspace(0.1, 0.5, 10)  # some classes are easy for every subset
SHIFT = np.array([[RNG.permutation(5)[number] / 10 for _ in range(10)] for number in range(5)])
SPECIFIC = [[(base + own, base + own, base + own) for base, own in zip(BASE, row, strict=True)] for row in SHIFT]
EASY = [[tuple(base + 0.01 * RNG.normal(size=3)) for base in BASE] for _ in range(5)]


@pytest.mark.parametrize(
    ("key", "verdict", "made"),
    [
        ("B32", HOLDS, {"losses": FALLING}),
        ("B32", FAILS, {"losses": dict(zip(FALLING, list(FALLING.values())[::-1], strict=True))}),
        ("B32", HOLDS, {"losses": FALLING | {128: 0.199}}),  # one step of half a per cent the other way is no trend
        ("B32", UNDECIDED, {"losses": {512: 0.2}}),
        ("B33", HOLDS, {"losses": FALLING}),
        ("B33", FAILS, {"losses": FALLING | {128: 0.4}}),
        ("B33", UNDECIDED, {"losses": {512: 0.2}}),
        ("B33", UNDECIDED, {"losses": FALLING, "floor": "mean image"}),
        ("B34", HOLDS, {"losses": FALLING, "per_class": SPECIFIC}),
        ("B34", FAILS, {"losses": FALLING, "per_class": [[(g, a, 1 - p) for g, a, p in row] for row in SPECIFIC]}),
        ("B34", UNDECIDED, {"losses": FALLING, "per_class": EASY}),
        ("B34", UNDECIDED, {"losses": FALLING, "per_class": SPECIFIC[:2]}),
        ("B35", HOLDS, {"losses": FALLING, "accuracy": {512: 0.9, 1: 0.15}, "single": [0.14, 0.2, 0.1, 0.17]}),
        ("B35", FAILS, {"losses": FALLING, "accuracy": {512: 0.9, 1: 0.7}, "single": [0.65, 0.7, 0.75, 0.8]}),
        ("B35", UNDECIDED, {"losses": {512: 0.2, 10: 0.4}}),
    ],
)  # fmt: skip
def test_claims_are_decided_by_made_up_rows(key, verdict, made):
    found = DECIDE[key](claims.evidence(made_record(**made)))
    assert found.verdict == verdict, found.evidence


def test_the_order_of_channels_decides_nothing_and_is_told():
    found = DECIDE["B36"](claims.evidence(made_record(FALLING, disjoint=0.5 + SPREAD, random=0.9 + SPREAD)))
    assert found.verdict == NOT_APPLICABLE
    assert "measured: -0.4" in found.evidence
    assert "measured" not in DECIDE["B36"](claims.evidence(made_record(FALLING))).evidence


def test_one_channel_is_no_evidence_about_single_channels():
    found = DECIDE["B35"](claims.evidence(made_record(FALLING, accuracy={512: 0.9, 1: 0.15}, seeds=(0,))))
    assert found.verdict == UNDECIDED
    assert "rests on 1 of 5" in found.evidence


def test_a_grey_floor_is_refused_and_the_share_of_the_improvement_is_not_shown():
    share = claims.by_size(made_record(FALLING))["share of the improvement"]
    assert share.tolist()[:2] == pytest.approx([1, (0.7 - 0.22) / (0.7 - 0.20)], abs=1e-3)
    older = made_record(FALLING, floor="mean image")
    assert claims.by_size(older)["share of the improvement"].isna().all()
    assert np.isnan(claims.Evidence(older).floor(("digits", "vgg11")))


def test_a_single_run_has_the_noise_of_others():
    alone = claims.evidence(made_record(FALLING, seeds=(0,)))
    assert DECIDE["B32"](alone).verdict == HOLDS
    near = claims.evidence(made_record({512: 0.20, 128: 0.201, 10: 0.2005, 1: 0.202}, seeds=(0,)))
    assert DECIDE["B32"](near).verdict == UNDECIDED


def test_the_paper_prints_nothing_that_could_decide():
    assert {decide(claims.printed()).verdict for decide in DECIDE.values()} == {NOT_APPLICABLE}


def test_captions_tell_every_choice_of_the_fewest_channels_and_not_the_first_alone():
    record = made_record(FALLING, accuracy={1: 0.18}, single=[0.3, 0.1], disjoint=(0.4,), seeds=(0,))
    found = captions._of_fewest(claims.Evidence(record), "accuracy", ("digits", "vgg11"), 1)
    assert captions._range(found, ".0%") == "10% to 30%"
    assert len(found) == 3
