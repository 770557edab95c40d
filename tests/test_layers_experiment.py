"""The numbers and images of a cell of the chapter layers, against those made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cladec_companion.engine.models import Models
from cladec_companion.engine.setup import Setup
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec.layers import experiment as layers
from cladec_companion.papers.cladec.shared import sample_indices
from cladec_core import measures, networks, training
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
@pytest.mark.parametrize("method", ["cladec", "refae"])
def test_the_drift_of_a_layer_is_that_made_by_hand(method, setup, hand, measured, models):
    values, _ = measured
    judge = models.train(setup.changed(seed=layers.JUDGE_SEED).classifier)
    assert not torch.equal(judge.conv0[0].weight, hand.classifier.conv0[0].weight)
    seen = [judge(images).argmax(1).tolist() for images in (setup.data.test_images, getattr(hand, method).images)]
    changes = [
        float(after == guess) - float(before == guess)
        for before, after, guess, label in zip(
            *seen, hand.predicted.tolist(), setup.data.test_labels.tolist(), strict=True
        )
        if guess != label
    ]
    assert values[method, "misclassified"] == len(changes) > 1
    assert values[method, "judge_drift"] == pytest.approx(np.mean(changes))
    assert values[method, "judge_drift_error"] == pytest.approx(np.std(changes, ddof=1) / len(changes) ** 0.5)


def test_the_judge_is_the_same_for_every_layer_and_every_run(setup, digits, smoke, on):
    judges = {Setup(digits, "vgg11", seed, smoke, on).changed(seed=layers.JUDGE_SEED).classifier.key for seed in (0, 1)}
    assert len(judges) == 1
    assert setup.classifier.key not in judges


@torch.no_grad()
def test_what_is_said_of_units_and_of_classes_is_made_by_hand(setup, hand, measured, models):
    values, _ = measured
    labels = setup.data.test_labels.tolist()
    for method in ("cladec", "refae"):
        images = getattr(hand, method).images.flatten(1).double().numpy()
        total = ((images - images.mean(0)) ** 2).sum()
        means = {
            label: np.mean([x for x, own in zip(images, labels, strict=True) if own == label], 0) for label in labels
        }
        within = sum(((x - means[label]) ** 2).sum() for x, label in zip(images, labels, strict=True))
        assert values[method, "within_class_share"] == pytest.approx(within / total, rel=1e-4)
    units = hand.classifier.up_to("conv4a")(setup.data.test_images)
    assert values["activation", "active_unaveraged"] == pytest.approx((units > 0).double().mean().item(), abs=1e-3)
    averaged = layers._read_layer(setup, hand.classifier, "penultimate")["activation"]
    last = hand.classifier.up_to("conv4")(setup.data.test_images)
    assert averaged["active_unaveraged"] == pytest.approx((last > 0).double().mean().item(), abs=1e-3)
    assert "active_unaveraged" not in layers._read_layer(setup, hand.classifier, "logits")["activation"]


def test_a_resnets_units_are_counted_before_they_are_averaged(digits, on):
    setup = Setup(digits, "resnet10", 0, settings_for("layers", "smoke", width=0.1), on)
    classifier = networks.classifier("resnet10", 1, 10, 0.1).eval()
    found = layers._read_layer(setup, classifier, "penultimate")["activation"]
    assert found["active"] > found["active_unaveraged"] + 0.2


@pytest.mark.parametrize("falls", [False, True])
def test_a_training_that_was_still_falling_is_marked(setup, models, monkeypatch, falls):
    monkeypatch.setattr(training, "still_falling", lambda history: falls)
    rows, _ = cells.measured(layers.run_cell, setup, "conv4a", False, models)
    marks = {row["method"]: row["value"] for row in rows if row["metric"] == "still_falling"}
    assert marks == {"cladec": float(falls), "refae": float(falls)}


def test_the_samples_of_a_layer_are_its_reconstructions(setup, hand, measured):
    _, samples = measured
    chosen = sample_indices(setup.data.test_labels, hand.predicted)
    for method in ("cladec", "refae"):
        grey = setup.data.to_unit(getattr(hand, method).images[chosen]).clamp(0, 1).numpy() * 255
        assert np.abs(samples[f"conv4a/{method}"] - grey).max() <= 0.51
    expected = measures.gradcam(hand.classifier, "conv4a", setup.data.test_images[chosen]).numpy() * 255
    assert np.abs(samples["conv4a/gradcam"] - expected).max() <= 0.51
    assert samples["conv4a/gradcam"].max() == 255


@torch.no_grad()
def test_the_scores_of_shown_images_are_those_of_the_explained_classifier(setup, hand, measured):
    _, samples = measured
    chosen = sample_indices(setup.data.test_labels, hand.predicted)
    for method in ("cladec", "refae"):
        seen = hand.classifier(getattr(hand, method).images[chosen]).softmax(1) * 100
        assert np.abs(samples[f"score/conv4a/{method}"] - seen.numpy()).max() <= 0.51


def test_no_samples_where_none_are_asked_for(setup, models):
    for part in ("classifier", "conv4a"):
        rows, samples = cells.measured(layers.run_cell, setup, part, False, models)
        assert rows
        assert samples == {}
