"""The explainer of somebody else's classifier: any module, any layer, and the model is as before, whatever happens."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from cladec_core import ClaDec, networks
from cladec_core.errors import UsageError
from cladec_core.explainer import taps
from tests.foreign import (
    CASES,
    CLASSES,
    GOOD,
    NORMALISE,
    assert_untouched,
    batch,
    fitted,
    in_use,
    marks,
    small_net,
    swin,
    vit,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* images are few", "ignore:Reference of", "ignore:.* do not read the difference"
)


@pytest.mark.parametrize("case", CASES)
def test_explains_a_layer_of_any_classifier_and_leaves_it_as_it_was(case):
    build, shape, layer, code, reference = CASES[case]
    net, output = in_use(build(), shape)
    before = marks(net)
    explainer = fitted(net, layer, shape)
    explanation = explainer.explain(batch(shape, 4))
    assert_untouched(net, before, batch(shape, 4), output)
    assert explainer._built[layer].decoder.training is False
    assert tuple(explainer._built[layer].settings["code"]) == code
    assert reference in explainer.references[layer]
    for images in (explanation.original, explanation.reference, explanation.reconstruction, explanation.difference):
        assert images.shape == (4, *shape)
        assert images.dtype == torch.float32
        assert images.isfinite().all()
    assert torch.equal(explanation.prediction, output.argmax(1))
    torch.testing.assert_close(explanation.probability, output.softmax(1).amax(1))


class Odd(nn.Module):
    """A model with a layer for each thing that can be wrong."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        for name in ("unused", "twice", "integers", "no_batch", "pair", "nan", "flat", "fine"):
            self.add_module(name, nn.Identity())
        self.integers.forward = lambda maps: maps.argmax(1)
        self.no_batch.forward = lambda maps: maps.mean(0)
        self.pair.forward = lambda maps: (maps, None)
        self.nan.forward = lambda maps: maps / 0
        self.flat.forward = lambda maps: maps.flatten(2).transpose(1, 2)[:, :7]
        self.head = nn.Linear(4, CLASSES)

    def forward(self, images):
        maps = self.twice(self.twice(self.fine(self.conv(images))))
        for layer in (self.integers, self.no_batch, self.pair, self.nan, self.flat):
            layer(maps)
        return {"logits": self.head(maps.mean((2, 3)))}


LOGITS = {"": lambda output: output["logits"]}


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("unused", "never calls layer 'unused'"),
        ("twice", "called 2 times in a forward pass.*module of its own"),
        ("integers", "integers carry no gradient.*adapter"),
        ("no_batch", "first axis must be the batch.*adapter"),
        ("pair", "puts out a tuple, not a tensor; pass adapter={'pair': lambda output: output\\[0\\]}"),
        ("nan", "NaN or infinite"),
        ("flat", "puts out 7 tokens, no grid on images of 16x16"),
    ],
)
def test_a_layer_that_cannot_be_explained_says_why_and_leaves_the_model_as_it_was(layer, message):
    net = Odd()
    before = marks(net)
    with pytest.raises(UsageError, match=message):
        fitted(net, layer, adapter=LOGITS)
    assert_untouched(net, before)


