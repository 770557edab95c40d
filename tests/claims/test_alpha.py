"""Claims B16-B23, about the weight of the classification loss: on made-up rows and on Tables 4 and 5."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cladec_companion.evidence import noise, tables
from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, NOT_COMPARABLE, UNDECIDED, effects
from cladec_companion.papers import CHAPTERS
from cladec_companion.papers.cladec.alpha.claims import (
    CLAIMS,
    OVER_GREY,
    OVER_STANDARDISED,
    PRINTED,
    VARIANCE,
    beside_printed,
    evidence,
    over_standardised,
    printed,
    printed_table,
    published_summary,
)
from cladec_companion.records.record import Record

DECIDE = {claim.key: claim.decide for claim in CLAIMS}
ALPHAS = (0.0, 0.01, 0.5, 0.999, 1.0)


def as_claimed(alpha, seed):
    """Rows in which every claim is true."""
    wobble = 0.0002 * seed
    loss = (310 if alpha == 1 else 10 + 20 * alpha) * (1 + wobble)
    return {
        ("cladec", "loss_total"): (1 - alpha) * loss + alpha * (4 - 4 * alpha),
        ("cladec", "loss_raw_sum"): loss,
        ("cladec", "loss_classifier"): 4 - 4 * alpha + wobble,
        ("cladec", "loss_classifier_train"): 4 - 4 * alpha,
        ("cladec", "accuracy"): (0.91 if alpha else 0.88) + wobble * (1 + alpha),
        ("cladec", "accuracy_classifier"): 0.92, ("cladec", "agreement"): 0.95,
        ("cladec", "within_class_variance"): 0.5 - 0.3 * alpha + wobble,
        ("cladec", "pixel_correlation"): 0.9 - 0.9 * alpha + wobble,
        ("mean training image", "loss_raw_sum"): 80.0,
        ("classifier", "accuracy"): 0.92, ("classifier", "test_images"): 10_000,
    }  # fmt: skip


def against(alpha, seed):
    """Rows in which every claim is false."""
    return as_claimed(1 - alpha, seed) | {("cladec", "accuracy"): 0.95 - 0.05 * alpha + 0.0002 * seed}


def made_up(values, seeds=(0, 1, 2), alphas=ALPHAS, dataset="fashion_mnist", **configuration):
    rows = [
        {"dataset": dataset, "architecture": "vgg11", "layer": "conv4", "alpha": alpha, "seed": seed,
         "method": method, "metric": metric, "value": value}
        for alpha in alphas for seed in seeds for (method, metric), value in values(alpha, seed).items()
    ]  # fmt: skip
    return evidence(Record(None, pd.DataFrame(rows), {}, {"configuration": configuration, "cells": {}}))


@pytest.mark.parametrize("key", sorted(DECIDE.keys() - {"B22"}))
def test_claim_holds_on_rows_made_for_it(key):
    found = DECIDE[key](made_up(as_claimed))
    assert found.verdict == HOLDS, found.evidence


@pytest.mark.parametrize("key", sorted(DECIDE.keys() - {"B22"}))
def test_claim_fails_on_rows_made_against_it(key):
    found = DECIDE[key](made_up(against))
    assert found.verdict == FAILS, found.evidence


def test_what_a_record_computes_is_no_evidence():
    assert DECIDE["B22"](made_up(as_claimed)).verdict == NOT_APPLICABLE


def test_levels_are_not_compared_after_a_short_training():
    found = DECIDE["B18"](made_up(as_claimed, classifier_epochs=4, decoder_epochs=4, train_limit=20_000))
    assert found.verdict == NOT_COMPARABLE
    assert DECIDE["B17"](made_up(as_claimed, classifier_epochs=4, decoder_epochs=4)).verdict == HOLDS


def test_a_trend_is_one_test_and_one_small_step_down_does_not_decide_it():
    def dented(alpha, seed):
        dent = 0.98 if alpha == 0.5 else 1.0  # below the loss at α = 0.01, in every seed
        return as_claimed(alpha, seed) | {
            ("cladec", "loss_raw_sum"): dent * (10 + alpha + 20 * (alpha > 0.9)) + 0.01 * seed
        }

    found = DECIDE["B16"](made_up(dented))
    assert found.verdict == HOLDS
    assert len(found.comparisons) == 1


def test_a_trend_that_rests_on_its_end_alone_says_so():
    def at_the_end(alpha, seed):
        return as_claimed(alpha, seed) | {("cladec", "loss_raw_sum"): (300 if alpha == 1 else 10) * (1 + 0.001 * seed)}

    found = DECIDE["B16"](made_up(at_the_end))
    assert found.verdict == HOLDS
    assert found.evidence.endswith("; without α = 1 (Fashion-MNIST, VGG-11: 0.000 exactly)")
    assert "without" not in DECIDE["B16"](made_up(at_the_end, alphas=ALPHAS[:-1])).evidence


def test_a_late_gain_is_no_strong_impact_of_a_small_weight():
    def late(alpha, seed):
        return as_claimed(alpha, seed) | {("cladec", "accuracy"): 0.88 + 0.03 * alpha + 0.0002 * seed * (1 + alpha)}

    assert DECIDE["B19"](made_up(late)).verdict == FAILS
    assert DECIDE["B19"](made_up(as_claimed, alphas=(0.0, 0.5))).verdict == UNDECIDED


def test_small_is_measured_over_grey_values_as_in_the_paper():
    """A standardised α of 0.05 is below 0.01 over grey values where their variance is a tenth."""

    def both_scales(alpha, seed):
        scales = {("cladec", "loss_raw_mean"): 0.01, ("cladec", "loss_standardised"): 0.1}
        return as_claimed(alpha, seed) | scales

    chosen = effects(DECIDE["B19"](made_up(both_scales, alphas=(0.0, 0.001, 0.05, 0.5, 0.9))))["what"]
    assert chosen.str.contains("α = 0.05").all()
    plain = effects(DECIDE["B19"](made_up(as_claimed, alphas=(0.0, 0.001, 0.05, 0.5, 0.9))))["what"]
    assert plain.str.contains("α = 0.001").all()


def test_a_grey_floor_is_not_read_as_the_mean_image():
    rows = made_up(as_claimed).record.rows
    older = rows.assign(method=rows["method"].replace("mean training image", "mean image"))
    found = DECIDE["B20"](evidence(Record(None, older, {}, {"configuration": {}, "cells": {}})))
    assert not effects(found)["what"].str.contains("mean image").any()


def test_one_run_decides_only_changes_beyond_its_noise():
    known = noise.Noise({(noise.ACCURACY, ""): noise.Spread(0.002, 100, False, "made up")})

    def near(alpha, seed):
        return as_claimed(alpha, seed) | {("cladec", "accuracy"): 0.9 + 0.001 * alpha}

    found = DECIDE["B17"](replace(made_up(near, seeds=(0,)), known=lambda: known))
    assert found.verdict == UNDECIDED
    assert DECIDE["B17"](replace(made_up(as_claimed, seeds=(0,)), known=lambda: known)).verdict == HOLDS


def test_what_was_not_run_is_undecided():
    alone = made_up(as_claimed, alphas=(0.5,))
    for key in ("B16", "B17", "B19", "B20", "B21", "B23"):
        assert DECIDE[key](alone).verdict == UNDECIDED, key
    assert DECIDE["B18"](made_up(as_claimed, dataset="digits")).verdict == UNDECIDED


@pytest.mark.parametrize(
    ("key", "verdict", "said"),
    [
        ("B16", HOLDS, "2 of 2"), ("B17", HOLDS, "7 of 7"), ("B18", UNDECIDED, "the opposite in 1"),
        ("B19", UNDECIDED, "1 - α = 0.001"), ("B20", HOLDS, "2 of 2"), ("B21", HOLDS, "2 of 2"),
        ("B22", FAILS, "3 of 9"), ("B23", NOT_APPLICABLE, "pictures"),
    ],
)  # fmt: skip
def test_verdict_on_the_printed_tables(key, verdict, said):
    found = DECIDE[key](printed())
    assert found.verdict == verdict, found.evidence
    assert said in found.evidence


def test_printed_numbers_stand_beside_ours_only_where_both_scales_mean_the_same():
    def both_scales(alpha, seed):
        return as_claimed(alpha, seed) | {
            ("cladec", "loss_raw_mean"): VARIANCE, ("cladec", "loss_standardised"): 1.0,
        }  # fmt: skip

    table = beside_printed({"published": printed(), "this run": made_up(both_scales, alphas=(0.0, 0.9, 0.999, 1.0))})
    table = table.reset_index()
    assert table.loc[table["source"] == "published", "alpha"].tolist() == [0, 1]
    ours = table[table["source"] == "this run"].set_index("alpha")[OVER_GREY]
    assert ours[0.9] == pytest.approx(0.9 * VARIANCE / (0.9 * VARIANCE + 0.1), abs=1e-4)
    assert [over_standardised(alpha) for alpha in ours] == pytest.approx(list(ours.index), abs=1e-3)  # there and back
    first = printed_table()[OVER_STANDARDISED].xs("VGG-11", level="classifier")
    assert first.tolist() == pytest.approx([0, 0.9864, 0.99988, 1], abs=5e-5)


def test_the_printed_totals_leave_the_classifier_loss_out():
    assert "alone fits in 5 of 9" in DECIDE["B22"](printed()).evidence
    wide = published_summary()["mean"].unstack("metric").drop("vgg5", level="architecture")
    first = (1 - wide.index.get_level_values("alpha")) * wide["rec_loss"]
    assert (wide["total_loss"] - first).abs().max() == pytest.approx(0.01)  # what the page says of them


def test_the_conference_tables_labels_become_ours():
    printed = published_summary()["mean"].unstack("metric")
    conference, journal = printed.loc["fashion_mnist", "vgg5"], printed.loc["fashion_mnist", "vgg11"]
    assert list(conference.index) == list(journal.index) == [0, 0.9, 0.999, 1]
    assert np.allclose(conference, journal, atol=0.0006)  # Table 4 is the conference's, rounded
    table = tables.side_by_side({"published": published_summary()}, PRINTED, axis="alpha")
    assert list(table.loc["Fashion-MNIST", "ResNet-10"].index.get_level_values("alpha")) == [0, 0.9, 0.99, 0.999, 1]


@pytest.mark.parametrize(("falls", "verdict"), [(1.0, NOT_COMPARABLE), (0.0, HOLDS)])
def test_a_decoder_whose_loss_was_still_falling_is_not_compared(falls, verdict):
    found = DECIDE["B16"](made_up(lambda alpha, seed: as_claimed(alpha, seed) | {("cladec", "still_falling"): falls}))
    assert found.verdict == verdict, found.evidence


def test_the_book_sets_printed_rows_beside_ours_where_both_weigh_alike():
    ours = CHAPTERS["alpha"].printed_as_recorded().summary.index.get_level_values("alpha")
    assert {0.0, 1.0} <= set(ours)
    assert not {0.9, 0.99, 0.999} & set(ours)
    layers = CHAPTERS["layers"]
    assert layers.printed_as_recorded().summary.equals(layers.claims.printed().summary)
