"""Plain feature inversion beside ClaDec."""

import pytest
import torch
from torch import nn

from cladec_core import ClaDec
from cladec_core.errors import UsageError
from cladec_core.explainer import invert, taps
from tests.foreign import CLASSES, GOOD, NORMALISE, assert_untouched, fitted, marks, small_net

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* images are few", "ignore:Reference of", "ignore:.* do not read the difference"
)


def test_inversion_comes_near_the_activation_and_keeps_what_a_decoder_loses():
    net = small_net()
    explainer = fitted(net, "conv1", preprocess=NORMALISE)
    before = marks(net)
    found = invert(explainer, GOOD[:4])["conv1"]
    assert_untouched(net, before)
    assert found.steps == 200
    assert found.inverted.shape == (4, 3, 16, 16)
    low, high = explainer.explain(GOOD[:4]).value_range
    assert found.inverted.min() >= low - 1e-5
    assert found.inverted.max() <= high + 1e-5
    tap = taps.Tap("conv1", "keep", net.eval(), NORMALISE, {})
    wanted, inverted, decoded = (tap(images) for images in (GOOD[:4], found.inverted, found.cladec))
    distance = [((made - wanted).square().mean() / wanted.var()).item() for made in (inverted, decoded)]
    assert distance[0] < 0.4
    assert distance[0] < distance[1] / 3
    with torch.no_grad():
        assert torch.equal(found.prediction_inverted, net(NORMALISE(found.inverted)).argmax(1))
    assert found.kept == {
        "cladec": int((found.prediction_cladec == found.prediction).sum()),
        "inversion": int((found.prediction_inverted == found.prediction).sum()),
    }
    labels = [axis.get_ylabel() for axis in found.show().axes]
    assert f"inversion\nconv1\nsame class:\n{found.kept['inversion']} of 4" in labels


def test_inversion_ends_in_time_and_names_every_layer():
    explainer = ClaDec(small_net(), layers=["conv1", "pool"], device="cpu").fit(GOOD, epochs=1, progress=False)
    found = invert(explainer, GOOD[:2], seconds=0)
    assert {layer: one.steps for layer, one in found.items()} == {"conv1": 1, "pool": 1}


def test_a_model_without_gradients_cannot_be_inverted():
    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = small_net()

        def forward(self, images):
            with torch.no_grad():
                return self.net(images)

    with pytest.raises(UsageError, match=r"Layer 'net.conv1' lets no gradient through; it cannot be inverted"):
        invert(fitted(Deaf(), "net.conv1"), GOOD[:2])
    with pytest.raises(UsageError, match="not fitted"):
        invert(ClaDec(small_net(classes=CLASSES), "conv1", device="cpu"), GOOD)
