"""The experiments of the book and the explainer of somebody's model train the same decoders and references."""

from dataclasses import replace

import pytest
import torch
from cladec_companion.engine.study import Study

from cladec_companion.records.settings import settings_for
from cladec_core import ClaDec, data, training
from cladec_core.explainer import protocol
from cladec_core.explainer.protocol import PAPER
from cladec_core.training import Compute

SEED, CPU = 3, torch.device("cpu")


@pytest.fixture(scope="module")
def few():
    return data.load("digits", train_limit=48, test_limit=16)


def explained(study, layer, *, settings, sigmoid=False, mean_loss=False, **options):
    """The layer of a study's classifier, explained by `ClaDec` with the protocol that the study has."""
    how = replace(
        PAPER, epochs=settings.decoder_epochs, batch_size=settings.batch_size, style=settings.decoder_style,
        sigmoid=sigmoid, mean_loss=mean_loss,
    )  # fmt: skip
    explainer = ClaDec(study.classifier, layer, reference="copy", seed=SEED, device="cpu", protocol=how, **options)
    explainer.on = study.on
    return explainer.fit(study.data.train_images, study.data.train_labels, progress=False)


def same_weights(first, second):
    pairs = list(zip(first.state_dict().values(), second.state_dict().values(), strict=True))
    return bool(pairs) and all(torch.equal(*pair) for pair in pairs)


@pytest.mark.filterwarnings("ignore:.* images are few")
@pytest.mark.parametrize(
    ("layer", "options", "changes", "dtype"),
    [
        ("conv3", {}, {}, torch.float32),
        ("conv1", {}, {}, torch.bfloat16),
        ("logits", {"alpha": 0.25}, {}, torch.float32),
        ("conv4a", {"channels": [4, 5], "alpha": 0.5}, {}, torch.float32),
        ("conv2", {}, {"sigmoid": True, "mean_loss": True}, torch.float32),
        ("penultimate", {}, {"style": "table1"}, torch.float32),
    ],
)
def test_a_layer_trained_both_ways_has_the_same_weights_bit_for_bit(few, layer, options, changes, dtype):
    digits, changes = few, dict(changes)
    settings = settings_for("layers", "smoke", batch_size=16, decoder_style=changes.pop("style", "code"))
    study = Study(digits, "vgg11", SEED, settings, Compute(CPU, dtype)).explained(**changes)
    decoder, reference = study.decoder(layer, **options), study.reference(layer)
    explainer = explained(study, layer, settings=settings, **options, **changes)
    part = explainer._parts[layer]
    assert same_weights(decoder[1], part.decoder[0])
    if "channels" not in options:  # else the explainer's reference has the same channels, and the study's has all
        assert same_weights(reference[1], part.reference[1][0])
        fitted = part.reference[0][1].model.state_dict()
        assert all(torch.equal(fitted[name], value) for name, value in reference[0].state_dict().items())
    reconstruction = explainer.explain(digits.test_images).reconstruction
    torch.testing.assert_close(reconstruction, study.test(decoder), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.* images are few")
def test_another_seed_gives_other_weights(few, on, smoke):
    study = Study(few, "vgg11", SEED, smoke, on)
    explainer = explained(study, "conv4a", settings=smoke)
    other = study.changed(seed=SEED + 1, classifier=study.classifier)
    assert not same_weights(other.decoder("conv4a")[1], explainer._parts["conv4a"].decoder[0])


@pytest.mark.parametrize(
    ("which", "channels", "alpha", "text"),
    [
        ("decoder", None, 0.0, "decoder conv3/weights"),
        ("decoder", [4, 5, 6], 0.5, "decoder conv3 channels 4-6/weights"),
        ("decoder_order", [6, 4], 0.5, "decoder conv3 channels 6,4 α=0.5/order"),
        ("reference", None, 0.5, "RefAE conv3/weights"),
        ("reference_order", None, 0.5, "RefAE conv3/order"),
    ],
)
def test_seeds_of_the_paper_are_those_of_the_records(which, channels, alpha, text):
    assert PAPER.seeds.derive(which, 7, "conv3", channels, alpha) == training.derive_seed(7, *text.split("/"))
    assert protocol.PRACTICAL.seeds.derive(which, 7, "conv3", channels, alpha) != training.derive_seed(7, text)
