"""What an explainer says of its reference: whether it can be trusted, where it started, whether it learns at all."""

import copy

import pytest
import torch
from torch import nn

from cladec_core import ClaDec, networks
from cladec_core.errors import UsageError
from cladec_core.explainer import building, copying, fitting, taps, task
from cladec_core.training import compute
from tests.foreign import CLASSES, GOOD, batch, fitted, small_net

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* images are few", "ignore:Reference of", "ignore:.* do not read the difference"
)


class Deaf(nn.Module):
    """A classifier some or all of whose layers no gradient reaches."""

    def __init__(self, how):
        super().__init__()
        self.net, self.how = small_net(), how

    def forward(self, images):
        if self.how == "no_grad":
            with torch.no_grad():
                return self.net(images)
        if self.how == "inference_mode":
            with torch.inference_mode():
                return self.net(images)
        if self.how == "rounding":  # there are gradients, and all of them are zero
            self.net.conv1[1].register_forward_hook(lambda module, given, output: output.round())
        maps = self.net.conv1(images)
        maps = maps.detach() if self.how == "detach" else maps
        return self.net.head(self.net.pool(self.net.conv2(maps)))


@pytest.mark.parametrize(
    ("how", "layer"),
    [("no_grad", "net.conv1"), ("inference_mode", "net.conv1"), ("detach", "net.conv2"), ("rounding", "net.conv1.2")],
)
def test_an_encoder_that_no_gradient_reaches_is_not_taken_for_a_refae(how, layer):
    with pytest.warns(UserWarning, match=rf"Reference of {layer}: no gradient reaches net.conv1.0, net.conv1.1 "):
        explainer = fitted(Deaf(how), layer)
    assert explainer.references == {layer: "RefAE (the project's encoder)"}
    assert explainer.explain(GOOD[:2]).reconstruction.isfinite().all()
    with pytest.raises(
        UsageError, match=r"reference='copy': no gradient reaches net.conv1.0, net.conv1.1 .*; use reference='own'"
    ):
        fitted(Deaf(how), layer, reference="copy")


def test_a_refae_changes_in_every_layer():
    """The check above is about these: what it lets pass is changed by a training."""
    net = small_net()
    tap = taps.Tap("conv2", "keep", net, None, {}).requires_grad_(True)
    assert taps.learning(tap, GOOD[:2]) == taps.Learning(["conv1.0", "conv1.1", "conv2.0"], [])
    first, later = (fitted(net, "conv2", epochs=epochs)._built["conv2"].reference[0] for epochs in (1, 2))
    for (name, one), (_, other) in zip(first.named_parameters(), later.named_parameters(), strict=True):
        assert torch.equal(one, other) != ("conv1" in name or "conv2" in name), name


@pytest.fixture
def short(monkeypatch):
    """Rounds of a few steps, of which the reference has too few to be of use."""
    monkeypatch.setattr(fitting, "FEWEST_EPOCHS", 1)
    monkeypatch.setattr(fitting, "MOST_EPOCHS", 12)
    monkeypatch.setattr(task, "MOST_ROUNDS", {"cladec": 6, "reference": 1})
    monkeypatch.setattr(fitting, "FLAT", -1e9)


def test_a_reference_that_loses_is_started_again_from_the_classifier(short, tmp_path):
    net = small_net()
    with pytest.warns(UserWarning, match="Layer conv1: do not read the difference to the reference"):
        explainer = ClaDec(net, "conv1", device="cpu").fit(GOOD, progress=False)
    told = next(note for note in explainer.notes if note.startswith("Reference of conv1: from fresh weights it came"))
    assert "and the second is used" in told
    assert explainer.references == {"conv1": "RefAE (copied encoder, from the classifier's weights)"}
    built = explainer._built["conv1"]
    assert built.settings["held_out"]["images"] == 8
    images = built_on(explainer)[-16:-8]  # which decided: by these it cannot be worse
    with torch.no_grad():
        losses = [(module(images) - images).square().mean() for module in (built.explain, built.reference)]
    assert losses[1] <= losses[0] + 1e-6
    explainer.save(tmp_path)
    loaded = ClaDec.load(tmp_path, net, device="cpu")
    assert (loaded.references, loaded.doubts) == (explainer.references, explainer.doubts)
    asked = ClaDec(net, "conv1", device="cpu").fit(GOOD, epochs=12, progress=False)
    assert asked.references == {"conv1": "RefAE (copied encoder)"}  # a number of epochs is one training of so many


