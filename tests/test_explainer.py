"""The explainer of somebody else's classifier: any module, any layer, and the model is as before, whatever happens."""

import ast
import copy
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import Normalize

import cladec_core
from cladec_core import ClaDec, networks
from cladec_core.errors import RunError, UsageError
from cladec_core.explainer import evaluation, fitting, intake, taps

CLASSES = 4


def small_net(channels=3, classes=CLASSES):
    """Two convolutions with names, one of them with a dropout behind it."""
    net = nn.Sequential()
    net.add_module("conv1", nn.Sequential(nn.Conv2d(channels, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)))
    net.add_module("conv2", nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(inplace=True), nn.Dropout(0.5)))
    net.add_module("pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    net.add_module("head", nn.Linear(8, classes))
    return net


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 12), nn.ReLU(), nn.Linear(12, CLASSES))


def vit():
    """torchvision's vision transformer (vit_b_16 is an instance of the same class), thin."""
    return torchvision.models.VisionTransformer(32, 8, 2, 2, 8, 16, num_classes=CLASSES)


def swin():
    """torchvision's (swin_t is an instance of the same class), thin: blocks put out (n, height, width, channels)."""
    return torchvision.models.SwinTransformer([4, 4], 12, [1, 1], [2, 2], [4, 4], num_classes=CLASSES)


def vgg11_bn():
    """torchvision's, with one small layer in place of the 120 million weights of its head."""
    with torch.device("meta"):
        net = torchvision.models.vgg11_bn()
    net.avgpool, net.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, CLASSES)
    net = net.to_empty(device="cpu")
    taps.reinitialise(net)
    return net


def torchvision_net(name):
    return lambda: getattr(torchvision.models, name)(num_classes=CLASSES)


# name -> how to build it, shape of an image, layer, shape of its code, kind of reference
CASES = {
    "vector": (small_net, (3, 32, 32), "pool", (8,), "copied"),
    "one channel, 28x28": (lambda: small_net(1), (1, 28, 28), "conv2", (8, 7, 7), "copied"),
    "five channels, not square": (lambda: small_net(5), (5, 41, 22), "conv1", (6, 21, 11), "copied"),
    "mlp": (mlp, (1, 28, 28), "1", (12,), "copied"),
    "resnet18": (torchvision_net("resnet18"), (3, 32, 32), "layer1.0", (64, 8, 8), "copied"),
    "mobilenet_v3_small": (torchvision_net("mobilenet_v3_small"), (3, 36, 28), "features.3", (24, 5, 4), "copied"),
    "efficientnet_b0": (torchvision_net("efficientnet_b0"), (3, 32, 32), "features.2", (24, 8, 8), "copied"),
    "vgg11_bn": (vgg11_bn, (3, 32, 32), "features.7", (128, 8, 8), "copied"),
    "convnext_tiny": (torchvision_net("convnext_tiny"), (3, 32, 32), "features.1.0", (96, 8, 8), "project's"),
    "vit": (vit, (3, 32, 32), "encoder.layers.encoder_layer_0", (16, 4, 4), "project's"),
    "swin": (swin, (3, 32, 48), "features.1", (12, 8, 12), "project's"),
}


def batch(shape, n=32, seed=0):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


def fitted(net, layer="conv1", shape=(3, 16, 16), epochs=1, labels=None, **options):
    """An explainer after a short training, without the words about few images."""
    return ClaDec(net, layer, device="cpu", **options).fit(batch(shape), labels, epochs=epochs, progress=False)


pytestmark = pytest.mark.filterwarnings("ignore:.* images are few", "ignore:Reference of")


def marks(net):
    """Everything about a model that must not change."""
    return {
        "state": {name: value.clone() for name, value in net.state_dict().items()},
        "gradients": [None if value.grad is None else value.grad.clone() for value in net.parameters()],
        "requires": [value.requires_grad for value in net.parameters()],
        "modes": [part.training for part in net.modules()],
        "hooks": [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in net.modules()],
        "strides": [value.stride() for value in net.parameters()],
    }


