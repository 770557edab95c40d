"""The chapter encoder_training: calibration, corrected tests, claims B24-B31, and a run of the experiment."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from cladec_companion.engine.study import Study
from scipy import stats
from torch import nn

from cladec_companion.engine import runner as experiments
from cladec_companion.evidence.claims import FAILS, HOLDS, UNDECIDED
from cladec_companion.evidence.trends import compare, ends, holm
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec.encoder_training import figures
from cladec_companion.papers.cladec.encoder_training.claims import CLAIMS, evidence, printed, slow_averages
from cladec_companion.records.record import Record
from cladec_core import measures, training
from cladec_core.errors import UsageError

# Made-up rows differ by the same amount in every seed.
pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")
DECIDE = {claim.key: claim.decide for claim in CLAIMS}
EPOCHS = (0, 1, 4, 16)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(3, 2, 3),
        nn.BatchNorm2d(2),
    )  # fmt: skip


def test_calibration_fills_the_statistics_and_nothing_else(on):
    model, images = network(), torch.randn(20, 1, 8, 8) * 3 + 1
    before = copy.deepcopy(model.state_dict())
    training.calibrate(model, images, on)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) != ("running" in name or "num_batches" in name), name
    assert not any(part.training for part in model.modules())
    assert [model[1].momentum, model[5].momentum] == [0.1, 0.1]
    # Without dropout, layer by layer, with plain means and variances.
    first = model[0](images).detach().double().numpy()
    mean, variance = first.mean((0, 2, 3)), first.var((0, 2, 3), ddof=1)
    assert np.allclose(model[1].running_mean, mean, atol=1e-5)
    assert np.allclose(model[1].running_var, variance, rtol=1e-4)
    spread = np.sqrt(first.var((0, 2, 3)) + 1e-5)[:, None, None]
    hidden = torch.tensor(np.maximum((first - mean[:, None, None]) / spread, 0)).float()
    second = model[4](hidden).detach().double().numpy()
    assert np.allclose(model[5].running_mean, second.mean((0, 2, 3)), atol=1e-5)
    assert np.allclose(model[5].running_var, second.var((0, 2, 3), ddof=1), rtol=1e-4)


def test_calibration_averages_batches_and_forgets_what_was_there(on):
    model, images = network(), torch.randn(30, 1, 8, 8)
    training.calibrate(model, images + 100, on)
    training.calibrate(model, images, on, batch_size=10)
    parts = [model[0](part).detach().double().numpy() for part in images.split(10)]
    assert np.allclose(model[1].running_mean, np.mean([part.mean((0, 2, 3)) for part in parts], 0), atol=1e-5)
    assert np.allclose(model[1].running_var, np.mean([part.var((0, 2, 3), ddof=1) for part in parts], 0), rtol=1e-4)


@pytest.fixture
def study(digits, on, tmp_path):
    settings = settings_for("encoder_training", "smoke", width=0.05)
    return Study(digits, "vgg5", 0, settings, on, tmp_path)


def weights(model):
    return {name: value for name, value in model.state_dict().items() if "running" not in name and "num_" not in name}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_untrained_variants_have_the_initial_weights(study):
    initial = weights(study.new_classifier("classifier"))
    calibrated, raw = (study.variant(0, calibrated=flag).classifier for flag in (True, False))
    assert same(weights(calibrated), initial)
    assert same(weights(raw), initial)
    assert torch.equal(raw.conv1[1].running_var, torch.ones_like(raw.conv1[1].running_var))
    assert not torch.equal(calibrated.conv1[1].running_var, raw.conv1[1].running_var)
    assert not list(study.cache.glob("*"))
    codes = [study.test(model.up_to("conv4")).std(0).mean() for model in (calibrated, raw)]
    assert codes[0] > 10 * codes[1]  # finding 5; the deeper the network, the more


def test_epochs_decide_which_classifier_the_cache_gives(study):
    one = study.variant(1).classifier
    three = study.variant(3).classifier
    assert len(list(study.cache.glob("*"))) == 2
    assert not same(weights(one), weights(three))
    assert same(weights(study.variant(3).classifier), weights(three))
    # The study itself has one epoch at this profile, which is the same training.
    assert same(weights(study.classifier), weights(one))
    assert len(list(study.cache.glob("*"))) == 2


def test_slow_averages_change_nothing_but_the_running_statistics(study):
    usual, slow = study.variant(1), study.variant(1, momentum=0.01)
    assert same(weights(usual.classifier), weights(slow.classifier))
    first, second = (run.classifier.conv1[1] for run in (usual, slow))
    assert (first.momentum, second.momentum) == (0.1, 0.01)
    # Both started at a variance of 1: the slow one is still nearer to it.
    assert (second.running_var - 1).abs().sum() < (first.running_var - 1).abs().sum()
    assert len(list(study.cache.glob("*"))) == 2
    assert same(slow.variant(1, momentum=0.01).classifier.state_dict(), slow.classifier.state_dict())


def test_all_variants_share_one_reference(study):
    first, second = study.variant(0).reference("conv4"), study.variant(3).reference("conv4")
    assert same(first.state_dict(), second.state_dict())
    assert len(list(study.cache.glob("*"))) == 1


def test_distance_rank_correlation_is_the_slow_one():
    images, codes = torch.randn(6, 1, 4, 4), torch.randn(6, 3)
    pairs = [(a, b) for a in range(6) for b in range(a)]
    distances = [[(part[a] - part[b]).double().norm().item() for a, b in pairs] for part in (images, codes)]
    assert measures.distance_rank_correlation(images, codes) == pytest.approx(stats.spearmanr(*distances).statistic)
    assert measures.distance_rank_correlation(images, images * 2) == pytest.approx(1)


def test_holm_is_the_one_computed_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([0.02, np.nan, 0.01]) == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)
    assert len(holm([])) == 0


def as_claimed(epochs, seed):
    """Rows in which every claim is true; the accuracies of C are those of Table 6."""
    step, wobble = EPOCHS.index(epochs), 0.0004 * (-1) ** seed * (1 + seed)
    return {
        ("cladec", "loss_raw_sum"): (5.2, 6.4, 6.6, 6.0)[step] + wobble,
        ("cladec", "accuracy"): (0.85, 0.88, 0.90, 0.92)[step] + wobble,
        ("cladec", "agreement"): 0.9,
        ("classifier", "accuracy"): (0.1, 0.5, 0.88, 0.91)[step], ("classifier", "test_images"): 10_000,
        ("activation", "distance_rank_correlation"): 0.9 - 0.1 * step, ("activation", "spread"): 0.5,
    }  # fmt: skip


def against(epochs, seed):
    """Rows in which every claim that depends on the encoder is false."""
    turned = as_claimed(EPOCHS[-1 - EPOCHS.index(epochs)], seed)
    return turned | {
        ("cladec", "loss_raw_sum"): 3.0 - 0.1 * EPOCHS.index(epochs) + 0.2 * seed,
        ("classifier", "accuracy"): as_claimed(epochs, seed)["classifier", "accuracy"],
    }


def made_up(values, seeds=(0, 1, 2), epochs=EPOCHS):
    axes = {"dataset": "fashion_mnist", "architecture": "vgg11", "layer": "conv4"}
    rows = [
        axes | {"batchnorm": kind, "encoder_epochs": count, "seed": seed, "method": method, "metric": metric,
                "value": value * (1 if kind != "initial" else 3)}
        for count in epochs for kind in (("trained",) if count else ("calibrated", "initial")) for seed in seeds
        for (method, metric), value in values(count, seed).items()
    ]  # fmt: skip
    rows += [
        axes | {"batchnorm": "RefAE", "encoder_epochs": 0, "seed": seed, "method": "refae", "metric": metric,
                "value": value}
        for seed in seeds for metric, value in {"loss_raw_sum": 3.3 + 0.01 * seed, "accuracy": 0.89}.items()
    ]  # fmt: skip
    return evidence(Record(None, pd.DataFrame(rows), {}, {"configuration": {}, "cells": {}}))


@pytest.mark.parametrize("key", DECIDE)
def test_claim_holds_on_rows_made_for_it(key):
    assert DECIDE[key](made_up(as_claimed)).verdict == HOLDS


@pytest.mark.parametrize("key", [key for key in DECIDE if key != "B29"])
def test_claim_fails_on_rows_made_against_it(key):
    seeds = range(5) if key == "B26" else range(3)
    assert DECIDE[key](made_up(against, seeds)).verdict == FAILS


def test_fewer_runs_than_the_papers_cannot_refute_a_level_of_significance():
    found = DECIDE["B26"](made_up(against, seeds=(0, 1)))
    assert (found.verdict, found.evidence.partition("; ")[0]) == (UNDECIDED, "p < 0.01 (Welch, Holm) in 0 of 3")
    assert found.evidence.endswith("2 runs have less power than the paper's 5")


def test_one_run_decides_only_changes_beyond_its_noise():
    def flat(epochs, seed):
        return as_claimed(epochs, seed) | {("cladec", "loss_raw_sum"): 5.0 + 0.01 * epochs, ("cladec", "accuracy"): 0.9}

    for key in ("B24", "B25", "B26", "B27"):
        assert DECIDE[key](made_up(flat, seeds=(0,))).verdict == UNDECIDED, key
    for key in ("B24", "B27", "B28", "B31"):
        assert DECIDE[key](made_up(as_claimed, seeds=(0,))).verdict == HOLDS, key


def test_a_single_encoder_decides_nothing_about_training():
    alone = made_up(as_claimed, epochs=(0,))
    for key in set(DECIDE) - {"B28", "B29"}:
        assert DECIDE[key](alone).verdict == UNDECIDED, key


def test_without_an_untrained_encoder_there_is_nothing_to_decide():
    trained = made_up(as_claimed, epochs=(1, 4, 16))
    for key in ("B25", "B27", "B28", "B31"):
        assert DECIDE[key](trained).verdict == UNDECIDED, key


@pytest.mark.parametrize(
    ("key", "verdict", "said"),
    [
        ("B24", HOLDS, "3 of 4 steps; p < 0.05 after Holm in 2 of 4"), ("B25", HOLDS, "5 of 5"),
        ("B26", FAILS, "2 of 4"), ("B27", HOLDS, "1 of 1"), ("B28", HOLDS, "1 of 1"), ("B29", HOLDS, "8 of 8"),
        ("B30", HOLDS, "-0.036"), ("B31", UNDECIDED, "theory"),
    ],
)  # fmt: skip
def test_verdict_on_the_printed_table(key, verdict, said):
    found = DECIDE[key](printed())
    assert found.verdict == verdict
    assert said in found.evidence


def test_the_tests_of_table_6_are_those_recomputed_by_hand():
    p = [step.welch for step in compare(printed(), "rec_cladec")]
    assert p == pytest.approx([1e-5, 0.047, 0.002, 0.081], rel=0.1)
    (whole,) = compare(printed(), "rec_cladec", ends)
    assert whole.change == pytest.approx(6.081 - 5.445)


def test_paired_tests_pair_by_seed():
    found = made_up(as_claimed)
    first, second = (
        [as_claimed(epochs, seed)["cladec", "loss_raw_sum"] + 0.01 * seed for seed in range(3)] for epochs in (0, 1)
    )
    (step,) = compare(found, "d_rec", lambda values: [(0, 1)])
    assert step.paired == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert step.welch == pytest.approx(
        stats.ttest_ind(
            *([value - 0.02 * seed for seed, value in enumerate(part)] for part in (first, second)), equal_var=False
        ).pvalue
    )


def test_the_uncalibrated_encoder_is_kept_apart():
    rows = made_up(as_claimed).record
    loss = ("fashion_mnist", "vgg11", 0, "rec_cladec")
    assert evidence(rows, "initial").summary.loc[loss, "mean"] == pytest.approx(
        3 * evidence(rows).summary.loc[loss, "mean"]
    )


def test_impossible_epochs_are_refused_by_value():
    with pytest.raises(UsageError, match="-1"):
        settings_for("encoder_training", "smoke", encoder_epochs=[0, -1])


def test_the_experiment_explains_every_encoder(tmp_path):
    settings = settings_for(
        "encoder_training", "smoke", architectures=["vgg5"], train_limit=64, test_limit=40, batch_size=16
    )
    found = experiments.run(settings, root=tmp_path, device="cpu", progress=False)
    assert [name.split("/")[2] for name in found.cells] == [
        "conv4 RefAE", "conv4 calibrated", "conv4 initial", "conv4 trained 1 epochs", "conv4 slow 1 epochs",
    ]  # fmt: skip
    again = experiments.run(settings, root=tmp_path, device="cpu", progress=False)
    assert again.manifest["files"] == found.manifest["files"]
    measured = evidence(again)
    assert {name for name, _ in measured.summary.groupby(level="encoder_epochs")} == {0, 1}
    assert not measured.summary["mean"].isna().any()
    least = slow_averages(again)
    assert list(least.columns) == ["slow averages", "usual averages"]
    assert list(least.index.get_level_values("encoder_epochs")) == [1]
    shown = figures.encoders(again, [str(digit) for digit in range(10)], count=2)
    assert {"X", "untrained", "1 epoch"} <= {axis.get_ylabel() for axis in shown.axes}
    assert len(figures.over_epochs({"published": printed(), "this run": measured}).axes) == 2
