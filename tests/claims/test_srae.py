"""The claims of the SRAE paper: on the printed numbers, and on made-up records in which they are true or false."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, NOT_COMPARABLE, UNDECIDED
from cladec_companion.evidence.comparisons import ABOVE
from cladec_companion.papers.srae import metrics
from cladec_companion.papers.srae import printed as paper
from cladec_companion.papers.srae.concepts import claims
from cladec_companion.records.record import Record, recorded

DECIDE = {claim.key: claim.decide for claim in claims.CLAIMS}
PRINTED = {
    **{f"S{number}": HOLDS for number in (1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 13, 14)},
    **{f"S{number}": FAILS for number in (5, 19, 20)},
    **{f"S{number}": NOT_APPLICABLE for number in (15, 16, 17, 18)}, "S9": UNDECIDED,
}  # fmt: skip
# Method -> F_reg, F_cls, O1, O2, locality, in which every ordering is as claimed.
METHODS = {
    "SRAE": (0.2, 0.99, 0.5, 1.0, 0.5), "NN": (0.1, 1.0, 2.0, 9.0, 1.0), "SAE": (0.3, 0.98, 1.0, 3.0, 0.9),
    "CAE": (2.0, 0.8, 0.4, 0.9, 0.8), "Lasso": (1.5, 0.85, 1.5, 5.0, 0.7), "SRAE, η = 0": (0.2, 0.99, 0.9, 2.0, 0.6),
    "SRAE, β = 0": (0.2, 0.99, 0.6, 1.5, 0.8),
}  # fmt: skip


def as_claimed():
    """(method, features, metric) -> value, in which every claim is true."""
    values = {}
    for method, numbers in METHODS.items():
        for metric, value in zip(("f_reg", "f_cls", "o1", "o2", "locality"), numbers, strict=True):
            values[method, 5, metric] = value
        values[method, 5, "f_reg_train"], values[method, 5, "f_cls_train"] = numbers[:2]
        values[method, 5, "f_cls_own"] = values[method, 5, "f_cls_others"] = numbers[1]
        values[method, 5, "pull_away"] = 0.3 if method == "SRAE, η = 0" else 0.1
        values[method, 5, "carried"] = 0.9 if method == "NN" else 0.5
        values[method, 5, "split"] = 0.1 if method == "NN" else 0.7
    values |= {("logit", 0, "locality"): 0.95, ("Z", 0, "locality"): 0.48, ("original", 0, "masked_0"): 0.95}
    values |= {("constant", 0, "f_cls_own"): 0.2, ("constant", 0, "f_cls_others"): 0.9}
    values |= {("SRAE", 8, "f_reg"): 0.2, ("Lasso", 10, "f_reg"): 1.2, ("Lasso", 80, "f_reg"): 0.6}
    for method, first in (("x-features", 0.94), ("logit", 0.8)):
        values |= {(method, 0, f"masked_{gamma}"): first - 0.01 * at for at, gamma in enumerate((1, 5, 10, 30))}
    return values


def record(values=None, accuracy=0.97, seeds=5):
    """A record of both data sets; numbers differ a little from seed to seed."""
    values = as_claimed() if values is None else values
    rows = []
    for dataset in ("mnist", "fashion_mnist"):
        for seed in range(seeds):
            axes = {"dataset": dataset, "architecture": "vgg5", "layer": "units", "seed": seed}
            noise = np.random.default_rng([seed, len(dataset)])
            rows.append(
                axes | {"target": -1, "features": 0, "method": "classifier", "metric": "accuracy", "value": accuracy}
            )
            rows += [
                axes | {"target": target, "features": features, "method": method, "metric": metric,
                        "value": value * (1 + 1e-4 * noise.normal())}
                for (method, features, metric), value in values.items() for target in (0, 4)
            ]  # fmt: skip
    return Record(None, pd.DataFrame(rows), {}, {"configuration": {"features": 5}, "cells": {}})


@pytest.mark.parametrize("key", DECIDE)
def test_the_printed_numbers_are_judged(key):
    assert DECIDE[key](claims.printed()).verdict == PRINTED[key]


@pytest.mark.parametrize("key", sorted(DECIDE, key=lambda key: int(key[1:])))
def test_each_claim_holds_where_it_is_true(key):
    verdict = DECIDE[key](claims.evidence(record()))
    assert verdict.verdict == (NOT_APPLICABLE if key in ("S19", "S20") else HOLDS), verdict.evidence


FALSE = {
    "S1": {("NN", 5, "f_reg"): 0.25}, "S2": {("CAE", 5, "f_reg"): 0.5}, "S3": {("SAE", 5, "f_cls_own"): 0.75},
    "S4": {("Lasso", 5, "o2"): 0.95}, "S5": {("CAE", 5, "o1"): 0.6}, "S6": {("CAE", 5, "locality"): 0.45},
    "S7": {("logit", 0, "locality"): 0.45}, "S8": {("Z", 0, "locality"): 0.4}, "S10": {("Lasso", 10, "f_reg"): 0.35},
    "S11": {("Lasso", 80, "f_reg"): 0.35}, "S12": {("logit", 0, "masked_30"): 0.93},
    "S13": {("logit", 0, "masked_30"): 0.93}, "S14": {("x-features", 0, "masked_5"): 0.85},
    "S15": {("SRAE", 8, "f_reg"): 0.15}, "S16": {("NN", 5, "split"): 0.8},
    "S17": {("SRAE, η = 0", 5, "o1"): 0.4}, "S18": {("SRAE, β = 0", 5, "locality"): 0.4},
}  # fmt: skip


@pytest.mark.parametrize("key", FALSE)
def test_each_claim_fails_where_a_part_of_it_is_false(key):
    assert DECIDE[key](claims.evidence(record(as_claimed() | FALSE[key]))).verdict == FAILS


@pytest.mark.parametrize(
    "part", [{("NN", 5, "carried"): 0.7}, {("SRAE", 5, "carried"): 0.8}], ids=["NN has two reasons", "SRAE has one"]
)
def test_less_degenerate_than_nn_is_not_enough(part):
    assert DECIDE["S16"](claims.evidence(record(as_claimed() | part))).verdict == FAILS


def kept_by(predicted):
    """F_cls of one and the same logit, of ten classes of equal size: over all, over the class, over others."""
    logits = 10 * torch.eye(10).repeat(20, 1)
    same = torch.full((200,), predicted)
    return metrics.unchanged_classes(same, logits, 0), *metrics.unchanged_by_class(same, logits, 0)


def test_a_low_constant_keeps_most_classes_and_fails_all_the_same():
    overall, own, others = kept_by(-1.0)
    assert overall == 0.9
    values = {("SAE", 5, "f_cls"): 0.99, ("SAE", 5, "f_cls_own"): own, ("SAE", 5, "f_cls_others"): others}
    assert DECIDE["S3"](claims.evidence(record(as_claimed() | values))).verdict == FAILS


def test_nothing_follows_where_a_constant_between_the_classes_keeps_all_of_them():
    _, own, others = kept_by(5.0)
    values = {("constant", 0, "f_cls_own"): own, ("constant", 0, "f_cls_others"): others}
    verdict = DECIDE["S3"](claims.evidence(record(as_claimed() | values)))
    assert verdict.verdict == UNDECIDED
    assert "a constant keeps 1.000 of the classes, too" in verdict.evidence


def test_the_pull_away_term_is_judged_by_what_it_does_not_know():
    """SRAE minimises the term itself, so that neither a smaller nor a larger one of test images is a result."""
    for value in (0.3, 0.05):
        verdict = DECIDE["S17"](claims.evidence(record(as_claimed() | {("SRAE, η = 0", 5, "pull_away"): value})))
        assert verdict.verdict == HOLDS
        assert "the pull-away term itself is smaller is true by construction" in verdict.evidence
        assert f"measured: {0.1 - value:.1g}" in verdict.evidence
    found = claims.evidence(without("SRAE", "pull_away"))
    assert DECIDE["S17"](found).evidence.endswith("true by construction: SRAE minimises it")


def test_masks_of_equal_area_are_told_first_and_decide_nothing():
    values = {("logit, equal area", 0, f"masked_{gamma}"): 0.96 for gamma in claims.GAMMAS}
    values |= {("logit, equal area", 0, "masked_1"): 0.9}
    values |= {("x-features", 0, "area_5"): 0.6, ("logit", 0, "area_5"): 0.3}
    verdict = DECIDE["S12"](claims.evidence(record(as_claimed() | values)))
    assert verdict.verdict == HOLDS
    counts = verdict.evidence.partition(" (")[0]  # what a page cites
    assert counts.endswith("of the logit's map in 2 of 8 cases and with the map as it is in 8 of 8")
    assert "-0.050 to +0.040" in verdict.evidence
    assert "60% and 30% (Fashion-MNIST), 60% and 30% (MNIST) of the pixels" in verdict.evidence
    assert "equally many" not in DECIDE["S12"](claims.printed()).evidence


def test_no_number_is_called_as_in_a_record():
    """Readers see titles, and which number is taken from which."""
    for evidence in (claims.printed(), claims.evidence(record()), claims.evidence(without("NN", "o2"))):
        for claim in claims.CLAIMS:
            found = claim.decide(evidence)
            told = " ".join([claim.test, found.evidence, *(one.what for one in found.comparisons)])
            assert not re.search(r"\b(f_reg|f_cls|masked_|pull_away|srae_|s12)|\bo[12]\b", told), told
            assert not re.search(r"\blogit less\b|less logit\b|\bZ\b.*less|less Z\b", told), told


def test_what_the_page_says_in_words_is_true_of_the_committed_record():
    """Of the notebook: maps of SRAE are no more local than those of NN and Lasso, and split the evidence no better."""
    found = claims.evidence(recorded("srae", "laptop"))
    for place in found.places:
        for method in ("NN", "Lasso"):
            assert found.compare(place, "SRAE", method, "locality").reading != "for"
            split = found.compare(place, "SRAE", method, "split", ABOVE)
            assert split is None or split.reading != "for"
    assert any(found.compare(place, "SRAE", "Lasso", "split") for place in found.places)


def turned(dataset, architecture="vgg5"):
    """A record in which methods stand in the opposite order in one place."""
    made = record()
    there = (made.rows["dataset"] == dataset) & (made.rows["method"] != "classifier")
    rows = made.rows.assign(value=made.rows["value"].where(~there, -made.rows["value"]))
    return rows.assign(architecture=rows["architecture"].where(~there, architecture)), made.manifest


def test_similar_results_have_the_methods_in_the_same_order():
    assert DECIDE["S9"](claims.evidence(Record(None, turned("mnist")[0], {}, turned("mnist")[1]))).verdict == FAILS


def test_similar_results_are_those_of_two_data_sets():
    """Not of two networks on one of them, which come first in the list of places."""
    opposite, manifest = turned("fashion_mnist", "vgg11")
    opposite = opposite[opposite["dataset"] == "fashion_mnist"]
    rows = pd.concat([record().rows, opposite])
    assert len(claims.evidence(Record(None, rows, {}, manifest)).places) == 3
    verdict = DECIDE["S9"](claims.evidence(Record(None, rows, {}, manifest)))
    assert "Fashion-MNIST and MNIST, share of pairs" in verdict.evidence
    one = Record(None, opposite, {}, manifest)
    assert "needs two data sets" in DECIDE["S9"](claims.evidence(one)).evidence


def test_similar_results_need_a_classifier_that_has_learnt():
    assert DECIDE["S9"](claims.evidence(record(accuracy=0.9))).verdict == NOT_COMPARABLE


def test_ties_are_no_disagreement():
    made = record()
    tied = made.rows["metric"] == "f_cls_train"
    rows = made.rows.assign(value=made.rows["value"].mask(tied, 1.0))
    verdict = DECIDE["S9"](claims.evidence(Record(None, rows, {}, made.manifest)))
    assert verdict.comparisons[0].effect == 1.0


def test_the_smallest_penalty_is_judged_too():
    """Whatever selection is recorded, that with as many units as there are x-features among them."""
    for size in (5, 128):
        values = as_claimed() | {("Lasso", size, "f_reg"): 0.3}
        assert DECIDE["S11"](claims.evidence(record(values))).verdict == FAILS, size
    assert DECIDE["S10"](claims.evidence(record(as_claimed() | {("Lasso", 128, "f_reg"): 0.3}))).verdict == HOLDS


def test_a_classifier_that_has_not_learnt_the_mosaics_decides_nothing_there():
    found = claims.evidence(record(accuracy=0.9))
    verdict = DECIDE["S7"](found)
    assert verdict.verdict == UNDECIDED  # garments are no mosaics, and one of two is open
    mosaics = record(accuracy=0.9)
    rows = mosaics.rows[mosaics.rows["dataset"] == "mnist"]
    only = Record(None, rows, {}, mosaics.manifest)
    assert DECIDE["S7"](claims.evidence(only)).verdict == NOT_COMPARABLE


def without(method, metric, target=None):
    """A record in which a method was run, and one of its numbers does not exist for a target, or for none."""
    made = record()
    rows = made.rows
    chosen = (rows["method"] == method) & (rows["metric"] == metric) & (rows["features"] == 5)
    if target is not None:
        chosen &= rows["target"] == target
    return Record(None, rows.assign(value=rows["value"].mask(chosen)), {}, made.manifest)


def test_a_method_without_a_number_is_no_reason_for_a_claim():
    """Else an explanation that degenerates would leave the comparison, and the claim would hold without it."""
    verdict = DECIDE["S4"](claims.evidence(without("NN", "o2")))
    assert verdict.verdict == UNDECIDED
    assert "no value of O2 of SRAE or of O2 of NN" in verdict.evidence


def test_both_sides_of_a_comparison_have_the_same_targets():
    """Target 0 is ten times as hard for all methods, and NN has no number there."""
    made = without("NN", "o1", target=0)
    rows = made.rows
    hard = (rows["target"] == 0) & (rows["metric"] == "o1")
    rows.loc[hard, "value"] *= 10
    place = ("mnist", "vgg5", "all")
    found = claims.evidence(Record(None, rows, {}, made.manifest)).compare(place, "SRAE", "NN", "o1")
    assert found.effect == pytest.approx(METHODS["SRAE"][2] - METHODS["NN"][2], rel=1e-3)
    assert found.n == 5
    assert "5 of 10 targets and seeds have no value" in found.caveat


def test_numbers_are_means_over_targets_of_each_seed():
    found = claims.evidence(record())
    rows = record().rows
    chosen = rows[(rows["method"] == "NN") & (rows["metric"] == "o1") & (rows["dataset"] == "mnist")]
    assert found.summary.loc[("mnist", "vgg5", "all", "NN o1"), "mean"] == pytest.approx(chosen["value"].mean())
    assert found.summary.loc[("mnist", "vgg5", "all", "NN o1"), "n"] == 5
    assert "Lasso 80 f_reg" in found.columns
    assert "SRAE 5 f_reg" not in found.columns


def test_the_printed_tables_are_read_by_method():
    summary = claims.printed().summary["mean"]
    assert summary[("cub", "vgg19", "all", "SRAE f_reg")] == 0.1659
    assert summary[("places", "vgg16", "all", "Lasso f_cls_train")] == 0.9019
    assert summary[("cub", "vgg19", "all", "logit locality")] == 2.5659
    assert summary[("cub", "vgg19", "all", "logit masked_30")] == 0.1832
    tables = paper.published()
    masks = tables["srae_table2b_cub_mask"]
    assert tables["srae_table4_cub_mask"][0.05] == [masks["original"], masks["x_features"], masks["excitation_bp"]]
    assert [row["units"] for row in paper.lasso_sizes("places")] == [5, 11, 31, 69, 283, 1782]
    assert all(name.startswith("srae_") for name in tables)
