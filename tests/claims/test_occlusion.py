"""Claims B38-B49, about occlusions: on made-up rows and on Tables 7 and 8."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from cladec_companion.evidence import noise
from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, NOT_COMPARABLE, UNDECIDED, effects
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.occlusion import claims
from cladec_companion.records.record import Record

DECIDE = {claim.key: claim.decide for claim in claims.CLAIMS}
NETWORKS = {"vgg11": ("conv2", "conv3", "penultimate"), "resnet10": ("block1", "block3", "penultimate")}


@pytest.mark.parametrize(
    ("key", "verdict", "says"),
    [
        ("B38", HOLDS, ["12 of 12", "6 cells of ResNet below layer -1, which the paper excepts"]),
        ("B39", HOLDS, ["4 of 6"]),
        ("B40", HOLDS, ["4 of 6, the opposite in 2, 1 would be enough"]),
        ("B41", UNDECIDED, ["5 of 6"]),
        ("B42", UNDECIDED, ["not printed", "11 of 12"]),
        ("B43", HOLDS, ["6 of 6", "not judged: layers between the two (-3)"]),
        ("B44", HOLDS, ["3 of 3", "exactly"]),
        ("B45", UNDECIDED, ["11 of 18", "on average: holds", "particularly for VGG: holds"]),
        ("B46", NOT_APPLICABLE, ["by construction"]),
        ("B47", NOT_APPLICABLE, ["MNIST 0.286"]),
        ("B48", HOLDS, ["2 of 2"]),
        ("B49", NOT_APPLICABLE, ["pictures"]),
    ],
)
def test_verdicts_of_the_printed_tables(key, verdict, says):
    found = DECIDE[key](claims.printed())
    assert found.verdict == verdict, found.evidence
    assert all(text in found.evidence for text in says), found.evidence


def made_record(cells, seeds=(0, 1, 2), error=0.004):
    """A record from {(dataset, architecture, layer): (ClaDec max, min, GradCAM max, min, contrast correlation)}."""
    rows = []
    for (dataset, architecture, layer), (c_max, c_min, g_max, g_min, contrast) in cells.items():
        for seed in seeds:
            axes = {"dataset": dataset, "architecture": architecture, "seed": seed}
            wobble = 0.002 * (seed - 1)
            for method, most, least in (
                ("cladec", c_max, c_min),
                ("cladec whole", c_max, c_min),
                ("gradcam", g_max, g_min),
            ):
                values = {
                    "acc_max": most + wobble, "acc_min": least - wobble, "acc_min_shared": least, "delta_error": error,
                    "ties": float(most == least), "contrast_correlation": contrast + wobble,
                }  # fmt: skip
                rows += [
                    {**axes, "squares": 1, "layer": layer, "method": method, "metric": k, "value": v}
                    for k, v in values.items()
                ]
            clean = {"resnet10": 0.99, "vgg11": 0.98}[architecture] + 0.0002 * seed
            control = {
                ("random", "acc_max", 1): 0.7, ("random", "acc_min", 1): 0.7 + wobble,
                ("random", "delta_error", 1): error, ("classifier", "accuracy", 0): clean,
                ("classifier", "test_images", 0): 10_000,
            }  # fmt: skip
            for (method, metric, squares), value in control.items():
                row = {"squares": squares, "layer": "classifier", "method": method, "metric": metric, "value": value}
                rows.append({**axes, **row})
    table = pd.DataFrame(rows).drop_duplicates(["dataset", "architecture", "seed", "layer", "method", "metric"])
    return Record(Path(), table, {}, {"configuration": {"index_map": "code"}})


def grid(values):
    return {
        (dataset, network, layer): values(dataset, network, 2 - place)
        for dataset in ("mnist", "cifar100")
        for network, names in NETWORKS.items()
        for place, layer in enumerate(names)
    }


def as_claimed(dataset, network, below):
    """`below` is 0 at the top layer, 2 at the lowest."""
    far = dataset == "mnist"
    most = (0.5 if far else 0.3) + 0.02 * below - 0.05 * (network == "resnet10")
    least = most + (0.4 if far else 0.2 - 0.09 * below)
    alike = network == "vgg11" and below == 0
    return most, least, most + 0.03, most + 0.03 + (0 if alike else 0.02 if below == 0 else 0.05), 0.2 + 0.3 * below


def the_opposite(dataset, network, below):
    most, least, _, _, contrast = as_claimed(dataset, network, below)
    wide = 0.3 * below if dataset == "mnist" else 0
    worse = 0.4 * (network == "resnet10")
    return least - 0.1 * below + worse, most - wide + worse, most + worse, least + worse + 0.1, 1 - contrast


DECIDABLE = ["B38", "B39", "B41", "B42", "B45", "B49"]


@pytest.mark.parametrize("key", DECIDABLE)
def test_claims_hold_on_rows_made_to_support_them_and_fail_on_the_opposite(key):
    for rows, verdict in ((as_claimed, HOLDS), (the_opposite, FAILS)):
        found = DECIDE[key](claims.evidence(made_record(grid(rows))))
        assert found.verdict == verdict, found.evidence


def test_small_differences_of_resnet_are_asked_of_resnets_lower_layers_only():
    assert DECIDE["B40"](claims.evidence(made_record(grid(as_claimed)))).verdict == HOLDS

    def large(dataset, network, below):
        return 0.3, 0.3 + (0.2 if network == "resnet10" else 0.0), 0.3, 0.4, 0.5

    found = DECIDE["B40"](claims.evidence(made_record(grid(large))))
    assert found.verdict == FAILS
    assert len(found.comparisons) == 4
    assert (
        not effects(DECIDE["B38"](claims.evidence(made_record(grid(large)))))["what"]
        .str.contains("ResNet-10, -[35]")
        .any()
    )


def test_a_significant_difference_of_the_wrong_sign_is_none_for_gradcam():
    right = claims.evidence(made_record(grid(as_claimed)))
    assert DECIDE["B43"](right).verdict == HOLDS

    def turned(dataset, network, below):
        c_max, c_min, g_max, g_min, contrast = as_claimed(dataset, network, below)
        return c_max, c_min, g_min, g_max, contrast

    found = DECIDE["B43"](claims.evidence(made_record(grid(turned))))
    assert found.verdict == FAILS
    assert (effects(found).query("reading == 'against'")["effect"] < 0).all()


def test_what_is_so_by_construction_is_no_evidence():
    for rows in (as_claimed, the_opposite):
        found = claims.evidence(made_record(grid(rows)))
        assert {DECIDE[key](found).verdict for key in ("B44", "B46", "B47")} == {NOT_APPLICABLE}
    assert "|ΔAcc|" in DECIDE["B44"](claims.evidence(made_record(grid(as_claimed)))).evidence


def test_a_weak_correlation_with_contrast_is_no_following():
    def weak(dataset, network, below):
        return (*as_claimed(dataset, network, below)[:4], 0.05 + 0.05 * below)  # 0.15 at the lowest layer

    assert DECIDE["B49"](claims.evidence(made_record(grid(weak)))).verdict == FAILS


def test_a_single_run_decides_only_what_exceeds_its_noise():
    known = noise.pooled([], printed_tables.spreads(), printed_tables.NUMBERS)
    for error, verdict in ((0.5, UNDECIDED), (0.0005, HOLDS)):
        record = made_record(grid(as_claimed), seeds=(1,), error=error)
        rows = record.rows[(record.rows["architecture"] == "vgg11") & (record.rows["dataset"] == "mnist")]
        found = replace(claims.evidence(replace(record, rows=rows)), known=lambda: known)
        assert DECIDE["B38"](found).verdict == verdict
        assert "ResNet" not in DECIDE["B38"](found).evidence  # none of its layers was there to be left out
        parts = [part.verdict for part in DECIDE["B45"](found).parts]
        assert parts == [verdict, verdict, UNDECIDED]  # as ResNet is missing
    assert "too few seeds" in DECIDE["B49"](found).evidence


def test_a_large_spread_is_compared_with_that_of_other_data():
    def spread(large):
        made = made_record(grid(as_claimed), seeds=range(5))
        chosen = (made.rows["dataset"] == "mnist") & (made.rows["architecture"] == "resnet10")
        chosen &= (made.rows["layer"] == "penultimate") & (made.rows["metric"] == "acc_min")
        made.rows.loc[chosen, "value"] += large * (made.rows.loc[chosen, "seed"] - 2)
        return DECIDE["B48"](claims.evidence(made)).verdict

    assert (spread(0.1), spread(0.0015), spread(0.0)) == (HOLDS, FAILS, UNDECIDED)


def test_a_record_without_the_needed_cells_decides_nothing():
    only = {cell: values for cell, values in grid(as_claimed).items() if cell[:2] == ("cifar100", "vgg11")}
    found = claims.evidence(made_record(only))
    assert {DECIDE[key](found).verdict for key in ("B40", "B41", "B42", "B48")} == {UNDECIDED}


@pytest.mark.parametrize(("falls", "verdict"), [(1.0, NOT_COMPARABLE), (0.0, HOLDS)])
def test_a_decoder_whose_loss_was_still_falling_is_not_compared(falls, verdict):
    made = made_record(grid(as_claimed))
    marks = made.rows[(made.rows["method"] == "cladec") & (made.rows["metric"] == "acc_max")]
    rows = pd.concat([made.rows, marks.assign(metric="still_falling", value=falls)], ignore_index=True)
    found = DECIDE["B38"](claims.evidence(replace(made, rows=rows)))
    assert found.verdict == verdict, found.evidence
    assert "not recorded" in DECIDE["B38"](claims.evidence(made)).evidence