def test_outputs_that_are_no_tensor_go_through_an_adapter():
    with pytest.raises(UsageError, match=r"The model puts out a dict.*output\['logits'\]"):
        fitted(Odd(), "fine")
    explainer = fitted(Odd(), "pair", adapter=LOGITS | {"pair": lambda output: output[0]})
    assert explainer.explain(batch((3, 16, 16), 2)).reconstruction.shape == (2, 3, 16, 16)
    single = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 1))
    with pytest.raises(UsageError, match="one row of at least two logits"):
        fitted(single, "1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "conv11"}, "Unknown layer 'conv11' of Sequential; near: conv1"),
        ({"layer": None}, "Name one layer"),
        ({"layers": ["conv1", "conv2"]}, "Name one layer"),
        ({"alpha": 1.5}, "alpha is 1.5; valid: 0"),
        ({"alpha": 0.5}, "Labels are missing"),
        ({"channels": [6]}, "channels is \\[6\\]; valid for layer 'conv1': 0 to 5"),
        ({"channels": []}, "channels is \\[\\]"),
        ({"channels": True}, "channels is True; valid: whole numbers from 0, each once"),
        ({"channels": [True, False]}, r"channels is \[True, False\]; valid"),
        ({"channels": [1, 1]}, r"channels is \[1, 1\]; valid"),
        ({"channels": 1.5}, "channels is 1.5; valid"),
        ({"channels": "1"}, "channels is '1'; valid"),
        ({"channels": [[1], [2, 3]]}, "channels is .*; valid"),
        ({"channels": torch.tensor([-1])}, r"channels is tensor\(\[-1\]\); valid"),
        ({"alpha": "1"}, "alpha is '1'; valid: 0"),
        ({"alpha": True}, "alpha is True; valid: 0"),
        ({"alpha": float("nan")}, "alpha is nan; valid: 0"),
        ({"seed": "1"}, "seed is '1'; valid: a whole number from 0"),
        ({"seed": -1}, "seed is -1; valid: a whole number from 0"),
        ({"seed": True}, "seed is True; valid"),
        ({"class_token": "both"}, "Unknown class_token 'both'"),
        ({"reference": "none"}, "Unknown reference 'none'"),
        ({"device": "gpu"}, "No device 'gpu'"),
    ],
)
def test_options_that_cannot_be_used_are_named(options, message):
    net = small_net()
    before = marks(net)
    with pytest.raises(UsageError, match=message):
        ClaDec(net, **{"layer": "conv1", "device": "cpu"} | options).fit(GOOD, progress=False)
    assert_untouched(net, before)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"epochs": 0}, "epochs is 0; valid: a whole number from 1"),
        ({"epochs": "3"}, "epochs is '3'; valid: a whole number from 1"),
        ({"epochs": 2.0}, "epochs is 2.0; valid: a whole number from 1"),
        ({"time_budget": -5}, "time_budget is -5; valid: more than 0 seconds"),
        ({"time_budget": 0}, "time_budget is 0; valid: more than 0 seconds"),
        ({"time_budget": float("nan")}, "time_budget is nan; valid"),
    ],
)
def test_lengths_of_a_training_that_cannot_be_used_are_named(how, message):
    with pytest.raises(UsageError, match=message):
        ClaDec(small_net(), "conv1", device="cpu").fit(GOOD, progress=False, **how)


@pytest.mark.parametrize("channels", [2, np.int64(2), torch.tensor(2), [2], (2,), np.array([2]), torch.tensor([2])])
def test_channels_are_taken_from_whatever_holds_numbers(channels):
    assert ClaDec(small_net(), "conv1", channels=channels, device="cpu").channels == [2]


def quantised():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, CLASSES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces another package
        return torch.ao.quantization.quantize_dynamic(net)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: torch.jit.trace(small_net().eval(), GOOD[:2]),
            "the model, conv1.* is compiled by torch.jit",
        ),
        (lambda: torch.jit.script(small_net().eval()), "the model, conv1.* is compiled by torch.jit; pass the module"),
        (quantised, "1.* is quantised; pass the model as it was before"),
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(4)), "0, 2 is lazy, without weights"),
        (lambda: nn.Sequential(Locked()), "cannot be copied .TypeError: a lock"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_models_that_cannot_be_looked_into_are_refused_in_one_line(build, message):
    with pytest.raises(UsageError, match=message) as refused:
        ClaDec(build(), "conv1" if "jit" in message else "0", device="cpu")
    assert "\n" not in str(refused.value)


class Locked(nn.Module):
    def __deepcopy__(self, _):
        raise TypeError("a lock\nin two lines")


def test_hooks_of_somebody_else_do_not_run_and_the_models_own_do():
    class Counting(nn.Module):
        """A layer that watches itself, as its author wanted it."""

        def __init__(self):
            super().__init__()
            self.net, self.seen = small_net(), 0
            self.net.conv2.register_forward_pre_hook(self.count)
            nn.utils.spectral_norm(self.net.head)

        def count(self, *_):
            self.seen += 1

        def forward(self, images):
            return self.net(images)

    net, kept = Counting(), []
    net.net.conv1.register_forward_hook(lambda module, given, output: kept.append(output))
    net.register_forward_hook(lambda module, given, output, kwargs: kept.append(output), with_kwargs=True)
    before = marks(net)
    with pytest.warns(UserWarning, match="Hooks of the model, net.conv1 are not copied, as they are not"):
        explainer = fitted(net, "net.conv2")
    explainer.explain(GOOD[:2])
    assert not kept
    assert net.seen == 0
    assert explainer._logits.model.seen > 0
    assert_untouched(net, before)
    expected = net.eval()(GOOD[:2]).argmax(1)
    assert kept
    assert torch.equal(explainer.explain(GOOD[:2]).prediction, expected)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GOOD[:31], r"31 images; valid: at least 32 \(a batch\)"),
        (GOOD[:, :2], "preprocess fails on images of 2x16x16"),
        (GOOD[0, 0], r"shape \(16, 16\); valid: \(n, channels, height, width\)"),
        (GOOD * 2 - 1, "values from -1 to 1, but preprocess expects"),
        (GOOD.masked_fill(torch.arange(32)[:, None, None, None] == 5, torch.nan), "1 of 32 images have NaN.* first 5"),
        ((GOOD * 9).long(), "Images are torch.int64"),
        ("folder", "cannot be stacked"),
        (7, "Images are int"),
        ([torch.rand(3, 8, 8), torch.rand(3, 9, 9)] * 20, "cannot be stacked; valid: tensors of one size"),
    ],
)
def test_images_that_cannot_be_used_are_named(images, message):
    explainer = ClaDec(small_net(), "conv1", preprocess=NORMALISE, device="cpu")
    with pytest.raises(UsageError, match=message):
        explainer.fit(images, progress=False)
    with pytest.raises(UsageError, match="not fitted"):
        explainer.explain(GOOD)


