"""The chapter alpha: Eq. 1, and a run of the experiment."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from cladec_companion import papers
from cladec_companion.engine import runner
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec.alpha import figures
from cladec_companion.papers.cladec.alpha.claims import (
    CLAIMS,
    equivalent_weights,
    evidence,
    printed,
)
from cladec_companion.records.record import read_record
from cladec_core import measures
from cladec_core.errors import UsageError
from cladec_core.training import ClaDecLoss

# Made-up rows differ by the same amount in every seed.
pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")
DECIDE = {claim.key: claim.decide for claim in CLAIMS}
ALPHAS = (0.0, 0.01, 0.5, 0.999, 1.0)


def slow_loss(outputs, images, labels, weights, alpha):
    """Eq. 1 for a linear classifier, one pixel and one class at a time."""
    total = 0.0
    for output, image, label in zip(outputs, images, labels, strict=True):
        squares = sum((a - b) ** 2 for a, b in zip(image, output, strict=True))
        logits = [sum(w * a for w, a in zip(row, output, strict=True)) for row in weights]
        cross_entropy = math.log(sum(math.exp(logit) for logit in logits)) - logits[label]
        total += (1 - alpha) * squares + alpha * cross_entropy
    return total / len(outputs)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_eq_1_and_its_gradient_are_the_slow_ones(alpha):
    images, outputs = torch.rand(2, 3, 1, 2, 2, dtype=torch.float64)
    labels = torch.tensor([2, 0, 1])
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False)).double().requires_grad_(False)
    outputs.requires_grad_()
    loss = ClaDecLoss(classifier, alpha)(outputs, images, labels)
    loss.backward()
    flat = outputs.detach().flatten(1).numpy()
    arguments = images.flatten(1).numpy(), labels.tolist(), classifier[1].weight.numpy(), alpha
    assert loss.item() == pytest.approx(slow_loss(flat, *arguments), rel=1e-6)
    step = 1e-5
    for place in np.ndindex(flat.shape):
        above, below = flat.copy(), flat.copy()
        above[place] += step
        below[place] -= step
        slope = (slow_loss(above, *arguments) - slow_loss(below, *arguments)) / (2 * step)
        # The classifier's loss is taken in float32, as in training.
        assert outputs.grad.flatten(1)[place].item() == pytest.approx(slope, abs=1e-5)


def test_cross_entropy_and_pixel_correlation_are_the_slow_ones():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    slow = [math.log(sum(math.exp(v) for v in row)) - row[k] for row, k in zip(logits.tolist(), labels, strict=True)]
    assert measures.cross_entropy(logits, labels) == pytest.approx(sum(slow) / 4)
    first, second = torch.randn(2, 4, 1, 8, 8)
    slow = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(first.numpy(), second.numpy(), strict=True)]
    assert measures.pixel_correlation(first, second) == pytest.approx(np.mean(slow))
    assert measures.pixel_correlation(first, -first) == pytest.approx(-1)
    assert measures.pixel_correlation(first, torch.ones_like(first)) == 0


@pytest.mark.parametrize(("alphas", "named"), [([0.5, 1.5], "1.5"), ([-0.1], "-0.1"), ([], "empty"), (["a"], "'a'")])
def test_a_weight_outside_0_to_1_is_refused_by_value(alphas, named):
    with pytest.raises(UsageError, match=named):
        settings_for("alpha", "smoke", alphas=alphas)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alpha")
    settings = settings_for(
        "alpha", "smoke", architectures=["vgg5"], alphas=[0, 0.5], train_limit=64, test_limit=40, batch_size=16
    )
    return settings, runner.run(papers.chapter("alpha"), settings, root=folder, device="cpu", progress=False), folder


def test_the_experiment_measures_each_weight(record):
    settings, found, folder = record
    assert set(found.rows["layer"]) == {"conv4"}
    assert list(found.cells) == ["digits/vgg5/conv4 α=0.0/0", "digits/vgg5/conv4 α=0.5/0"]
    wide = found.rows.pivot(index="alpha", columns=["method", "metric"], values="value")["cladec"]
    for alpha in (0.0, 0.5):
        row = wide.loc[alpha]
        assert row["loss_total"] == pytest.approx((1 - alpha) * row["loss_raw_sum"] + alpha * row["loss_classifier"])
    # An integer weight in the file is still the same cell, and the files stay as they are.
    again = runner.run(papers.chapter("alpha"), settings, root=folder, device="cpu", progress=False)
    assert again.manifest["files"] == found.manifest["files"]
    longer = settings_for("alpha", "smoke", **{
        name: getattr(settings, name) for name in ("architectures", "train_limit", "test_limit", "batch_size")
    }, alphas=[0, 0.5, 1])  # fmt: skip
    assert len(runner.run(papers.chapter("alpha"), longer, root=folder, device="cpu", progress=False).cells) == 3
    assert set(read_record(found.folder).rows["alpha"]) == {0, 0.5, 1}


def test_the_weight_over_grey_values_has_the_same_optimum(record):
    _, found, _ = record
    wide = found.rows.pivot(index="alpha", columns=["method", "metric"], values="value")["cladec"].loc[0.5]
    theirs = equivalent_weights(found)["α over grey values"].loc["digits", "vgg5", 0.5]
    ours = (1 - 0.5) * wide["loss_standardised"] * 1024 / (0.5 * wide["loss_classifier"])
    assert (1 - theirs) * wide["loss_raw_sum"] / (theirs * wide["loss_classifier"]) == pytest.approx(ours, rel=0.01)


def test_the_figures_show_every_weight(record):
    _, found, _ = record
    shown = figures.samples_by_alpha(found, [str(digit) for digit in range(10)], count=2)
    assert {axis.get_ylabel() for axis in shown.axes} >= {"X", "α = 0", "α = 0.5"}
    drawn = figures.trade_off({"published": printed(), "this run": evidence(found)})
    ticks = [label.get_text() for label in drawn.axes[0].get_xticklabels()]
    assert ticks == ["0", "0.5", "0.98642", "0.99875", "0.99988", "1"]  # the printed ones where our scale has them