def assert_untouched(net, before, images=None, output=None):
    after = marks(net)
    for name in ("requires", "modes", "hooks", "strides"):
        assert after[name] == before[name]
    assert all(torch.equal(after["state"][name], value) for name, value in before["state"].items())
    for now, then in zip(after["gradients"], before["gradients"], strict=True):
        assert (now is None and then is None) or torch.equal(now, then)
    if images is not None:
        with torch.no_grad(), networks.in_eval_mode(net):
            assert torch.equal(net(images), output)


def in_use(net, shape):
    """A model in the middle of somebody's training: gradients, mixed modes, a frozen layer."""
    net.train()
    net(batch(shape, 4)).sum().backward()
    next(net.children()).eval()
    next(net.parameters()).requires_grad_(False)
    with torch.no_grad(), networks.in_eval_mode(net):
        return net, net(batch(shape, 4))


@pytest.mark.parametrize("case", CASES)
def test_explains_a_layer_of_any_classifier_and_leaves_it_as_it_was(case):
    build, shape, layer, code, reference = CASES[case]
    net, output = in_use(build(), shape)
    before = marks(net)
    explainer = fitted(net, layer, shape)
    explanation = explainer.explain(batch(shape, 4))
    assert_untouched(net, before, batch(shape, 4), output)
    assert explainer._parts[layer].decoder.training is False
    assert tuple(explainer._parts[layer].settings["code"]) == code
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


NORMALISE = Normalize([0.5] * 3, [0.25] * 3)
GOOD = batch((3, 16, 16))


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
    ("images", "message"),
    [
        (GOOD[:31], "31 images, epochs=None; valid: at least 32 images"),
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
     (197, (224, 224), (1, (14, 14))), (9, (48, 16), None), (13, (48, 16), (1, (6, 2)))],
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


def test_reinitialised_layers_are_fresh_and_the_others_are_named():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.arange(12.0).view(3, 4))
            self.norm = nn.BatchNorm2d(3)
            self.linear = nn.Linear(3, 4)

    model = Scaled()
    model.norm.running_mean.fill_(7)
    before = copy.deepcopy(model)
    assert taps.reinitialise(model) == [model]
    assert model.norm.running_mean.abs().max() == 0
    assert not torch.equal(model.linear.weight, before.linear.weight)
    assert not torch.equal(model.scale, before.scale)
    assert torch.equal(model.scale.flatten().sort().values, before.scale.flatten())


def test_reference_is_a_fresh_copy_without_dropout_or_what_was_asked_for():
    net = small_net()
    copied = fitted(net, "conv2")._parts["conv2"].reference[0][1].model
    assert not torch.equal(copied.conv1[0].weight, net.conv1[0].weight)
    assert copied.conv2[2].p == 0
    assert net.conv2[2].p == 0.5
    random = fitted(net, "conv2", reference="random")
    assert "random" in random.references["conv2"]
    assert "instead of a RefAE" in random.notes[1]
    assert "the project's" in fitted(net, "conv2", reference="own").references["conv2"]
    with pytest.raises(UsageError, match="the model's own values, encoder cannot be re-initialised; add a reset"):
        fitted(vit(), "encoder.layers.encoder_layer_0", (3, 32, 32), reference="copy")


def test_an_encoder_too_large_for_the_images_is_replaced(monkeypatch):
    monkeypatch.setattr(fitting, "WEIGHTS_PER_VALUE", 1e-4)
    with pytest.warns(UserWarning, match="weights are too many for 32 images"):
        explainer = fitted(small_net())
    assert explainer.references == {"conv1": "RefAE (the project's encoder)"}


def test_few_images_are_warned_of():
    with pytest.warns(UserWarning, match="32 images are few: reference and reconstruction"):
        fitted(small_net())


def test_says_what_it_costs_before_it_trains(capsys):
    ClaDec(small_net(), "conv1", device="cpu").fit(GOOD, epochs=2)
    said = capsys.readouterr().out
    assert "Activations of conv1 (6 channels of 8x8, 0 MB) are kept" in said
    assert "On cpu: at most 2 epochs of 1 steps of 16 images, about" in said


