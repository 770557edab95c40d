"""Claims B24-B31, about the training of the encoder: on made-up rows and on Table 6."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cladec_companion.evidence import noise
from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, NOT_COMPARABLE, UNDECIDED
from cladec_companion.evidence.trends import holm, steps
from cladec_companion.papers.cladec.encoder_training.claims import CLAIMS, evidence, printed
from cladec_companion.records.record import Record

# Made-up rows differ by the same amount in every seed.
pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")
DECIDE = {claim.key: claim.decide for claim in CLAIMS}
EPOCHS = (0, 1, 4, 16)


def test_holm_is_the_one_computed_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([0.02, np.nan, 0.01]) == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)
    assert len(holm([])) == 0


def as_claimed(epochs, seed):
    """Rows in which every claim is true; the accuracies of C are those of Table 6."""
    step, wobble = EPOCHS.index(epochs), 0.0004 * (-1) ** seed * (1 + seed)
    return {
        ("cladec", "loss_raw_sum"): (5.2, 6.4, 6.3, 6.0)[step] * (1 + wobble),
        ("cladec", "accuracy"): (0.85, 0.88, 0.90, 0.92)[step] + wobble * (1 + step),
        ("cladec", "agreement"): 0.9,
        ("classifier", "accuracy"): (0.1, 0.5, 0.88, 0.91)[step], ("classifier", "test_images"): 10_000,
        ("activation", "distance_rank_correlation"): 0.9 - 0.1 * step + wobble, ("activation", "spread"): 0.5,
        ("activation", "projection_rank_correlation"): 0.92,
    }  # fmt: skip


def against(epochs, seed):
    """Rows in which every claim that depends on the encoder is false."""
    turned = as_claimed(EPOCHS[-1 - EPOCHS.index(epochs)], seed)
    return turned | {
        ("cladec", "loss_raw_sum"): 3.0 - 0.1 * EPOCHS.index(epochs) + 0.01 * seed,
        ("classifier", "accuracy"): as_claimed(epochs, seed)["classifier", "accuracy"],
        ("activation", "projection_rank_correlation"): 0.92 + 0.001 * seed,
    }


def made_up(values, seeds=(0, 1, 2), epochs=EPOCHS, falling=None):
    axes = {"dataset": "fashion_mnist", "architecture": "vgg11", "layer": "conv4"}
    rows = [
        axes | {"batchnorm": kind, "encoder_epochs": count, "seed": seed, "method": method, "metric": metric,
                "value": value * (1 if kind != "initial" else 3)}
        for count in epochs for kind in (("trained",) if count else ("calibrated", "initial")) for seed in seeds
        for (method, metric), value in values(count, seed).items()
    ]  # fmt: skip
    of_reference = {"loss_raw_sum": 3.3, "accuracy": 0.89} | ({} if falling is None else {"still_falling": falling})
    rows += [
        axes | {"batchnorm": "RefAE", "encoder_epochs": 0, "seed": seed, "method": "refae", "metric": metric,
                "value": value + (0.01 * seed if "loss" in metric else 0)}
        for seed in seeds for metric, value in of_reference.items()
    ]  # fmt: skip
    return evidence(Record(None, pd.DataFrame(rows), {}, {"configuration": {}, "cells": {}}))


@pytest.mark.parametrize("key", sorted(DECIDE.keys() - {"B26", "B29"}))
def test_claim_holds_on_rows_made_for_it(key):
    found = DECIDE[key](made_up(as_claimed))
    assert found.verdict == HOLDS, found.evidence


@pytest.mark.parametrize("key", sorted(DECIDE.keys() - {"B26", "B29"}))
def test_claim_fails_on_rows_made_against_it(key):
    found = DECIDE[key](made_up(against))
    assert found.verdict == FAILS, found.evidence


def test_the_papers_level_of_significance_needs_the_papers_runs():
    for rows, verdict in ((as_claimed, HOLDS), (against, FAILS)):
        spread = 1.0 if verdict == HOLDS else 20.0

        def values(epochs, seed, rows=rows, spread=spread):
            loss = rows(epochs, seed)["cladec", "loss_raw_sum"]
            return rows(epochs, seed) | {("cladec", "loss_raw_sum"): loss + 0.02 * spread * (seed - 2)}

        assert DECIDE["B26"](made_up(values, range(5))).verdict == verdict
        found = DECIDE["B26"](made_up(values, range(4)))
        assert (found.verdict, found.evidence) == (NOT_COMPARABLE, "4 runs have less power than the paper's 5")
    (late,) = [claim for claim in CLAIMS if claim.key == "B26"]
    assert "After the data were seen" in late.test


def test_one_reference_for_all_rows_is_no_evidence():
    assert DECIDE["B29"](made_up(as_claimed)).verdict == NOT_APPLICABLE


def test_a_reference_that_had_not_converged_decides_nothing():
    for key in ("B28", "B30"):
        assert DECIDE[key](made_up(as_claimed, falling=0.0)).verdict == HOLDS
        found = DECIDE[key](made_up(as_claimed, falling=1.0))
        assert found.verdict == NOT_COMPARABLE, key
        assert "not converged: RefAE" in found.evidence
    assert DECIDE["B24"](made_up(as_claimed, falling=1.0)).verdict == HOLDS  # no RefAE in it


def test_one_run_decides_only_changes_beyond_its_noise():
    known = noise.Noise({
        (noise.LOSS, ""): noise.Spread(0.03, 100, True, "made up"),
        (noise.ACCURACY, ""): noise.Spread(0.003, 100, False, "made up"),
        ("distance_rank_correlation of activation", ""): noise.Spread(0.02, 100, False, "made up"),
        ("projection_rank_correlation of activation", ""): noise.Spread(0.005, 100, False, "made up"),
    })  # fmt: skip

    def flat(epochs, seed):
        return as_claimed(epochs, seed) | {("cladec", "loss_raw_sum"): 5.0 + 0.01 * epochs, ("cladec", "accuracy"): 0.9}

    for key in ("B24", "B25", "B26", "B27"):
        found = DECIDE[key](replace(made_up(flat, seeds=(0,)), known=lambda: known))
        assert found.verdict == UNDECIDED, key
    for key in ("B24", "B27", "B28"):
        found = DECIDE[key](replace(made_up(as_claimed, seeds=(0,)), known=lambda: known))
        assert found.verdict == HOLDS, found.evidence


def test_both_halves_of_the_claim_about_distances_are_tested():
    def scrambled(epochs, seed):
        """Training destroys distances, but random weights had not kept them."""
        return as_claimed(epochs, seed) | {("activation", "projection_rank_correlation"): 0.99 + 0.001 * seed}

    assert DECIDE["B31"](made_up(scrambled)).verdict == FAILS

    def older(epochs, seed):
        rows = as_claimed(epochs, seed)
        return {name: value for name, value in rows.items() if name[1] != "projection_rank_correlation"}

    found = DECIDE["B31"](made_up(older))
    assert found.verdict == UNDECIDED
    assert "a random projection's rank correlation of distances is not recorded" in found.evidence


def test_a_single_encoder_decides_nothing_about_training():
    alone = made_up(as_claimed, epochs=(0,))
    for key in set(DECIDE) - {"B28", "B29"}:
        assert DECIDE[key](alone).verdict == UNDECIDED, key


def test_without_an_untrained_encoder_there_is_nothing_to_decide():
    trained = made_up(as_claimed, epochs=(1, 4, 16))
    for key in ("B25", "B27", "B28"):
        assert DECIDE[key](trained).verdict == UNDECIDED, key


@pytest.mark.parametrize(
    ("key", "verdict", "said"),
    [
        ("B24", HOLDS, "0.0106 (0.0093 to 0.0119)"), ("B25", HOLDS, "5 of 5"), ("B26", FAILS, "2 of 4"),
        ("B27", HOLDS, "1 of 1"), ("B28", HOLDS, "1 of 1"), ("B29", UNDECIDED, "1 of 2"), ("B30", UNDECIDED, "2 of 3"),
        ("B31", NOT_APPLICABLE, "theory"),
    ],
)  # fmt: skip
def test_verdict_on_the_printed_table(key, verdict, said):
    found = DECIDE[key](printed())
    assert found.verdict == verdict, found.evidence
    assert said in found.evidence


def test_the_tests_of_table_6_are_those_recomputed_by_hand():
    p = [step.welch for step in steps(printed(), "rec_cladec")]
    assert p == pytest.approx([1e-5, 0.047, 0.002, 0.081], rel=0.1)


def test_paired_tests_pair_by_seed():
    found = steps(made_up(as_claimed), "rec_cladec")[0]
    first, second = ([as_claimed(epochs, seed)["cladec", "loss_raw_sum"] for seed in range(3)] for epochs in (0, 1))
    assert found.paired == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert found.welch == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue)
    assert found.change == pytest.approx(np.mean(second) - np.mean(first))


def test_the_uncalibrated_encoder_is_kept_apart():
    rows = made_up(as_claimed).record
    loss = ("fashion_mnist", "vgg11", 0, "rec_cladec")
    assert evidence(rows, "initial").summary.loc[loss, "mean"] == pytest.approx(
        3 * evidence(rows).summary.loc[loss, "mean"]
    )
