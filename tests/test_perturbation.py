"""Methods that change the image, on networks of which the answer is known, and what stands where pixels are deleted."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from cladec_companion.papers.xai.attribution import FILLS, Around, attribute, perturbation
from cladec_companion.papers.xai.attribution.around import blurred
from cladec_companion.papers.xai.attribution.perturbation import segments

SIDE = 8


class Corner(nn.Module):
    """Class 1 by the brightness of the upper left quarter; nothing else matters."""

    def __init__(self, scale=4.0):
        super().__init__()
        self.scale = scale

    def forward(self, images):
        bright = self.scale * images[:, :, : images.shape[2] // 2, : images.shape[3] // 2].mean((1, 2, 3))
        return torch.stack([torch.zeros_like(bright), bright], 1)


@pytest.fixture
def images():
    return torch.randn(5, 1, SIDE, SIDE)


def test_occlusion_is_the_mean_fall_over_the_squares(images):
    model, around = Corner(), Around(torch.randn(20, 1, SIDE, SIDE))
    found = attribute(model, images, 1, method="occlusion", around=around, patch=4, stride=4)
    for top, left in ((0, 0), (0, 4), (4, 4)):
        covered = images.clone()
        covered[:, :, top : top + 4, left : left + 4] = around.mean
        fall = model(images)[:, 1] - model(covered)[:, 1]
        assert torch.allclose(found[:, top + 1, left + 2], fall, atol=1e-5)
    assert found[:, 4:].abs().max() < 1e-6
    assert found[:, :4, :4].abs().min() > 0


def test_meaningful_perturbation_deletes_what_matters_and_little_else():
    images = torch.zeros(2, 1, 32, 32)
    images[:, :, 5:9, 5:9] = 4.0
    for fill in ("blur", "mean"):
        found = attribute(
            Corner(20.0), images, 1, method="meaningful_perturbation", around=Around(images * 0), fill=fill,
            iterations=150,
        )  # fmt: skip
        assert found[:, 5:9, 5:9].mean() > 0.5, fill
        assert found[:, 16:, 16:].mean() < 0.1, fill


@pytest.mark.parametrize("method", ["pda", "lime"])
def test_what_does_not_matter_gets_nothing_from_samples(method):
    images = torch.rand(2, 1, 16, 16)
    images[:, :, :8, :8] += 1
    options = {"pda": {"patch": 4, "window": 8, "stride": 4, "samples": 16}, "lime": {"samples": 400}}[method]
    found = attribute(Corner(), images, 1, method=method, around=Around(torch.rand(30, 1, 16, 16)), **options)
    assert found[:, :8, :8].mean() > 4 * found[:, 8:, 8:].abs().mean()
    if method == "pda":
        assert found[:, 8:, 8:].abs().max() < 1e-4


def test_prediction_differences_are_seen_by_a_network_that_is_sure():
    images, around = torch.rand(2, 1, 16, 16) + 1, Around(torch.rand(30, 1, 16, 16))
    unsure, sure = (
        attribute(Corner(scale), images, 1, method="pda", around=around, stride=4, samples=1) for scale in (1.0, 100.0)
    )
    assert Corner(100.0)(images).softmax(1)[:, 1].min() == 1  # in float32
    assert unsure[:, :8, :8].abs().max() > 0.1
    assert torch.allclose(sure, 100 * unsure, rtol=1e-3, atol=1e-3)  # of two classes, the log-odds are the logit


def test_lime_weighs_variants_by_their_features_and_explains_the_logit(monkeypatch):
    halves = (torch.arange(SIDE) >= SIDE // 2).long().expand(SIDE, SIDE)
    monkeypatch.setattr(perturbation, "segments", lambda image: halves)
    image = torch.where(halves.bool(), 0.1, 3.0)[None, None]  # the left half has nearly all of the energy

    class Both(nn.Module):
        """Class 1 by both halves together, so that the weights of variants decide the slopes; else by the left one."""

        def forward(self, images):
            left, right = images[:, 0, :, 0].mean(1) / 3, images[:, 0, :, -1].mean(1) / 0.1
            return torch.stack([torch.zeros_like(left), 5 * left * right + left], 1)

    around = Around(torch.zeros(2, 1, SIDE, SIDE))
    found = attribute(Both(), image, 1, method="lime", around=around, samples=4000)[0, 0, [0, -1]]
    features = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])

    def slopes(cosines, values):
        weights = 1000 * np.exp(-((1 - np.array(cosines)) ** 2) / (2 * 0.25**2))
        return Ridge(alpha=1.0).fit(features, values, sample_weight=weights).coef_

    logits, single = np.array([0, 0, 1, 6]), 0.5**0.5
    assert found.tolist() == pytest.approx(slopes([0, single, single, 1], logits).tolist(), rel=0.03)
    by_energy = slopes([0, 0.1 / 9.01**0.5, 3 / 9.01**0.5, 1], logits)
    assert np.abs(by_energy / found.numpy() - 1).max() > 0.1  # what a kernel of pixels would say


def test_segments_follow_edges():
    image = torch.zeros(1, 32, 32)
    image[:, :, 16:] = 1
    found = segments(image)
    assert set(found[:, :14].unique().tolist()).isdisjoint(found[:, 18:].unique().tolist())


def test_cladec_s_relevance_is_the_change_of_the_explanation_in_the_square(images):
    around = Around(torch.randn(9, 1, SIDE, SIDE), decoder=nn.Conv2d(1, 1, 3, padding=1).requires_grad_(False))
    found = attribute(Corner(), images, 1, method="cladec", around=around, patch=4, stride=4)
    for top, left in ((0, 0), (4, 0)):
        covered = images.clone()
        covered[:, :, top : top + 4, left : left + 4] = around.mean
        change = (around.decoder(covered) - around.decoder(images)).square()[:, 0, top : top + 4, left : left + 4]
        assert torch.allclose(found[:, top, left], change.sum((1, 2)), atol=1e-4)


def test_fills_change_what_is_hidden_and_nothing_else(images):
    around = Around(torch.rand(9, 1, SIDE, SIDE), reference=nn.AvgPool2d(3, 1, 1))
    hidden = torch.zeros(5, 1, SIDE, SIDE, dtype=torch.bool)
    hidden[:, :, :3] = True
    made = {fill: around.filled(images, hidden, fill) for fill in FILLS}
    for fill, found in made.items():
        assert torch.equal(found[~hidden], images[~hidden]), fill
    assert torch.allclose(made["black"][hidden], around.low.flatten(), atol=1e-6)
    assert torch.allclose(made["mean"][hidden], around.mean.flatten(), atol=1e-6)
    assert torch.allclose(made["blur"][hidden], blurred(images)[hidden], atol=1e-6)
    grey = torch.where(hidden, around.mean, images)
    again = torch.where(hidden, around.reference(grey), images)
    assert torch.allclose(made["refae"][hidden], around.reference(again)[hidden], atol=1e-6)