def test_time_budget_cuts_the_epochs():
    with pytest.warns(UserWarning, match="1 epochs instead of 100, to stay within 0 s"):
        explainer = ClaDec(small_net(), "conv1", device="cpu").fit(GOOD, time_budget=1e-9, progress=False)
    assert explainer.epochs == {"conv1": {"cladec": 1, "reference": 1}}


def test_training_ends_when_the_loss_is_flat(monkeypatch):
    monkeypatch.setattr(fitting, "PATIENCE", 5)  # steps, and each epoch is one
    monkeypatch.setattr(fitting, "FLAT", 1.0)  # no progress is enough
    assert fitted(small_net(), epochs=40).epochs == {"conv1": {"cladec": 6, "reference": 6}}
    monkeypatch.setattr(fitting, "FLAT", -1e9)  # any is
    assert fitted(small_net(), epochs=8).epochs == {"conv1": {"cladec": 8, "reference": 8}}


def test_activations_are_recomputed_where_they_do_not_fit(monkeypatch):
    kept = fitted(small_net(), reference="own", epochs=3)
    monkeypatch.setattr(intake, "free_memory", lambda device: 1000)
    torch.manual_seed(0)
    recomputed = fitted(copy.deepcopy(kept._logits.model), reference="own", epochs=3)
    assert any("recomputed for each batch" in note for note in recomputed.notes)
    assert any("are kept" in note for note in kept.notes)
    first, second = (explainer.explain(GOOD[:4]).reconstruction for explainer in (kept, recomputed))
    torch.testing.assert_close(first, second, atol=2e-2, rtol=0)  # bfloat16 where the CPU has it


