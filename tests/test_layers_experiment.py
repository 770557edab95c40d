"""The numbers and images of a cell of the chapter layers, against those made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cladec_companion.engine.models import Models
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.cladec.layers import experiment as layers
from cladec_companion.papers.cladec.shared import sample_indices
from cladec_core import measures
from tests import cells


@pytest.fixture(scope="module")
def setup(digits, smoke, on):
    return Setup(digits, "vgg11", 0, smoke, on)


@pytest.fixture(scope="module")
def models():
    return Models()


@pytest.fixture(scope="module")
def measured(setup, models):
    rows, samples = cells.measured(layers.run_cell, setup, "conv4a", True, models)
    return {(row["method"], row["metric"]): row["value"] for row in rows}, samples


@pytest.fixture(scope="module")
def hand(setup, models):
    """Reconstructions, and what classifiers make of them, with plain torch."""
    wanted = {"cladec": setup.decoder("conv4a"), "refae": setup.reference("conv4a")}
    judges = [setup.judge(wanted["cladec"], "ClaDec conv4a"), setup.judge(wanted["refae"], "RefAE conv4a")]
    found = {}
    for (method, one), judge in zip(wanted.items(), map(models.train, judges), strict=True):
        model = models.train(one)
        with torch.no_grad():
            shown = torch.cat([model[1](model[0](image[None])) for image in setup.data.test_images])
            found[method] = SimpleNamespace(images=shown, judge=judge, seen_as=judge(shown).argmax(1))
    classifier = models.train(setup.classifier)
    return SimpleNamespace(**found, classifier=classifier, predicted=classifier(setup.data.test_images).argmax(1))


@torch.no_grad()
def test_the_numbers_of_a_layer_are_those_made_by_hand(setup, hand, measured):
    values, _ = measured
    data, labels = setup.data, setup.data.test_labels
    for method in ("cladec", "refae"):
        error = (getattr(hand, method).images - data.test_images).numpy().astype(float)
        assert values[method, "loss_standardised"] == pytest.approx((error**2).mean(), rel=1e-4)
        raw = (error * data.std.item()) ** 2
        assert values[method, "loss_raw_mean"] == pytest.approx(raw.mean(), rel=1e-4)
        assert values[method, "loss_raw_sum"] == pytest.approx(raw.mean() * 1024, rel=1e-4)
        assert values[method, "accuracy"] == np.mean(getattr(hand, method).seen_as.numpy() == labels.numpy())
        seen_as = hand.classifier(getattr(hand, method).images).argmax(1)
        assert values[method, "agreement"] == np.mean(seen_as.numpy() == hand.predicted.numpy())
    between = ((hand.cladec.images - hand.refae.images) ** 2).mean().item()
    assert values["cladec", "distance_to_refae"] == pytest.approx(between, rel=1e-3)


@torch.no_grad()
def test_the_drift_of_a_layer_is_that_made_by_hand(setup, hand, measured):
    values, _ = measured
    drift = hand.refae.judge(hand.cladec.images).argmax(1).tolist()
    wrong = [
        (seen, guess, label)
        for seen, guess, label in zip(drift, hand.predicted.tolist(), setup.data.test_labels.tolist(), strict=True)
        if guess != label
    ]
    assert values["cladec", "misclassified"] == len(wrong) > 0
    assert values["cladec", "drift_to_predicted"] == sum(seen == guess for seen, guess, _ in wrong) / len(wrong)
    assert values["cladec", "drift_to_true"] == sum(seen == label for seen, _, label in wrong) / len(wrong)


def test_the_samples_of_a_layer_are_its_reconstructions(setup, hand, measured):
    _, samples = measured
    chosen = sample_indices(setup.data.test_labels, hand.predicted)
    for method in ("cladec", "refae"):
        grey = setup.data.to_unit(getattr(hand, method).images[chosen]).clamp(0, 1).numpy() * 255
        assert np.abs(samples[f"conv4a/{method}"] - grey).max() <= 0.51
    expected = measures.gradcam(hand.classifier, "conv4a", setup.data.test_images[chosen]).numpy() * 255
    assert np.abs(samples["conv4a/gradcam"] - expected).max() <= 0.51
    assert samples["conv4a/gradcam"].max() == 255


def test_no_samples_where_none_are_asked_for(setup, models):
    for part in ("classifier", "conv4a"):
        rows, samples = cells.measured(layers.run_cell, setup, part, False, models)
        assert rows
        assert samples == {}
