"""The experiments of the book and the explainer of somebody's model train the same decoders and references."""

from dataclasses import replace

import pytest
import torch

from cladec_companion.engine.models import Models
from cladec_companion.engine.setup import Setup
from cladec_companion.papers import settings_for
from cladec_core import ClaDec, data, training
from cladec_core.explainer import protocol
from cladec_core.explainer.protocol import PAPER
from cladec_core.training import Compute

SEED, CPU = 3, torch.device("cpu")


@pytest.fixture(scope="module")
def few():
    return data.load("digits", train_limit=48, test_limit=16)


def explained(setup, classifier, layer, **options):
    """A layer of a setup's classifier, explained by `ClaDec` with the protocol that the setup has."""
    settings = setup.settings
    how = replace(
        PAPER, epochs=settings.decoder_epochs, batch_size=settings.batch_size, style=settings.decoder_style,
        sigmoid=setup.sigmoid, mean_loss=setup.mean_loss,
    )  # fmt: skip
    explainer = ClaDec(classifier, layer, reference="copy", seed=SEED, device="cpu", protocol=how, **options)
    explainer.on = setup.on
    return explainer.fit(setup.data.train_images, setup.data.train_labels, progress=False)


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
    changes, models = dict(changes), Models()
    settings = settings_for("layers", "smoke", batch_size=16, decoder_style=changes.pop("style", "code"))
    setup = Setup(few, "vgg11", SEED, settings, Compute(CPU, dtype)).explained(**changes)
    decoder, reference = (models.train(part) for part in (setup.decoder(layer, **options), setup.reference(layer)))
    explainer = explained(setup, models.train(setup.classifier), layer, **options)
    part = explainer._built[layer]
    assert same_weights(decoder[1], part.decoder[0])
    if "channels" not in options:  # else the explainer's reference has the same channels, and the setup's has all
        assert same_weights(reference[1], part.reference[1][0])
        fitted = part.reference[0][1].model.state_dict()
        assert all(torch.equal(fitted[name], value) for name, value in reference[0].state_dict().items())
    reconstruction = explainer.explain(few.test_images).reconstruction
    torch.testing.assert_close(reconstruction, setup.test(decoder), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.* images are few")
def test_another_seed_gives_other_weights(few, on, smoke):
    setup, models = Setup(few, "vgg11", SEED, smoke, on), Models()
    explainer = explained(setup, models.train(setup.classifier), "conv4a")
    other = models.train(setup.explained(seed=SEED + 1).decoder("conv4a"))
    assert not same_weights(other[1], explainer._built["conv4a"].decoder[0])


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