def test_labels_that_cannot_be_used_are_named():
    explainer = ClaDec(small_net(), "conv1", alpha=0.5, device="cpu")
    for labels, message in (
        (torch.arange(31), r"of shape \(31,\) start with \[0, 1, 2\]; valid: shape \(32,\)"),
        (["cat", "dog"] * 16, r"start with \['cat', 'dog', 'cat'\]; valid: .* integers 0 to K - 1"),
        (torch.full((32,), 0.5), r"start with \[0.5, 0.5, 0.5\]"),
        ([[1], [2, 3]] * 16, r"of shape \(\) start with"),
        (torch.full((32,), 4), "labels are 4 to 4; valid for this model: 0 to 3"),
        ([-1] * 32, "labels are -1 to -1; valid"),
    ):
        with pytest.raises(UsageError, match=message):
            explainer.fit(GOOD, labels, progress=False)
    with pytest.raises(UsageError, match=r"start with \['cat', "):  # also where they are not used
        fitted(small_net(), labels=["cat"] * 32)


@pytest.mark.parametrize("label", ["cat", 0.5])
def test_labels_of_a_dataset_that_are_no_integers_are_as_good_as_none(label):
    pairs = [(image, label) for image in GOOD]
    assert ClaDec(small_net(), "conv1", device="cpu").fit(pairs, epochs=1, progress=False).epochs
    with pytest.raises(UsageError, match=r"Labels are missing; pass .* of \(image, label\), integers 0 to 3"):
        ClaDec(small_net(), "conv1", alpha=0.5, device="cpu").fit(pairs, epochs=1, progress=False)


def test_images_of_another_size_than_fitted_are_refused():
    with pytest.raises(UsageError, match=r"\(2, 3, 20, 16\); valid: \(n, 3, 16, 16\), as in fit"):
        fitted(small_net()).explain(torch.rand(2, 3, 20, 16))


class Overflowing(nn.Module):
    """Infinite for images whose first value is above a bound."""

    def forward(self, images):
        return images * torch.where(images[:, :1, :1, :1] > 0.9, torch.inf, 1.0)


def test_activations_that_are_not_finite_for_some_images_are_named():
    net = nn.Sequential(Overflowing(), nn.Flatten(), nn.Linear(3 * 16 * 16, CLASSES))
    good = GOOD.clone()
    good[:, 0, 0, 0] = 0.5
    explainer = ClaDec(net, "0", device="cpu").fit(good, epochs=1, progress=False)
    bad = good.clone()
    bad[3:5, 0, 0, 0] = 1
    with pytest.raises(UsageError, match="Layer '0' puts out values that are NaN or infinite for these images"):
        explainer.explain(bad)
    with pytest.raises(UsageError, match="Layer '0' puts out values that are NaN or infinite for some of the images"):
        explainer.fit(bad, progress=False)
    assert explainer.explain(good).losses.cladec.notna().all()