def test_same_seed_repeats_and_another_does_not():
    net = small_net()
    first, second, other = (fitted(net, seed=seed).explain(GOOD[:4]).reconstruction for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_decoder_learns():
    blobs = torch.zeros(64, 1, 16, 16)
    for image, (row, column) in zip(blobs, torch.randint(0, 12, (64, 2)), strict=True):
        image[0, row : row + 4, column : column + 4] = 1
    explainer = ClaDec(small_net(1), "conv2", device="cpu").fit(blobs, epochs=60, progress=False)
    mean = (blobs - blobs.mean(0)).square().mean().item()
    assert explainer.explain(blobs).losses.cladec.mean() < 0.7 * mean


@pytest.mark.parametrize("labels_in", ["argument", "dataset", "loader"])
def test_alpha_needs_labels_and_changes_what_is_learnt(labels_in):
    net, labels = small_net(), torch.arange(32) % CLASSES
    plain = fitted(net, epochs=2).explain(GOOD[:4])
    source = TensorDataset(GOOD, labels)
    given = {"argument": (GOOD, labels.tolist()), "dataset": (source,), "loader": (DataLoader(source, 8),)}[labels_in]
    mixed = ClaDec(net, "conv1", alpha=0.999, device="cpu").fit(*given, epochs=2, progress=False).explain(GOOD[:4])
    assert not torch.equal(plain.reconstruction, mixed.reconstruction)
    assert torch.equal(plain.reference, mixed.reference)


def test_several_layers_and_a_single_neuron():
    explainer = ClaDec(small_net(), layers=["conv1", "head"], channels=2, device="cpu").fit(
        GOOD, epochs=1, progress=False
    )
    found = explainer.explain((GOOD[:3] * 255).byte())
    assert list(found) == ["conv1", "head"]
    assert [part.settings["code"] for part in explainer._parts.values()] == [[1, 8, 8], [1]]
    assert len(found.show(images=1).axes) == 7
    assert torch.equal(found["head"].original, (GOOD[:3] * 255).byte().float() / 255)


def test_losses_are_mean_squared_errors_per_image():
    explanation = fitted(small_net()).explain(GOOD[:5])
    for row in range(5):
        cladec, reference = (
            float(((explanation.original[row] - part[row]) ** 2).mean())
            for part in (explanation.reconstruction, explanation.reference)
        )
        assert explanation.losses.cladec[row] == pytest.approx(cladec, rel=1e-5)
        assert explanation.losses.difference[row] == pytest.approx(cladec - reference, abs=1e-6)
    assert len(explanation[[0, 3]]) == 2
    assert torch.equal(explanation[1:3].reconstruction, explanation.reconstruction[1:3])
    assert "RefAE (copied encoder)" in repr(explanation)


@pytest.mark.parametrize("case", ["vector", "vit", "swin"])
def test_saved_explainer_explains_as_before(case, tmp_path):
    build, shape, layer, *_ = CASES[case]
    net = build()
    explainer = fitted(net, layer, shape, preprocess=NORMALISE)
    assert explainer.save(tmp_path / "new").name == "explainer.pt"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["explainer.pt"]
    loaded = ClaDec.load(tmp_path / "new", net, device="cpu")
    first, second = (part.explain(batch(shape, 4)) for part in (explainer, loaded))
    for name in ("original", "reference", "reconstruction", "prediction", "probability"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert (loaded.notes, loaded.epochs, loaded.references) == (
        explainer.notes, explainer.epochs, explainer.references,
    )  # fmt: skip
    with pytest.raises(UsageError, match="Further seeds need the images of fit"):
        loaded.evaluate(batch(shape, 64), torch.arange(64) % CLASSES)


def test_load_refuses_what_it_was_not_fitted_on(tmp_path):
    net = small_net()
    fitted(net, preprocess=torch.square).save(tmp_path)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.head.bias[0] += 1e-3
    with pytest.raises(UsageError, match="another model: the weights differ"):
        ClaDec.load(tmp_path, other, preprocess=torch.square)
    with pytest.raises(UsageError, match=r"missing: head.bias \(4,\), head.weight .* unexpected: head.bias \(7,\)"):
        ClaDec.load(tmp_path, small_net(classes=7), preprocess=torch.square)
    with pytest.raises(UsageError, match="fitted with preprocess=square"):
        ClaDec.load(tmp_path, net)
    with pytest.raises(UsageError, match="same weights but other outputs"):
        ClaDec.load(tmp_path, net, preprocess=lambda images: 5 * images)
    with pytest.raises(UsageError, match="with an adapter for"):
        ClaDec.load(tmp_path, net, preprocess=torch.square, adapter=lambda output: output)
    with pytest.raises(UsageError, match=r"explainer.pt is missing"):
        ClaDec.load(tmp_path / "nowhere", net)
    (tmp_path / "explainer.pt").write_bytes((tmp_path / "explainer.pt").read_bytes()[:-2000])
    with pytest.raises(RunError, match="damaged"):
        ClaDec.load(tmp_path, net, preprocess=torch.square)


def test_save_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    explainer = fitted(small_net())
    before = explainer.save(tmp_path).read_bytes()
    monkeypatch.setattr(torch, "save", lambda kept, path: (path.write_bytes(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        explainer.save(tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("explainer.pt", before)]


def test_evaluation_is_a_table_by_layer_and_seed(monkeypatch):
    monkeypatch.setattr(evaluation, "STEPS", 1)
    explainer, labels = fitted(small_net()), torch.arange(64) % CLASSES
    images = batch((3, 16, 16), 64, seed=1)
    table = explainer.evaluate(images, labels, seeds=2, progress=False)
    assert table.seed.tolist() == [0, 1]
    row, losses = table.iloc[0], explainer.explain(images).losses.mean()
    assert row["ΔRec"] == pytest.approx(losses.cladec - losses.reference, abs=1e-6)
    assert row["ΔAcc"] == row.acc_cladec - row.acc_reference
    assert row["ΔAcc_hidden"] == row.acc_least_hidden - row.acc_most_hidden
    assert row.evaluation == "fresh copy of the classifier"
    with pytest.raises(UsageError, match="40 images, seeds=1; valid: at least 64"):
        explainer.evaluate(images[:40], labels[:40], seeds=1)
    with pytest.raises(UsageError, match="Labels are missing"):
        explainer.evaluate(images, seeds=1)
    with pytest.raises(UsageError, match=r"start with \['cat', 'cat', 'cat'\]; valid"):
        explainer.evaluate(images, ["cat"] * 64, seeds=1)


def test_occlusion_relevance_is_the_squared_change_inside_the_square():
    explainer, images = fitted(small_net()), batch((3, 16, 16), 64, seed=1)
    space, part = explainer._space, explainer._parts["conv1"]
    standard, labels = space.standardise(images[:3]), torch.tensor([0, 1, 2])
    measured = evaluation.Evaluation(explainer._logits, CLASSES, space, explainer.on, standard, labels)
    relevance = measured.relevance(part.explain, measured.run(part.explain, standard))
    right = measured.right_when_hidden()
    corners = [0, 3, 7, 10]  # 6 of 16 pixels, four times
    for place, (top, left) in enumerate((top, left) for top in corners for left in corners):
        hidden = standard.clone()
        hidden[:, :, top : top + 6, left : left + 6] = 0
        with torch.no_grad():
            change = (part.explain(hidden) - part.explain(standard))[:, :, top : top + 6, left : left + 6]
            predicted = explainer._logits(space.restore()(hidden)).argmax(1)
        torch.testing.assert_close(relevance[:, place], change.square().sum((1, 2, 3)), rtol=1e-3, atol=1e-5)
        assert torch.equal(right[:, place], predicted == labels)


def test_evaluation_classifier_that_cannot_be_copied_is_the_projects():
    explainer = fitted(vit(), "encoder.layers.encoder_layer_0", (3, 32, 32))
    images, labels = batch((3, 32, 32), 64), torch.arange(64) % CLASSES
    measured = evaluation.Evaluation(explainer._logits, CLASSES, explainer._space, explainer.on, images, labels)
    model, label = measured.classifier(32, seed=0)
    assert label == "the project's VGG-5"
    assert model(batch((3, 41, 22), 2)).shape == (2, CLASSES)


def test_two_models_are_compared_on_the_same_images():
    first, second = fitted(small_net()), fitted(small_net(), "conv2")
    labels = torch.tensor([0, 1, 2, 1])
    comparison = first.compare(second, GOOD[:4], labels, classes=[1, 2])
    one, two = first.explain(GOOD[1:4]), second.explain(GOOD[1:4])
    assert torch.equal(comparison.difference, one.reconstruction - two.reconstruction)
    assert comparison.losses.label.tolist() == [1, 2, 1]
    assert comparison.losses.loss_second.tolist() == pytest.approx(two.losses.cladec.tolist())
    assert comparison.table.index.tolist() == [1, 2]
    assert comparison.table.distance[2] == pytest.approx(comparison.difference[1].square().mean().item(), rel=1e-5)
    assert comparison._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"None of the 4 images is of the classes \[3\]"):
        first.compare(second, GOOD[:4], labels, classes=[3])
    by_prediction = first.compare(second, GOOD[:4], classes=range(CLASSES))
    assert by_prediction.losses.label.tolist() == [-1] * 4
    assert by_prediction.table.index.name == "prediction_first"


def test_differences_are_drawn_on_one_scale_around_white():
    figure = fitted(small_net()).explain(GOOD[:2] * 0.5).show()
    drawn = [axis.images[0] for axis in figure.axes]
    assert len(drawn) == 4 * 2
    assert [image.get_clim() for image in drawn[-2:]] == [(-0.5, 0.5)] * 2


def test_importing_the_core_needs_neither_drawing_nor_notebooks():
    folder = Path(cladec_core.__file__).parent
    for path in (folder / "__init__.py", *(folder / "explainer").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        imported = {getattr(node, "module", None) or node.names[0].name for node in top}
        assert not {module.split(".")[0] for module in imported} & {"matplotlib", "captum", "papermill", "torchvision"}
        assert path.parent != folder or imported == {"importlib", "typing"}
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        cladec_core.Nothing  # noqa: B018
