"""Claims L36-L54: each holds on numbers made as it says, and fails on the opposite ones."""

import itertools

import pandas as pd
import pytest

from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, UNDECIDED
from cladec_companion.papers.xai.units import claims
from cladec_companion.records.record import Record

DECIDE = {claim.key: claim.decide for claim in claims.CLAIMS}
CLASSES, HIDDEN, COLOURS = claims.CLASSES, claims.HIDDEN, claims.COLOURS
PRIORS = claims.HAND_DESIGNED
LATENT = ("dgn_cladec", "dgn_refae")
FIRST, LAST = "conv1", "conv4"


def record(numbers, seeds=(0, 1, 2), datasets=("mnist", "cifar100")):
    """A record from {(layer, method, metric): value}, with a little noise from seed to seed."""
    rows = [
        {"dataset": dataset, "architecture": "vgg11", "layer": at, "method": method, "seed": seed, "metric": metric,
         "value": value + 1e-4 * (seed - 1) * (1 + place % 5)}
        for dataset, seed in itertools.product(datasets, seeds)
        for place, ((at, method, metric), value) in enumerate(numbers.items())
    ]  # fmt: skip
    return Record(None, pd.DataFrame(rows), {}, {"configuration": {}, "cells": {}})


def of_classes(metric, first, other, names, rival="none"):
    """Some methods have one value, the one that they are compared with another."""
    return {(CLASSES, name, metric): first for name in names} | {(CLASSES, rival, metric): other}


def layers(method, metric, *values):
    return {(name, method, metric): value for name, value in zip((FIRST, "conv2", "conv3", LAST), values, strict=True)}


def shifted(unlike):
    """What had the mean image added at the end."""
    return {(CLASSES, "none_mean", "unlike"): unlike}


def searched_by_nobody(unlike):
    """The mean image."""
    return {(CLASSES, "mean", "unlike"): unlike}


def reached(share, *more):
    """The network takes so many of the images for the class."""
    return {(CLASSES, name, "highest"): share for name in (*LATENT, *more)}


def unrecognised(own, judged):
    return {(CLASSES, "none", "highest"): own, (CLASSES, "none", "judged"): judged, (CLASSES, "test", "judged"): 0.9}


def epochs(*values):
    return {
        (f"{epoch} epochs", "trained", "unique_objects"): value for epoch, value in zip((0, 2, 10), values, strict=True)
    }


# Claim -> numbers on which it is true, and numbers on which it is not.
CASES = {
    "L36": [unrecognised(0.99, 0.2), unrecognised(0.99, 0.8)],
    "L37": [of_classes("sure", x, -2.0, PRIORS) for x in (-0.5, -4.0)],
    "L39": [of_classes("unlike", x, 0.9, PRIORS) | shifted(0.9) for x in (0.5, 1.2)],
    "L40": [of_classes("sure", x, -2.0, ("jitter",)) for x in (-0.5, -4.0)],
    "L41": [of_classes("unlike", x, 0.9, ("mean_start",)) | shifted(0.8) for x in (0.5, 1.2)],
    "L42": [reached(1.0, "all") | of_classes("unlike", x, 0.7, LATENT, "all") | searched_by_nobody(0.6)
            for x in (0.4, 0.9)],
    "L43": [reached(1.0) | of_classes("spread", x, 0.6, LATENT, "cladec") | {(CLASSES, "refae", "spread"): 0.6}
            for x in (0.1, 0.9)],
    "L44": [of_classes("alike", x, 0.02, ("none_far", "all_far"), "starts") for x in (0.9, 0.1)],
    "L45": [{(HIDDEN, "selective", "selected"): x, (HIDDEN, "none", "selected"): 0.4} for x in (0.9, 0.1)],
    "L47": [{(COLOURS, name, "right"): x for name in LATENT} for x in (0.9, 0.3)],
    "L48": [{(COLOURS, name, "right"): x for name in ("none", "all")} for x in (0.9, 0.3)],
    "L49": [{(COLOURS, "cladec", "right"): x, (COLOURS, "refae", "right"): 1.0 - x} for x in (0.5, 0.9)],
    "L50": [epochs(1.0, x, x) for x in (8.0, 0.5)],
    "L51": [{("training", "trained", "correlation"): x} for x in (0.9, 0.1)],
    "L52": [layers("units", "unique", 3.0, 9.0, 1.0, x) for x in (8.0, 1.0)],
    "L53": [layers("units", "unique", 9.0, 9.0, 9.0, 8.0) | layers("turned", "unique", 1.0, 1.0, 1.0, x)
            for x in (3.0, 12.0)],
    "L54": [layers("units", "unique", 1.0, 1.0, 1.0, 1.0) | layers("units", "matched", 0.04, 0.05, 0.06, 0.09)
            | layers("chance", "matched", 0.01, 0.02, 0.01, x) for x in (0.02, 0.2)],
}  # fmt: skip


# Claim -> what is told of some numbers, and these.
BY_CONSTRUCTION = {
    "L38": ("-1 to -1 in 4 cells", of_classes("variation", 1.0, 2.0, ("tv", "blur"))),
    "L46": ("-0.05", {(COLOURS, "fed_rgb", "accuracy"): 0.5, (COLOURS, "fed_brg", "accuracy"): 0.55}),
}