def built_on(explainer):
    """The standardised images of `fit` in the order of training, of which the last are held out."""
    order = torch.randperm(len(GOOD), generator=torch.Generator().manual_seed(explainer.seed))
    return explainer._space.standardise(GOOD[order])


def test_a_reference_that_began_as_cladec_stays_in_doubt():
    explainer = fitted(small_net())
    built = explainer._built["conv1"]
    built.settings["held_out"] = {"images": 8, "mean": 0.5, "low": 0.1, "high": 0.9}
    assert explainer.doubts == {"conv1": ""}
    built.settings["start"], built.epochs["reference"] = "classifier", 23
    assert "began as ClaDec and was trained for 23 epochs more" in explainer.doubts["conv1"]
    assert "ΔRec on 8 images held out: 0.5, with an interval from 0.1 to 0.9" in explainer.doubts["conv1"]
    built.settings["held_out"]["low"] = -0.1
    assert "so not above 0" in explainer.doubts["conv1"]
    built.settings["held_out"] = {"images": 8, "mean": 0.0, "low": 0.0, "high": 0.0}
    assert "gained nothing in 23 epochs, and draws the same" in explainer.doubts["conv1"]


def test_images_that_decide_when_a_training_ends_are_not_those_that_judge_it():
    images = torch.arange(100.0)[:, None]
    seen = []

    def loss(outputs, targets):
        seen.append(targets.flatten().tolist())
        return outputs.mean()

    how = ("made up", nn.Identity(), nn.Identity(), 0, loss, (images,), 0, task.Protocol(), compute("cpu"), 40)
    training = fitting.Searched(*how)
    deciding, judging = fitting.halves(training.held_out)
    training.loss_held_out()
    assert seen == [images[deciding].flatten().tolist()]
    assert [*seen[0], *images[judging].flatten().tolist()] == images[-training.held_out :].flatten().tolist()
    assert len(seen[0]) == training.held_out / 2
    assert len(training.job(1).targets[0]) == 100 - training.held_out  # neither half is trained on


def test_the_second_start_is_where_cladec_is():
    net = small_net().eval()
    space = building.Space.of(GOOD)
    tap = taps.Tap("conv2", "keep", net, None, {})
    design = building.Design(tap, space, (8, 4, 4), None, "copy", 32, task.Protocol(), 0)
    encoder, decoder = design.encoder(), design.decoder().eval()
    images = space.standardise(GOOD[:3])
    again = design.reference_of(decoder).eval()
    assert torch.equal(again(images), decoder(encoder(images)))
    assert all(weight.requires_grad for weight in again.parameters())
    assert not any(weight is other for weight in again.parameters() for other in decoder.parameters())


def test_where_the_reference_is_no_better_everything_says_so(monkeypatch):
    explainer = fitted(small_net())
    settings = explainer._built["conv1"].settings
    settings["held_out"] = {"images": 16, "mean": 0.5, "low": 0.1, "high": 0.9}
    assert explainer.doubts == {"conv1": ""}
    good = explainer.explain(GOOD[:2])
    settings["held_out"] = {"images": 16, "mean": 0.5, "low": -0.1, "high": 0.9}
    bad = explainer.explain(GOOD[:2])
    assert good.doubt == ""
    assert bad.doubt == explainer.doubts["conv1"]
    assert "On 16 images held out ΔRec is 0.5, with an interval from -0.1 to 0.9 (95 %), so not above 0" in bad.doubt
    rows = [[axis.get_ylabel() for axis in one.show().axes][-2] for one in (good, bad)]
    assert [("do not read" in row) for row in rows] == [False, True]
    assert ["do not read" in repr(one) for one in (good, bad)] == [False, True]


