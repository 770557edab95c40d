"""Claims L1-L23: each holds on numbers made as it says, and fails on the opposite ones."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest

from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, UNDECIDED
from cladec_companion.papers.xai.attribution import METHODS
from cladec_companion.papers.xai.heatmaps import claims, ranking
from cladec_companion.papers.xai.heatmaps.experiment import FEW
from cladec_companion.records.record import Record

DECIDE = {claim.key: claim.decide for claim in claims.CLAIMS}


def record(numbers, seeds=(0, 1, 2), datasets=("mnist", "cifar100")):
    """A record from {(method, metric): value}, with a little noise from seed to seed; the first images are alike."""
    numbers = {(method, metric + few): value for (method, metric), value in numbers.items() for few in ("", FEW)}
    return exactly(numbers, seeds, datasets)


def exactly(numbers, seeds=(0, 1, 2), datasets=("mnist", "cifar100")):
    rows = [
        {"dataset": dataset, "architecture": "vgg11", "layer": method, "method": method, "seed": seed, "flipped": 0.0,
         "metric": metric, "value": value + 1e-4 * (seed - 1) * (1 + place % 3)}
        for dataset, seed in itertools.product(datasets, seeds)
        for place, ((method, metric), value) in enumerate(numbers.items())
    ]  # fmt: skip
    rows += [{**rows[0], "seed": seed, "flipped": 0.5, "metric": "curve_mean", "value": 99.0} for seed in seeds]
    return Record(None, pd.DataFrame(rows), {}, {"configuration": {}, "cells": {}})


def every(metric, value, but=None):
    return {(name, metric): value for name in METHODS} | {(name, metric): own for name, own in (but or {}).items()}


def flat(*parts):
    return {key: value for part in parts for key, value in part.items()}


MEANINGFUL = "meaningful_perturbation"
SIMILAR = ("gradient", "deconvnet", "guided_backprop")
# Claim -> numbers on which it is true, and numbers on which it is not.
CASES = {
    "L1": [{("integrated_gradients", "incomplete"): x, ("integrated_gradients_black", "incomplete"): 0.01}
           for x in (0.01, 0.2)],
    "L4": [{("lrp_0", "kept_unbiased"): 1.0, ("lrp_epsilon", "kept_unbiased"): x} for x in (0.2, 1.1)],
    "L6": [every("step", 0.5, {"lrp_composite": x}) for x in (0.3, 0.7)],
    "L7": [{("lrp_zb", "size_kept"): x, ("lrp_composite", "size_kept"): 1.0} for x in (3.0, 0.5)],
    "L8": [every("class_similarity", 0.9 - x, dict.fromkeys(SIMILAR, x)) for x in (0.8, 0.1)],
    "L9": [every("class_similarity", 0.8, {MEANINGFUL: x}) for x in (0.1, 0.95)],
    "L10": [flat(*(every(metric, 0.5, {MEANINGFUL: x}) for metric in claims.SUPPRESSED)) for x in (0.2, 0.8)],
    "L11": [flat(every("randomised_3", 0.1, {"excitation_backprop": x, "occlusion": 0.9}), every("randomised", 0.9 - x))
            for x in (0.8, 0.2)],
    "L12": [{("occlusion_small", "agreement_occlusion_large"): x} for x in (0.2, 0.8)],
    "L13": [{("occlusion_small", "pointing"): 0.5, ("occlusion_large", "pointing"): x} for x in (0.9, 0.3)],
    "L14": [{("integrated_gradients_black", "agreement_integrated_gradients"): x} for x in (0.2, 0.8)],
    "L15": [{("deeplift", "agreement_integrated_gradients"): x} for x in (0.97, 0.5)],
    "L16": [every("roughness", 1.0, {"lrp_composite": x}) for x in (0.5, 1.5)],
    "L17": [every("roughness", 1.0, {"smoothgrad": x}) for x in (0.5, 1.5)],
    "L18": [every("area_mean", 0.5, {"lrp_composite": x}) for x in (0.7, 0.3)],
    "L20": [{(MEANINGFUL, f"agreement_{other}"): 0.3 for other in claims.RIVALS}
            | {(MEANINGFUL, "agreement_contrastive_excitation"): x} for x in (0.6, 0.1)],
    "L21": [flat(every("area_mean", 0.5, {"occlusion_small": 0.7}), every("pointing", 0.5, {"occlusion_small": x}))
            for x in (0.3, 0.8)],
    "L23": [every("area_mean", 0.5, {"random": x}) for x in (0.2, 0.8)],
}  # fmt: skip


# Claim -> numbers that its verdict tells, though they cannot decide it.
CONSTRUCTED = {
    "L2": {("deeplift", "incomplete"): 0.25}, "L3": {("lrp_gamma", "kept_unbiased"): 0.25},
    "L5": {("lrp_0", "agreement_gradient_x_input"): 0.25}, "L22": every("sensitivity", 0.25),
    "L19": every("passes", 0.5, {"integrated_gradients": 0.75}),
}  # fmt: skip


@pytest.mark.parametrize("key", CASES)
def test_a_claim_holds_where_it_is_true_and_fails_where_it_is_not(key):
    true, false = (claims.evidence(record(numbers)) for numbers in CASES[key])
    assert DECIDE[key](true).verdict == HOLDS, DECIDE[key](true).evidence
    assert DECIDE[key](false).verdict == FAILS, DECIDE[key](false).evidence


@pytest.mark.parametrize("key", CONSTRUCTED)
def test_what_cannot_be_otherwise_is_not_decided_and_tells_its_numbers(key):
    found = DECIDE[key](claims.evidence(record(CONSTRUCTED[key])))
    assert found.verdict == NOT_APPLICABLE
    assert re.search(r"^true by construction: .*; measured: 0\.2\d* to 0\.2\d* in \d+ cells$", found.evidence)
    assert DECIDE[key](claims.evidence(record({("random", "mass"): 0.3}))).verdict == NOT_APPLICABLE


@pytest.mark.parametrize("key", CASES)
def test_without_numbers_or_with_one_seed_nothing_is_decided(key):
    assert DECIDE[key](claims.printed()).verdict == NOT_APPLICABLE
    assert DECIDE[key](claims.evidence(record({("random", "mass"): 0.3}))).verdict == UNDECIDED
    alone = DECIDE[key](claims.evidence(record(CASES[key][0], seeds=(0,))))
    assert alone.verdict == UNDECIDED
    assert "a single run" in alone.evidence


def test_each_claim_has_a_case_and_looks_at_no_curve():
    assert not set(CASES) & set(CONSTRUCTED)
    assert set(CASES) | set(CONSTRUCTED) == set(DECIDE) == {f"L{number}" for number in range(1, 24)}
    found = claims.evidence(record(CONSTRUCTED["L2"]))
    assert list(found.columns) == ["deeplift:incomplete", "deeplift:incomplete_few"]


def test_maps_that_do_not_depend_on_the_image_are_left_out():
    blind = {("deconvnet", "step"): 0.0, ("deconvnet", "class_similarity"): 0.1}
    for step, verdict in ((0.0, HOLDS), (0.1, FAILS)):
        found = DECIDE["L8"](claims.evidence(exactly(CASES["L8"][0] | blind | {("deconvnet", "step"): step})))
        assert found.verdict == verdict, found.evidence
        assert ("without DeconvNet" in found.evidence) == (step == 0)
    still = exactly(CASES["L23"][0] | {("random", "step"): 0.0})  # a control explains nothing, and stays
    assert DECIDE["L23"](claims.evidence(still)).verdict == HOLDS


def test_methods_of_different_images_are_compared_on_those_that_both_explain():
    similar = dict.fromkeys(SIMILAR, 0.8)
    first = {(name, "class_similarity" + FEW): value for name, value in (similar | {MEANINGFUL: 0.1}).items()}
    rest = {(name, "class_similarity"): value for name, value in (similar | {MEANINGFUL: 0.9}).items()}
    assert DECIDE["L9"](claims.evidence(exactly(first | rest))).verdict == HOLDS
    fast = {("smoothgrad", "roughness"): 0.5, ("gradient", "roughness"): 1.0}
    fewer = {("smoothgrad", "roughness" + FEW): 1.0, ("gradient", "roughness" + FEW): 0.5}
    assert DECIDE["L17"](claims.evidence(exactly(fast | fewer))).verdict == HOLDS  # both explain all images


def test_a_map_that_never_changes_has_no_rank_for_continuity():
    evidence = claims.evidence(record(every("step", 0.5, {"deconvnet": 0.0, "gradient": 0.2})))
    places = ranking.ranks(evidence)["mnist", "vgg11", 1]["step" + FEW]
    assert places["gradient"] == 1
    assert np.isnan(places["deconvnet"])