@pytest.mark.parametrize("key", CASES)
def test_a_claim_holds_where_it_is_true_and_fails_where_it_is_not(key):
    true, false = (claims.evidence(record(numbers)) for numbers in CASES[key])
    assert DECIDE[key](true).verdict == HOLDS, DECIDE[key](true).evidence
    assert DECIDE[key](false).verdict == FAILS, DECIDE[key](false).evidence


@pytest.mark.parametrize("key", CASES)
def test_without_numbers_or_with_one_seed_nothing_is_decided(key):
    assert DECIDE[key](claims.printed()).verdict == NOT_APPLICABLE
    assert DECIDE[key](claims.evidence(record({("classifier", "classifier", "accuracy"): 0.9}))).verdict == UNDECIDED
    alone = DECIDE[key](claims.evidence(record(CASES[key][0], seeds=(0,))))
    assert alone.verdict == UNDECIDED
    assert "a single run" in alone.evidence


def test_what_the_network_does_not_take_for_the_class_refutes_the_first_claim_too():
    assert DECIDE["L36"](claims.evidence(record(unrecognised(0.3, 0.2)))).verdict == FAILS


def test_epochs_are_ordered_as_numbers():
    found = DECIDE["L50"](claims.evidence(record(epochs(2.0, 9.0, 5.0))))
    assert found.verdict == HOLDS
    assert "10 epochs less 0 epochs" in found.evidence
    assert DECIDE["L50"](claims.evidence(record({("4 epochs", "trained", "unique_objects"): 5.0}))).verdict == UNDECIDED


@pytest.mark.parametrize("key", ["L42", "L43"])
def test_images_that_maximise_nothing_do_not_show_that_a_latent_space_helps(key):
    numbers = CASES[key][0] | reached(0.3)
    found = DECIDE[key](claims.evidence(record(numbers)))
    assert found.verdict == UNDECIDED, found.evidence
    assert "too few of the class: ClaDec's latent space" in found.evidence
    if key == "L42":  # a rival that maximises nothing is no rival
        found = DECIDE[key](claims.evidence(record(CASES[key][1] | {(CLASSES, "all", "highest"): 0.2})))
        assert found.verdict == UNDECIDED
        assert "too few of the class: all of these" in found.evidence


def test_a_latent_space_has_to_beat_the_mean_image_that_nobody_searched_for():
    found = DECIDE["L42"](claims.evidence(record(CASES["L42"][0] | searched_by_nobody(0.3))))
    assert found.verdict == UNDECIDED
    assert "the mean image without a search is as much like real images (+0.100)" in found.evidence
    assert DECIDE["L42"](claims.evidence(record(CASES["L42"][1] | searched_by_nobody(0.3)))).verdict == FAILS


def test_counts_of_all_layers_and_of_a_random_basis_stand_beside_the_slope():
    numbers = layers("units", "unique", 3.0, 9.0, 1.0, 8.0) | layers("turned", "unique", 1.0, 3.0, 5.0, 7.0)
    told = DECIDE["L52"](claims.evidence(record(numbers))).evidence
    assert "3.0, 9.0, 1.0, 8.0 from the first layer to the last, and 2.00 more per layer in a random basis" in told


def test_a_mean_image_that_is_added_explains_what_a_mean_image_to_start_from_does():
    found = DECIDE["L41"](claims.evidence(record(CASES["L41"][0] | shifted(0.4))))
    assert found.verdict == UNDECIDED
    assert "noise with the mean image added at the end is as much like real images (+0.100)" in found.evidence
    assert DECIDE["L41"](claims.evidence(record(CASES["L41"][1] | shifted(0.4)))).verdict == FAILS


def test_starts_that_are_alike_leave_nothing_for_the_search():
    numbers = CASES["L44"][0] | {(CLASSES, "starts", "alike"): 0.9}
    assert DECIDE["L44"](claims.evidence(record(numbers))).verdict == FAILS


def test_objects_emerge_and_not_textures():
    textures = {(at, "trained", "unique"): value for at, value in (("0 epochs", 1.0), ("10 epochs", 8.0))}
    found = DECIDE["L50"](claims.evidence(record(textures | epochs(1.0, 1.0, 0.5))))
    assert found.verdict == FAILS, found.evidence


def test_counts_that_are_the_same_in_all_seeds_are_not_certain():
    frame = record(CASES["L51"][0]).rows
    same = Record(None, frame.assign(value=1.0), {}, {"configuration": {}, "cells": {}})
    found = DECIDE["L51"](claims.evidence(same))
    assert found.verdict == UNDECIDED
    assert "all seeds have the same value" in found.evidence
    without = DECIDE["L51"](claims.evidence(record(epochs(1.0, 2.0, 3.0))))
    assert without.evidence == "needs trainings of 6 different lengths"


def test_what_follows_from_how_things_are_made_has_no_verdict():
    for key, (what, numbers) in BY_CONSTRUCTION.items():
        found = DECIDE[key](claims.evidence(record(numbers)))
        assert found.verdict == NOT_APPLICABLE
        assert "true by construction" in found.evidence
        assert f"measured: {what}" in found.evidence
        assert DECIDE[key](claims.printed()).verdict == NOT_APPLICABLE


def test_grey_images_cannot_decide_about_colours():
    found = DECIDE["L47"](claims.evidence(record({(COLOURS, "data", "colour_channels"): 1.0})))
    assert found.verdict == UNDECIDED
    assert found.evidence == "needs images in colour"


def test_each_claim_has_a_case():
    assert set(CASES) | set(BY_CONSTRUCTION) == set(DECIDE) == {f"L{number}" for number in range(36, 55)}