@pytest.mark.parametrize(("epochs", "judging"), [(2, 16), (None, 8)])
def test_the_difference_on_the_images_held_out_is_in_the_users_units(short, epochs, judging):
    """All of them judge where a number of epochs is named, as none has decided anything."""
    images = batch((3, 16, 16), 40) * 50 + 100
    explainer = ClaDec(small_net(), "conv1", reference="own", device="cpu").fit(images, epochs=epochs, progress=False)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    found = explainer.explain(images[order[-judging:]]).losses.difference
    told = explainer._built["conv1"].settings["held_out"]
    assert told["mean"] == pytest.approx(found.mean(), rel=1e-4)
    assert told["low"] < told["mean"] < told["high"]


def test_a_map_of_one_pixel_has_a_reference_of_each_kind():
    net = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES))
    for kind in building.REFERENCES:
        explanation = fitted(net, "1", reference=kind).explain(GOOD[:2])
        assert explanation.reference.shape == (2, 3, 16, 16)
        assert explanation.reference.isfinite().all()


class Stopped(BaseException):
    pass


def test_finished_layers_stay_when_a_fit_is_interrupted_and_the_next_goes_on(monkeypatch):
    net, layers = small_net(), ["conv1", "conv2", "pool"]
    whole = ClaDec(net, layers=layers, device="cpu").fit(GOOD, epochs=1, progress=False)
    side_by_side, seen = fitting.side_by_side, []

    def interrupted(jobs):
        seen.extend(job.label for job in jobs)
        if "pool reference" in seen:
            raise Stopped
        return side_by_side(jobs)

    explainer = ClaDec(net, layers=layers, device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "side_by_side", interrupted)
        with pytest.raises(Stopped):
            explainer.fit(GOOD, epochs=1, progress=False)
    assert list(explainer.explain(GOOD[:2])) == ["conv1", "conv2"]
    monkeypatch.setattr(
        fitting, "side_by_side", lambda jobs: seen.extend(job.label for job in jobs) or side_by_side(jobs)
    )
    seen.clear()
    explainer.fit(GOOD, epochs=1, progress=False)
    assert seen == ["pool ClaDec", "pool reference"]
    assert explainer.notes[1] == "conv1 is fitted already. conv2 is fitted already."
    for layer, part in whole.explain(GOOD[:2]).items():
        assert torch.equal(explainer.explain(GOOD[:2])[layer].reconstruction, part.reconstruction)
    seen.clear()
    explainer.fit(GOOD * 0.5, epochs=1, progress=False)  # other images: nothing of these is there yet
    assert len(seen) == 6


class Strided(nn.Module):
    """A network whose first layer skips pixels, as the stem of RepVGG."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 1, 2)
        self.rest = nn.Sequential(nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(8, 4)

    def forward(self, images):
        return self.head(self.rest(self.stem(images)).mean((2, 3)))


def test_strided_points_over_few_channels_are_trained_without_their_strides():
    """PyTorch's own gradient of these ends the process on some processors."""
    model = Strided().eval()
    images = torch.rand(32, 3, 16, 16)
    copied, _, _ = copying.private_copy(model, torch.nn.Identity())
    for twin in (copied, copying.private_copy(copied, torch.nn.Identity())[0], copy.deepcopy(copied)):
        assert twin.stem.stride == (1, 1)
        assert list(twin.state_dict()) == list(model.state_dict())
        torch.testing.assert_close(twin(images), model(images))
    explainer = ClaDec(model, "rest", device="cpu").fit(images, epochs=1, progress=False)
    assert explainer.references["rest"] == building.REFERENCES["copy"]
    assert model.stem.stride == (2, 2)
    assert explainer.explain(images[:2]).reference.isfinite().all()


def test_a_narrow_residual_network_skips_pixels_before_its_shortcut():
    block = networks.classifier("resnet10", 1, 3, width=0.05).block2
    assert [type(part) for part in block.shortcut] == [nn.MaxPool2d, nn.Conv2d, nn.BatchNorm2d]
    assert block.shortcut[1].stride == (1, 1)
    block(torch.rand(2, 4, 8, 8).contiguous(memory_format=torch.channels_last)).square().sum().backward()
    assert block.shortcut[1].weight.grad.isfinite().all()
