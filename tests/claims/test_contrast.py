"""Claims X1-X19: each holds on numbers made as it says, and fails on the opposite ones."""

import itertools
import re

import pandas as pd
import pytest

from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, NOT_COMPARABLE, UNDECIDED
from cladec_companion.papers.cdeepex.contrast import claims
from cladec_companion.papers.cdeepex.contrast.experiment import CONTROLS, FREE, OURS, UNBIASED
from cladec_companion.papers.cdeepex.contrasts import METHODS
from cladec_companion.records.record import Record, recorded

DECIDE = {claim.key: claim.decide for claim in claims.CLAIMS}


def record(numbers, seeds=(0, 1, 2), datasets=("mnist", "fashion_mnist"), noise=1e-4, configuration=None):
    """A record from {(experiment, method, metric): value}, with a little noise from seed to seed."""
    rows = [
        {"dataset": dataset, "architecture": "vgg5", "layer": experiment, "method": method, "seed": seed,
         "metric": metric, "value": value + noise * (seed - 1) * (1 + place % 3)}
        for dataset, seed in itertools.product(datasets, seeds)
        for place, ((experiment, method, metric), value) in enumerate(numbers.items())
    ]  # fmt: skip
    return Record(None, pd.DataFrame(rows), {}, {"configuration": configuration or {}, "cells": {}})


def general(metric, values):
    return {("general", name, metric): value for name, value in values.items()}


def ours(metric, value, other):
    """Both generators of the paper have one value, each method for one class another."""
    return general(metric, dict.fromkeys(claims.by(OURS), value) | dict.fromkeys([*METHODS, *CONTROLS], other))


def both(metric, value, kinds=(OURS,)):
    return general(metric, {name: value for kind in kinds for name in claims.by(kind)})


# Claim -> numbers on which it is true, and numbers on which it is not.
CASES = {
    "X1": [ours("flipped_equal", x, 0.5) for x in (0.9, 0.2)],
    "X2": [ours("judged_equal", x, 0.5) for x in (0.9, 0.2)],
    "X3": [both("intruded", x, (FREE,)) for x in (0.8, 0.1)],
    "X6": [general("alike", {f"starts {OURS}": x}) for x in (0.8, 0.2)],
    "X7": [general("alike", {f"starts {OURS}": x, f"starts {FREE}": 0.5}) for x in (0.8, 0.2)],
    "X8": [general("judged", {f"VAE {OURS}": 0.6, f"WGAN {OURS}": x})
           | general("met", {f"VAE {OURS}": 0.95, f"WGAN {OURS}": 0.94}) for x in (0.62, 0.3)],
    "X9": [both("missed", x) for x in (0.002, 0.1)],
    "X10": [{("ladder", f"rung {place}", metric): value for place in range(4)
             for metric, value in (("judged_equal", 0.5 + x * place), ("met", 0.9))} for x in (0.1, -0.1)],
    "X11": [{("ladder", "first and last rung", "alike"): x, ("ladder", "last rung and judge", "alike"): 0.5}
            for x in (0.2, 0.8)],
    "X12": [{("square", "biased", "known"): x, ("square", "biased", "fooled"): 1 - x} for x in (0.1, 0.9)],
    "X13": [{("square", f"square VAE {OURS}", "energy"): x,
             **{("square", name, "energy"): 0.3 for name in (*METHODS, f"square VAE {UNBIASED}")}} for x in (0.6, 0.1)],
    "X14": [{("cue", f"cue {OURS}", "agrees"): x, ("cue", f"cue {UNBIASED} {OURS}", "agrees"): 0.6}
            for x in (0.9, 0.2)],
    "X15": [{("cue", f"cue {FREE}", "agrees"): x, ("cue", f"cue {UNBIASED} {FREE}", "agrees"): 0.4}
            for x in (0.2, 0.9)],
    "X16": [{("networks", f"vgg5 {OURS}", "extent"): x, ("networks", f"resnet10 {OURS}", "extent"): 0.3}
            for x in (0.5, 0.1)],
    "X17": [{("networks", f"{name} {FREE}", "intruded"): x for name in claims.NETWORKS} for x in (0.8, 0.1)],
    "X18": [{("foreign", f"own and foreign {OURS}", "alike"): x} for x in (0.8, 0.2)],
    "X19": [general("judged", {f"ClaDec {OURS}": x, f"VAE {OURS}": 0.7})
            | general("met", {f"ClaDec {OURS}": 0.9, f"VAE {OURS}": 0.9}) for x in (0.68, 0.4)],
}  # fmt: skip


