"""B51 and our questions beside it: which rows decide, and what bars a comparison."""

from pathlib import Path

import pandas as pd
import pytest

from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, NOT_COMPARABLE, UNDECIDED
from cladec_companion.papers.cladec.sanity import claims
from cladec_companion.records.record import Record

DECIDE = {claim.key: claim.decide for claim in claims.CLAIMS}
AS_ASKED = {
    "trained": {("cladec", "accuracy"): 0.90, ("refae", "accuracy"): 0.86, ("classifier", "accuracy"): 0.92,
                ("cladec", "loss_standardised"): 0.3, ("refae", "loss_standardised"): 0.1,
                ("classifier", "test_images"): 10_000},
    "shuffled": {("cladec", "accuracy"): 0.80, ("classifier", "accuracy"): 0.1, ("classifier", "accuracy_own"): 0.7,
                 ("classifier", "accuracy_train"): 0.1},
    "pooled": {("cladec", "accuracy"): 0.91, ("refae", "accuracy"): 0.86, ("classifier", "accuracy"): 0.9,
               ("cladec", "loss_standardised"): 0.4, ("refae", "loss_standardised"): 0.1,
               ("classifier at rate 0.1", "accuracy_train"): 0.1, ("classifier at rate 0.1", "accuracy"): 0.1,
               ("classifier at rate 0.01", "accuracy_train"): 0.9, ("classifier at rate 0.01", "accuracy"): 0.9},
    "again": {(method, metric): 0.8 for method in ("cladec", "difference", "gradcam")
              for metric in ("rank_correlation", "ssim")},
    "cascade 2": {("cladec", "rank_correlation"): 1.0, ("difference", "rank_correlation"): 1.0,
                  ("gradcam", "rank_correlation"): 0.5},
    "cascade 9": {(method, "rank_correlation"): 0.2 for method in ("cladec", "difference", "gradcam")},
    "attack": {("cladec", "attack_change"): 0.1, ("gradcam", "attack_change"): 0.4},
}  # fmt: skip


def record(changes=None, seeds=(0, 1, 2), without=()):
    """A record in which every claim is true, but for `changes[check, method, metric]`."""
    rows = []
    for check, values in AS_ASKED.items():
        name, _, step = check.partition(" ")
        for at, ((method, metric), value) in enumerate(values.items()):
            for seed in seeds:
                found = (changes or {}).get((check, method, metric), value)
                if metric != "test_images":
                    found += 0.001 * seed * (1 + at)
                rows.append(
                    {"dataset": "fashion_mnist", "architecture": "vgg11", "layer": "conv3", "check": name, "seed": seed,
                     "randomised": int(step or 0), "method": method, "metric": metric, "value": found}
                )  # fmt: skip
    table = pd.DataFrame([row for row in rows if row["check"] not in without])
    return Record(Path(), table, {}, {"configuration": {"index_map": "code"}, "cells": {}, "profile": "laptop"})


@pytest.mark.parametrize(
    ("key", "changes", "verdict"),
    [
        ("B51", {}, HOLDS), ("B51", {("attack", "cladec", "attack_change"): 0.9}, FAILS),
        ("Q1", {}, HOLDS), ("Q1", {("shuffled", "cladec", "accuracy"): 0.95}, FAILS),
        ("Q2", {}, HOLDS), ("Q2", {("cascade 9", "cladec", "rank_correlation"): 0.9}, FAILS),
        ("Q3", {}, HOLDS), ("Q3", {("cascade 9", "difference", "rank_correlation"): 0.9}, FAILS),
        ("Q4", {}, HOLDS), ("Q4", {("cascade 9", "gradcam", "rank_correlation"): 0.9}, FAILS),
        ("Q5", {}, HOLDS), ("Q5", {("pooled", "cladec", "accuracy"): 0.7}, FAILS),
        ("Q5", {("pooled", "cladec", "loss_standardised"): 0.05}, FAILS),
        # Of signs that are not clear nothing follows, nor of a classifier that has not learnt.
        ("Q5", {("trained", "cladec", "accuracy"): 0.86}, UNDECIDED),
        ("Q5", {("pooled", "classifier", "accuracy"): 0.3}, NOT_COMPARABLE),
    ],
)  # fmt: skip
def test_rows_decide(key, changes, verdict):
    found = DECIDE[key](claims.evidence(record(changes)))
    assert found.verdict == verdict, found.evidence


def test_a_smaller_share_is_claimed_in_the_paper_and_the_question_is_ours_elsewhere():
    assert {decide(claims.printed()).verdict for decide in DECIDE.values()} == {NOT_APPLICABLE}
    ours = {claim.key: claim.section for claim in claims.CLAIMS if claim.key.startswith("Q")}
    assert set(ours.values()) == {"ours"}
    assert all("ours" in DECIDE[key](claims.printed()).evidence for key in ours)


@pytest.mark.parametrize(("key", "check"), [("B51", "attack"), ("Q1", "shuffled"), ("Q2", "again"), ("Q4", "cascade"),
                                            ("Q5", "pooled")])  # fmt: skip
def test_without_its_check_a_claim_is_undecided(key, check):
    found = record(without={check, f"{check} 2", f"{check} 9"})
    assert DECIDE[key](claims.evidence(found)).verdict == UNDECIDED


def test_a_cascade_that_ends_above_the_layer_says_nothing_of_it():
    """There ClaDec's images are the same by construction, and alike beyond any other seed's."""
    found = record()
    short = Record(Path(), found.rows[found.rows["randomised"] != 9], {}, found.manifest)
    for key in ("Q2", "Q3", "Q4"):
        verdict = DECIDE[key](claims.evidence(short))
        assert (verdict.verdict, verdict.comparisons) == (UNDECIDED, ())
        assert "down to the layer" in verdict.evidence


def test_how_far_shuffled_labels_were_learnt_is_said():
    said = "the classifier of shuffled labels has 70% of its own labels right, of which 10 classes give 10% by chance"
    assert said in DECIDE["Q1"](claims.evidence(record())).evidence
    table = claims.learnt(record())["on its own labels"].droplevel(["dataset", "architecture", "layer"])
    assert table["shuffled"].startswith("0.70")
    assert table["trained"] == "–"


def test_a_training_that_was_still_falling_bars_what_rests_on_it():
    found = record()
    row = found.rows[(found.rows["check"] == "cascade") & (found.rows["randomised"] == 9)].iloc[:1]
    marks = [row.assign(method=method, metric="still_falling", value=1.0) for method in ("cladec", "difference")]
    found.rows = pd.concat([found.rows, *marks])
    verdicts = {key: decide(claims.evidence(found)).verdict for key, decide in DECIDE.items()}
    assert {key for key, verdict in verdicts.items() if verdict == NOT_COMPARABLE} == {"Q2", "Q3"}


def test_tables_show_what_was_recorded():
    found = record(seeds=(0,))
    assert list(claims.rates(found)["training images"]) == [pytest.approx(0.1), pytest.approx(0.9)]
    assert claims.attacked(found).iloc[0].tolist()[2:] == [0.1, 0.4]
    table = claims.learnt(found)
    assert table.loc[("Fashion-MNIST", "VGG-11", "conv3", "shuffled"), "Acc ClaDec"] == "0.800"
    assert table.loc[("Fashion-MNIST", "VGG-11", "conv3", "shuffled"), "Rec RefAE"] == "–"
