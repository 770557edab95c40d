"""Claims X1-X19: each holds on numbers made as it says, and fails on the opposite ones."""

import itertools

import pandas as pd
import pytest

from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, UNDECIDED
from cladec_companion.papers.cdeepex.contrast import claims
from cladec_companion.papers.cdeepex.contrast.experiment import FREE, OURS
from cladec_companion.papers.cdeepex.contrasts import METHODS
from cladec_companion.records.record import Record

DECIDE = {claim.key: claim.decide for claim in claims.CLAIMS}


def record(numbers, seeds=(0, 1, 2), datasets=("mnist", "fashion_mnist")):
    """A record from {(experiment, method, metric): value}, with a little noise from seed to seed."""
    rows = [
        {"dataset": dataset, "architecture": "vgg5", "layer": experiment, "method": method, "seed": seed,
         "metric": metric, "value": value + 1e-4 * (seed - 1) * (1 + place % 3)}
        for dataset, seed in itertools.product(datasets, seeds)
        for place, ((experiment, method, metric), value) in enumerate(numbers.items())
    ]  # fmt: skip
    return Record(None, pd.DataFrame(rows), {}, {"configuration": {}, "cells": {}})


def general(metric, values):
    return {("general", name, metric): value for name, value in values.items()}


def ours(metric, value, other):
    """Both generators of the paper have one value, each method for one class another."""
    return general(metric, dict.fromkeys(claims.by(OURS), value) | dict.fromkeys(METHODS, other))


def both(metric, value, kinds=(OURS,)):
    return general(metric, {name: value for kind in kinds for name in claims.by(kind)})


# Claim -> numbers on which it is true, and numbers on which it is not.
CASES = {
    "X1": [ours("flipped", x, 0.5) for x in (0.9, 0.2)],
    "X2": [ours("judged", x, 0.5) for x in (0.9, 0.2)],
    "X3": [both("intruded", x, (FREE,)) for x in (0.8, 0.1)],
    "X4": [both("intruded", x) for x in (0.01, 0.3)],
    "X5": [both("gap", x, (OURS, FREE)) for x in (0.01, 0.3)],
    "X6": [general("alike", {f"starts {OURS}": x}) for x in (0.8, 0.2)],
    "X7": [general("alike", {f"starts {OURS}": x, f"starts {FREE}": 0.5}) for x in (0.8, 0.2)],
    "X8": [general("alike", {f"VAE and WGAN {OURS}": x}) for x in (0.8, 0.2)],
    "X9": [general("missed", {"VAE": x, "WGAN": x}) for x in (0.002, 0.1)],
    "X10": [{("ladder", "rung 0", "judged"): 0.2, ("ladder", "rung 3", "judged"): x} for x in (0.6, 0.1)],
    "X11": [{("ladder", "first and last rung", "alike"): x} for x in (0.2, 0.8)],
    "X12": [{("square", "biased", "known"): x, ("square", "biased", "fooled"): 1 - x} for x in (0.1, 0.9)],
    "X13": [{("square", f"square VAE {OURS}", "energy"): x, **{("square", name, "energy"): 0.3 for name in METHODS}}
            for x in (0.6, 0.1)],
    "X14": [{("cue", f"cue {OURS}", "agrees"): x} for x in (0.9, 0.2)],
    "X15": [{("cue", f"cue {FREE}", "agrees"): x} for x in (0.2, 0.9)],
    "X16": [{("networks", f"vgg5 {OURS}", "extent"): x, ("networks", f"resnet10 {OURS}", "extent"): 0.3}
            for x in (0.5, 0.1)],
    "X17": [{("networks", f"{name} {kind}", "intruded"): x if kind == FREE else 0.2
             for name in claims.NETWORKS for kind in (OURS, FREE)} for x in (0.6, 0.1)],
    "X18": [{("foreign", f"own and foreign {OURS}", "alike"): x} for x in (0.8, 0.2)],
    "X19": [general("judged", {f"ClaDec {OURS}": x, f"VAE {OURS}": 0.7})
            | general("met", {f"ClaDec {OURS}": x, f"VAE {OURS}": 0.7}) for x in (0.68, 0.4)],
}  # fmt: skip


def test_every_claim_is_tried():
    assert set(CASES) == set(DECIDE)


@pytest.mark.parametrize("key", CASES)
def test_claim_holds_and_fails_by_the_numbers(key):
    true, false = (DECIDE[key](claims.evidence(record(numbers))) for numbers in CASES[key])
    assert true.verdict == HOLDS, true.evidence
    assert false.verdict == FAILS, false.evidence


@pytest.mark.parametrize("key", CASES)
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