MADE = {"X4", "X5"}  # true by how a search is made


def test_every_claim_is_tried():
    assert set(CASES) == set(DECIDE) - MADE


@pytest.mark.parametrize("key", sorted(MADE))
@pytest.mark.parametrize(("met", "verdict"), [(0.9, NOT_APPLICABLE), (0.5, NOT_COMPARABLE)])
def test_what_each_answer_has_is_no_finding(key, met, verdict):
    found = DECIDE[key](claims.evidence(record(both("met", met, (OURS, FREE)))))
    assert found.verdict == verdict, found.evidence
    assert (f"measured: {met}" in found.evidence) == (verdict == NOT_APPLICABLE)


@pytest.mark.parametrize("unlike", [{"met": 0.5}, {"missed": 0.6}])
@pytest.mark.parametrize("key", ["X1", "X3", "X10", "X13", "X14", "X16", "X18"])
def test_too_few_answers_and_poor_generators_are_not_compared(key, unlike):
    """Either could make a claim false, or true, that says nothing of them."""
    for numbers in CASES[key]:
        poor = {
            (experiment, method, name): value for experiment, method, _ in numbers for name, value in unlike.items()
        }
        found = DECIDE[key](claims.evidence(record(numbers | poor)))
        assert found.verdict == NOT_COMPARABLE, found.evidence


def test_a_rung_without_answers_is_no_step_of_the_ladder():
    """The classifier of the first rung never saw the class, so that hardly any search for it meets its constraints."""
    first = {("ladder", "rung 0", "judged_equal"): 0.99, ("ladder", "rung 0", "met"): 0.0}
    found = DECIDE["X10"](claims.evidence(record(CASES["X10"][0] | first)))
    assert found.verdict == HOLDS, found.evidence
    assert "per rung from rung 1" in found.evidence
    few = first | {("ladder", "rung 1", "met"): 0.1}
    assert DECIDE["X10"](claims.evidence(record(CASES["X10"][0] | few))).verdict == NOT_COMPARABLE


def test_changes_that_shrink_along_the_ladder_are_not_compared():
    """The judge sees less of a class in a shorter change, whatever the classifier knows."""
    for sign in (1, -1):
        numbers = {
            ("ladder", f"rung {place}", metric): value
            for place in range(4)
            for metric, value in (("judged", 0.5 + 0.1 * sign * place), ("met", 0.9), ("size", 0.2 - 0.03 * place))
        }
        found = DECIDE["X10"](claims.evidence(record(numbers)))
        assert found.verdict == NOT_COMPARABLE
        assert "0.200 of the range of grey values at rung 0 and 0.110 at rung 3" in found.missing


def test_a_step_along_the_pixels_gradient_is_told_first_and_decides_nothing():
    for key, metric in (("X1", "flipped_equal"), ("X2", "judged_equal")):
        found = DECIDE[key](claims.evidence(record(ours(metric, 0.9, 0.5) | general(metric, {"gradient": 1.0}))))
        assert found.verdict == HOLDS, found.evidence
        counts = found.evidence.partition(",")[0]  # what a page cites
        assert "than a step along the pixels' gradient in 0 of 4 cases and than the others in 20 of 20" in counts
        assert "100% to 100% of the images, an equally long change by CDeepEx 90% to 90%" in found.evidence
        beaten = claims.evidence(record(ours(metric, 0.9, 0.5) | general(metric, {"random": 1.0})))
        assert DECIDE[key](beaten).verdict != HOLDS


def test_what_else_shows_the_square_is_told():
    beside = {("square", f"square ClaDec {OURS}", "energy"): 0.12, ("square", "two models", "energy"): 0.85}
    found = DECIDE["X13"](claims.evidence(record(CASES["X13"][0] | beside)))
    assert found.verdict == HOLDS
    assert "CDeepEx with ClaDec's decoder the square has 12% to 12%" in found.evidence
    assert "two ClaDec decoders' images of the square it has 85% to 85%" in found.evidence


def test_no_method_is_called_as_in_a_record():
    """Readers see titles, and which number is taken from which."""
    for key, cases in CASES.items():
        for numbers in cases:
            found = DECIDE[key](claims.evidence(record(numbers)))
            told = " ".join([found.evidence, *(one.what for one in found.comparisons)])
            assert not [name for name in METHODS if re.search(rf"\b{name}\b", told)], told
            assert not re.search(r"\bsquare (VAE|ClaDec)|\bcue CDeepEx|vgg5|resnet10|unbiased", told), told
            assert not [one.what for one in found.comparisons if f"{OURS} and" in one.what]
    assert claims.titled(f"square VAE {OURS}") == claims.titled(f"VAE {OURS}") == "CDeepEx with the VAE"
    assert claims.titled("square lime") == "LIME"