def test_images_in_other_units_than_fitted_are_refused():
    explainer = fitted(small_net())
    for images in (GOOD[:2] * 255, GOOD[:2] * 12 - 6):
        with pytest.raises(UsageError, match="those of fit from 0 to 1; valid: the same units as in fit"):
            explainer.explain(images)
    with pytest.raises(UsageError, match="the same units"):
        explainer.evaluate(batch((3, 16, 16), 64) * 255, [0, 1] * 32, seeds=1)
    assert len(explainer.explain(GOOD[:2] * 3 - 1)) == 2  # a little outside, as augmented images are
    assert len(explainer.explain((GOOD[:2] * 255).byte())) == 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_model_that_casts_inside_is_told_so(dtype):
    class Casting(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = small_net().to(dtype)

        def forward(self, images):
            return self.net(images.to(dtype))

    class Following(Casting):
        def forward(self, images):
            return self.net(images.to(next(self.parameters()).dtype))

    with pytest.raises(UsageError, match="The model casts to another type inside its forward, while the explainer's"):
        fitted(Casting(), "net.conv1")
    assert fitted(Following(), "net.conv1").explain(GOOD[:2]).reconstruction.isfinite().all()


def test_hooks_come_off_when_the_forward_pass_fails():
    net = small_net()
    with pytest.raises(RuntimeError), networks.capture(net, "conv1") as outputs:
        net(torch.rand(1, 2, 16, 16))
    assert not outputs
    assert not any(marks(net)["hooks"])
    with networks.capture(net, "conv1"):
        assert sum(marks(net)["hooks"]) == 1


def test_images_that_the_model_does_not_take_are_named():
    with pytest.raises(UsageError, match="The model does not take images of 2x16x16: RuntimeError: Given groups=1"):
        fitted(small_net(), shape=(2, 16, 16))


def test_activation_is_that_of_the_layer_although_a_later_one_works_in_place():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 14 * 14, CLASSES))
    activation = taps.Tap("0", "keep", net, None, {})(GOOD[:3])
    assert (activation < 0).any()
    assert torch.equal(activation, net[0](GOOD[:3]))


@pytest.mark.parametrize(
    ("tokens", "size", "expected"),
    [(16, (32, 32), (0, (4, 4))), (17, (32, 32), (1, (4, 4))), (18, (32, 32), (2, (4, 4))),
     (197, (224, 224), (1, (14, 14))), (261, (224, 224), (5, (16, 16))), (21, (32, 32), (5, (4, 4))),
     (26, (32, 32), (1, (5, 5))), (9, (48, 16), None), (13, (48, 16), (1, (6, 2)))],
)  # fmt: skip
def test_grid_of_tokens_has_the_ratio_of_the_image(tokens, size, expected):
    if expected is None:
        with pytest.raises(UsageError, match="9 tokens"):
            taps.token_grid("layer", tokens, size)
    else:
        assert taps.token_grid("layer", tokens, size) == expected


def test_class_token_is_repeated_or_dropped():
    net, layer = vit().eval(), "encoder.layers.encoder_layer_0"
    images = batch((3, 32, 32), 2)
    with networks.capture(net, layer) as outputs:
        net(images)
    tokens = outputs[0]
    dropped, kept = (taps.Tap(layer, mode, net, None, {})(images) for mode in ("drop", "keep"))
    assert dropped.shape == (2, 8, 4, 4)
    for row in range(4):
        for column in range(4):
            assert torch.equal(dropped[:, :, row, column], tokens[:, 1 + 4 * row + column])
            assert torch.equal(kept[:, :, row, column], torch.cat([tokens[:, 1 + 4 * row + column], tokens[:, 0]], 1))


@pytest.mark.parametrize("size", [(32, 32), (16, 40)])
def test_channels_that_come_last_are_put_in_front(size):
    net, images = swin().eval(), batch((3, *size), 2)
    for layer in ("features.0", "features.1.0"):
        with networks.capture(net, layer) as outputs:
            net(images)
        assert outputs[0].shape == (2, size[0] // 4, size[1] // 4, 12)
        assert torch.equal(taps.Tap(layer, "keep", net, None, {})(images), outputs[0].permute(0, 3, 1, 2))
        as_it_is = taps.Tap(layer, "keep", net, None, {layer: lambda output: output})
        assert torch.equal(as_it_is(images), outputs[0])
    with networks.capture(net, "permute") as outputs:
        net(images)
    assert torch.equal(taps.Tap("permute", "keep", net, None, {})(images), outputs[0])


def test_how_an_activation_is_read_is_said_and_doubt_too():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
    first = "Layer '0': (8, 8, 8) is read as (channels, height, width); if the channels come last, pass adapter={'0': "
    assert any(note.startswith(first) for note in fitted(net, "0").notes)
    for notes in (fitted(net, "0", adapter={"0": lambda output: output}).notes, fitted(net, "0", (3, 16, 24)).notes):
        assert not any("is read as" in note for note in notes)
    assert any("Activations of 2 (8 units, 0 MB) are kept" in note for note in fitted(net, "2").notes)
