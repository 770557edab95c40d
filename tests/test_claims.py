"""Claims B1-B15: the right verdict on made-up rows and on the printed tables."""

import numpy as np
import pytest

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import FAILS, HOLDS, UNDECIDED, count, ledger
from cladec_companion.papers.cladec.layers.claims import CLAIMS, Evidence
from tests.made_up import NAMES, RESNET, as_claimed, made_up

DECIDE = {claim.key: claim.decide for claim in CLAIMS}
PRINTED = Evidence(tables.published_layers())


def methods_exchanged(net, index, seed):
    swap = {"cladec": "refae", "refae": "cladec"}
    exchanged = {(swap[method], metric): value for (method, metric), value in as_claimed(net, index, seed).items()}
    return exchanged | {("cladec", "shape"): 0.5}


def layers_exchanged(net, index, seed):
    return as_claimed(net, -6 - index, seed) | {("cladec", "accuracy"): 0.8 - 0.01 * index}


TRUE_HERE = ["B1", "B2", "B3", "B4", "B5", "B6", "B10", "B11", "B12", "B13", "B14"]


@pytest.mark.parametrize("key", TRUE_HERE)
def test_claim_holds_on_rows_made_for_it(key):
    assert DECIDE[key](made_up(as_claimed)).verdict == HOLDS


AGAINST = {
    methods_exchanged: ["B1", "B2", "B3", "B5", "B6", "B12", "B13"],
    layers_exchanged: ["B4", "B10", "B11", "B15"],
}


@pytest.mark.parametrize(("rows", "key"), [(rows, key) for rows, keys in AGAINST.items() for key in keys])
def test_claim_fails_on_rows_made_against_it(rows, key):
    assert DECIDE[key](made_up(rows)).verdict == FAILS


def test_baselines_are_compared_with_the_printed_level():
    assert DECIDE["B14"](made_up(as_claimed, extra={"accuracy": 0.91})).verdict == FAILS
    assert DECIDE["B14"](made_up(as_claimed, dataset="digits")).verdict == UNDECIDED


def test_claims_about_two_networks():
    both = made_up(as_claimed, architectures=("vgg11", "resnet10"))
    assert DECIDE["B7"](both).verdict == HOLDS
    assert DECIDE["B8"](both).verdict == HOLDS
    slower = made_up(lambda net, index, seed: as_claimed("vgg11", index, seed), architectures=("vgg11", "resnet10"))
    assert DECIDE["B8"](slower).verdict == FAILS
    for key in ("B7", "B8", "B9"):
        assert DECIDE[key](made_up(as_claimed)).verdict == UNDECIDED, key


def test_networks_are_compared_on_the_images_that_both_recorded():
    evidence = made_up(as_claimed, architectures=("vgg11", "resnet10"))
    image = np.full((2, 1, 32, 32), 100, np.uint8)
    samples = evidence.record.samples
    for net, names, index in (("vgg11", NAMES, [3, 5]), ("resnet10", RESNET, [5, 9])):
        samples[f"fashion_mnist/{net}/index"] = np.array(index)
        for layer in names.values():
            samples[f"fashion_mnist/{net}/{layer}/refae"] = image
            # Only image 5 is common; the others would turn the comparison round.
            samples[f"fashion_mnist/{net}/{layer}/cladec"] = image + (np.arange(2)[:, None, None, None] * 50).astype(
                "u1"
            )
    assert DECIDE["B9"](evidence).verdict == HOLDS
    for name in list(samples):
        if name.endswith("refae"):
            samples[name] = samples[name.replace("refae", "cladec")] * (2 if "resnet" in name else 1)
    assert DECIDE["B9"](evidence).verdict == FAILS


def test_one_run_decides_only_differences_beyond_its_noise():
    def near(net, index, seed):
        return as_claimed(net, index, seed) | {("cladec", "accuracy"): 0.912, ("refae", "accuracy"): 0.911}

    assert DECIDE["B2"](made_up(near, seeds=(0,))).verdict == UNDECIDED
    assert DECIDE["B2"](made_up(as_claimed, seeds=(0,))).verdict == HOLDS
    assert "more seeds" in DECIDE["B2"](made_up(near, seeds=(0,))).evidence


@pytest.mark.parametrize(
    ("key", "verdict", "evidence"),
    [
        ("B1", HOLDS, "29 of 30"), ("B2", FAILS, "21 of 24"), ("B3", HOLDS, "4 of 6"), ("B4", FAILS, "6 of 12"),
        ("B5", FAILS, "5 of 6"), ("B6", FAILS, "4 of 6"), ("B7", HOLDS, "3 of 3"), ("B8", HOLDS, "29 of 30"),
        ("B9", UNDECIDED, "pictures"), ("B10", UNDECIDED, "pictures"), ("B11", UNDECIDED, "pictures"),
        ("B12", UNDECIDED, "pictures"), ("B13", UNDECIDED, "pictures"), ("B14", FAILS, "0.904"),
        ("B15", FAILS, "0 of 6"),
    ],
)  # fmt: skip
def test_verdict_on_the_printed_tables(key, verdict, evidence):
    found = DECIDE[key](PRINTED)
    assert found.verdict == verdict
    assert evidence in found.evidence


def test_count_with_open_cells():
    assert count([True, True, False], "x", clear=[True, True, False], share=0.6).verdict == HOLDS
    assert count([True, True, False], "x", clear=[True, True, False]).verdict == UNDECIDED
    assert count([True, False], "x", clear=[False, True]).verdict == FAILS
    assert count([], "x").verdict == UNDECIDED
    assert count([True] * 29 + [False], "x", allowed=1).verdict == HOLDS


def test_ledger_names_every_claim_once():
    table = ledger(CLAIMS, {"published": PRINTED})
    assert list(table.index) == [f"B{number}" for number in range(1, 16)]
    assert table["published"].str.match("(holds|does not hold|undecided): ").all()