def test_what_the_page_says_in_words_is_true_of_the_committed_record():
    """Of the notebook: a plain step beats CDeepEx at equal length, and the judge follows less than half of the time."""
    stored = recorded("contrast", "laptop")
    found = claims.evidence(stored).summary["mean"]
    for dataset in ("mnist", "fashion_mnist"):
        means = found[dataset].droplevel(["architecture", "at"])
        for name in claims.by(OURS):
            for metric in ("flipped_equal", "judged_equal"):
                assert means[claims.column("gradient", metric)] > means[claims.column(name, metric)]
            assert means[claims.column(name, "missed")] < claims.REDRAWN.value
            assert means[claims.column(name, "judged")] < 0.5


def test_short_trainings_refute_nothing():
    missing = CASES["X9"][1]
    short = record(missing, configuration={"decoder_epochs": 2, "wgan_epochs": 5, "train_limit": 30_000})
    assert DECIDE["X9"](claims.evidence(short)).verdict == NOT_COMPARABLE
    for key in ("X16", "X17"):
        low = {("networks", name, "accuracy"): 0.8 for name in claims.NETWORKS}
        assert DECIDE[key](claims.evidence(record(CASES[key][1] | low))).verdict == NOT_COMPARABLE


# Both sides at the ceiling, or at the floor, in every run: nothing can be told apart.
SATURATED = {
    "X1": ours("flipped_equal", 1.0, 1.0), "X2": ours("judged_equal", 1.0, 1.0),
    "X10": {("ladder", f"rung {place}", metric): value for place in range(4)
            for metric, value in (("judged_equal", 0.0), ("met", 0.9))},
}  # fmt: skip


@pytest.mark.parametrize("key", SATURATED)
def test_a_ceiling_refutes_nothing(key):
    found = DECIDE[key](claims.evidence(record(SATURATED[key], noise=0.0)))
    assert found.verdict == UNDECIDED, found.evidence


@pytest.mark.parametrize("key", CASES)
def test_claim_holds_and_fails_by_the_numbers(key):
    true, false = (DECIDE[key](claims.evidence(record(numbers))) for numbers in CASES[key])
    assert true.verdict == HOLDS, true.evidence
    assert false.verdict == FAILS, false.evidence


@pytest.mark.parametrize("key", DECIDE)
def test_nothing_is_said_without_the_cells(key):
    empty = record({("general", "classifier", "accuracy"): 0.99})
    assert DECIDE[key](claims.evidence(empty)).verdict == UNDECIDED


def test_print_decides_one_claim_alone():
    verdicts = {key: decide(claims.printed()).verdict for key, decide in DECIDE.items()}
    assert verdicts.pop("X12") == HOLDS
    assert set(verdicts.values()) == {NOT_APPLICABLE}


def test_numbers_with_the_square_are_not_those_without():
    """The methods for one class are asked in two experiments."""
    found = claims.evidence(record({("general", "lrp", "flipped"): 0.1, ("square", "lrp", "flipped"): 0.9}))
    place = ("mnist", "vgg5", claims.AT)
    assert found.summary.loc[(*place, claims.column("lrp", "flipped")), "mean"] == pytest.approx(0.1)
    assert found.summary.loc[(*place, claims.column("square lrp", "flipped")), "mean"] == pytest.approx(0.9)


def test_a_network_that_has_not_learnt_bars_its_own_data_set_alone():
    numbers = {("networks", f"{name} {OURS}", "extent"): 0.3 for name in claims.NETWORKS}
    found = record(numbers | {("networks", name, "accuracy"): 0.95 for name in claims.NETWORKS})
    low = (
        (found.rows["dataset"] == "fashion_mnist")
        & (found.rows["method"] == "vgg5")
        & (found.rows["metric"] == "accuracy")
    )
    found.rows.loc[low, "value"] = 0.8
    barred = {one.what.partition(",")[0]: one.obstacle for one in DECIDE["X16"](claims.evidence(found)).comparisons}
    assert barred == {"MNIST": "", "Fashion-MNIST": "VGG-5 has an accuracy of 0.80, below 0.9"}
