"""The chapter encoder_training: calibration, and a run of the experiment."""

import copy

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from cladec_companion import papers
from cladec_companion.engine import runner
from cladec_companion.engine.models import Models
from cladec_companion.engine.setup import Setup
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec.encoder_training import figures
from cladec_companion.papers.cladec.encoder_training.claims import evidence, printed, slow_averages
from cladec_companion.papers.cladec.encoder_training.experiment import _projected
from cladec_core import measures, training
from cladec_core.errors import UsageError


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
def setup(digits, on):
    return Setup(digits, "vgg5", 0, settings_for("encoder_training", "smoke", width=0.05), on)


@pytest.fixture
def models(tmp_path):
    return Models(tmp_path / "cache")


def weights(model):
    return {name: value for name, value in model.state_dict().items() if "running" not in name and "num_" not in name}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def cached(models):
    return list(models.cache.glob("*.pt"))


def test_untrained_variants_have_the_initial_weights(setup, models):
    variants = [setup.changed(encoder_epochs=0, calibrated=flag) for flag in (True, False)]
    calibrated, raw = (models.train(variant.classifier) for variant in variants)
    assert same(weights(calibrated), weights(setup.classifier.build()))
    assert same(weights(raw), weights(calibrated))
    assert torch.equal(raw.conv1[1].running_var, torch.ones_like(raw.conv1[1].running_var))
    assert not torch.equal(calibrated.conv1[1].running_var, raw.conv1[1].running_var)
    assert not cached(models)
    codes = [setup.test(model.up_to("conv4")).std(0).mean() for model in (calibrated, raw)]
    assert codes[0] > 10 * codes[1]  # finding 5; the deeper the network, the more


def test_epochs_decide_which_classifier_the_cache_gives(setup, models):
    one, three = (models.train(setup.changed(encoder_epochs=epochs).classifier) for epochs in (1, 3))
    assert len(cached(models)) == 2
    assert not same(weights(one), weights(three))
    # The setup itself has one epoch at this profile, which is the same training.
    again = Models(models.cache)
    assert same(weights(again.train(setup.changed(encoder_epochs=3).classifier)), weights(three))
    assert same(weights(again.train(setup.classifier)), weights(one))
    assert len(cached(models)) == 2


def test_slow_averages_change_nothing_but_the_running_statistics(setup, models):
    usual = models.train(setup.changed(encoder_epochs=1).classifier)
    slow = models.train(setup.changed(encoder_epochs=1, momentum=0.01).classifier)
    assert same(weights(usual), weights(slow))
    first, second = (model.conv1[1] for model in (usual, slow))
    assert (first.momentum, second.momentum) == (0.1, 0.01)
    # Both started at a variance of 1: the slow one is still nearer to it.
    assert (second.running_var - 1).abs().sum() < (first.running_var - 1).abs().sum()
    assert len(cached(models)) == 2


def test_all_variants_share_one_reference(setup):
    references = [setup.changed(encoder_epochs=epochs).reference("conv4") for epochs in (0, 3)]
    assert references[0].key == references[1].key


def test_a_random_projection_is_measured_as_the_code_is(digits):
    images = digits.test_images[:30]
    wide, narrow = (_projected(images, size, 0) for size in (512, 4))
    assert 1 > wide > 0.95 > narrow > 0.2
    assert _projected(images, 4, 0) == narrow != _projected(images, 4, 1)


def test_distance_rank_correlation_is_the_slow_one():
    images, codes = torch.randn(6, 1, 4, 4), torch.randn(6, 3)
    pairs = [(a, b) for a in range(6) for b in range(a)]
    distances = [[(part[a] - part[b]).double().norm().item() for a, b in pairs] for part in (images, codes)]
    assert measures.distance_rank_correlation(images, codes) == pytest.approx(stats.spearmanr(*distances).statistic)
    assert measures.distance_rank_correlation(images, images * 2) == pytest.approx(1)


def test_impossible_epochs_are_refused_by_value():
    with pytest.raises(UsageError, match="-1"):
        settings_for("encoder_training", "smoke", encoder_epochs=[0, -1])


def test_the_experiment_explains_every_encoder(tmp_path):
    settings = settings_for(
        "encoder_training", "smoke", architectures=["vgg5"], train_limit=64, test_limit=40, batch_size=16
    )
    found = runner.run(papers.chapter("encoder_training"), settings, root=tmp_path, device="cpu", progress=False)
    assert [name.split("/")[2] for name in found.cells] == [
        "conv4 RefAE", "conv4 calibrated", "conv4 initial", "conv4 trained 1 epochs", "conv4 slow 1 epochs",
    ]  # fmt: skip
    again = runner.run(papers.chapter("encoder_training"), settings, root=tmp_path, device="cpu", progress=False)
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
