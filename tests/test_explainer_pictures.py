"""How pictures are made and drawn: decoders without checkerboards, a loss of structure, captions, colours and sizes."""

import matplotlib.colors
import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import nn

from cladec_core import ClaDec, networks, training
from cladec_core.errors import UsageError
from cladec_core.explainer import perceptual
from cladec_core.explainer.explanation import Explanation
from cladec_core.explainer.upsampling import upsampled
from tests.foreign import CLASSES, GOOD, small_net

pytestmark = pytest.mark.filterwarnings("ignore:.* images are few", "ignore:.* do not read the difference")
HOW = {"epochs": 1, "progress": False}


@pytest.mark.parametrize("shape", [(8, 8, 8), (16, 4, 4), (20,), (8, 5, 7)])
def test_an_upsampling_decoder_fits_the_same_shapes_and_has_no_transposed_convolution(shape):
    image = (3, 24, 40) if shape == (8, 5, 7) else (3, 32, 32)
    plain = networks.decoder(shape, image)
    other = upsampled(plain)
    assert any(isinstance(step, nn.ConvTranspose2d) for step in plain)
    assert not any(isinstance(step, nn.ConvTranspose2d) for step in other)
    assert other(torch.randn(2, *shape)).shape == plain(torch.randn(2, *shape)).shape


def checkerboard(images):
    """Share of the variance that changes its sign from pixel to pixel, along rows or columns."""
    power = torch.fft.fft2(images - images.mean((-2, -1), keepdim=True)).abs().square()
    half = power.shape[-1] // 2
    return ((power[..., half, :].sum() + power[..., :, half].sum()) / power.sum()).item()


def test_flat_maps_become_flat_pictures_only_by_upsampling():
    """A constant map has no place of its own, so that whatever varies in the picture is the decoder's pattern."""
    with training.seeded(0):
        plain = networks.decoder((8, 8, 8), (3, 32, 32))
        other = upsampled(plain)
    flat = torch.ones(1, 8, 8, 8)
    inner = slice(12, 20)  # far from the borders, where zeros are padded
    patterns = [decoder(flat)[..., inner, inner] for decoder in (plain, other)]
    assert patterns[0].std((-2, -1)).min() > 0.001
    assert patterns[1].std((-2, -1)).max() < 1e-6
    assert checkerboard(patterns[0]) > 0.3


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 20, 12), (1, 7, 9)])
def test_structural_similarity_is_that_of_scikit_image(shape):
    first, second = torch.rand(2, 4, *shape)
    second = 0.7 * first + 0.3 * second
    found = perceptual.similarity(first, second)
    for one, other, value in zip(first.numpy(), second.numpy(), found, strict=True):
        slow = np.mean([
            structural_similarity(a, b, win_size=7, data_range=1.0, use_sample_covariance=False)
            for a, b in zip(one, other, strict=True)
        ])  # fmt: skip
        assert value.item() == pytest.approx(slow, abs=1e-5)
    assert torch.allclose(perceptual.at_scales(first, first), torch.ones(4))


def test_images_smaller_than_a_window_are_compared_whole():
    first, second = torch.rand(2, 3, 1, 4, 4)
    assert perceptual.at_scales(first, second).shape == (3,)
    assert perceptual.at_scales(first, 1 - first).max() < 0


def test_a_loss_of_structure_forgives_brightness_rather_than_blur():
    fine = torch.rand(8, 1, 32, 32)
    brighter = fine + 0.1
    blurred = nn.functional.avg_pool2d(fine, 3, stride=1, padding=1)
    loss = perceptual.PerceptualLoss(nn.Identity(), 0.0, 1.0)
    squared = training.reconstruction_loss
    scale = (squared(brighter, fine) / squared(blurred, fine)).sqrt()
    blurred = fine + scale * (blurred - fine)  # now both have the same squared error
    assert squared(brighter, fine).item() == pytest.approx(squared(blurred, fine).item(), rel=1e-4)
    assert loss(brighter, fine) < loss(blurred, fine)


def test_gradients_of_the_loss_are_right():
    given = torch.rand(2, 1, 9, 9, dtype=torch.float64)
    made = torch.rand(2, 1, 9, 9, dtype=torch.float64, requires_grad=True)
    loss = perceptual.PerceptualLoss(nn.Identity(), 0.0, 2.0)
    assert torch.autograd.gradcheck(lambda output: loss(output, given), made)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_decoder_and_loss_are_chosen_saved_and_read_back(tmp_path, alpha):
    net = small_net()
    how = {"decoder": "upsampled", "loss": "perceptual", "alpha": alpha, "device": "cpu"}
    labels = torch.arange(len(GOOD)) % CLASSES
    explainer = ClaDec(net, "conv2", **how).fit(GOOD, labels, **HOW)
    plain = ClaDec(net, "conv2", alpha=alpha, device="cpu").fit(GOOD, labels, **HOW)
    explainer.save(tmp_path)
    again = ClaDec.load(tmp_path, net, device="cpu")
    found = explainer.explain(GOOD[:4])
    assert torch.equal(again.explain(GOOD[:4]).reconstruction, found.reconstruction)
    assert not torch.equal(plain.explain(GOOD[:4]).reconstruction, found.reconstruction)
    assert not any(isinstance(step, nn.ConvTranspose2d) for step in again._built["conv2"].decoder.modules())


def test_what_is_minimised_is_what_was_asked_for():
    """Trained on structure, pictures have more of it; trained on pixels, smaller squared errors."""
    how = {"epochs": 60, "progress": False}
    smooth = nn.functional.interpolate(torch.rand(64, 3, 8, 8), 16, mode="bilinear")
    found = {
        loss: ClaDec(small_net(), "conv1", loss=loss, device="cpu").fit(smooth, **how).explain(smooth)
        for loss in ("pixel", "perceptual")
    }
    alike = {loss: perceptual.at_scales(one.reconstruction, smooth).mean() for loss, one in found.items()}
    assert alike["perceptual"] > alike["pixel"]


@pytest.mark.parametrize(("option", "value"), [("decoder", "bilinear"), ("loss", "ssim"), ("loss", None)])
def test_an_unknown_choice_is_refused(option, value):
    with pytest.raises(UsageError, match=rf"Unknown {option} {value!r}; valid: "):
        ClaDec(small_net(), "conv1", **{option: value})


def explanation(channels=3, side=16, **more):
    images = torch.rand(3, 4, channels, side, side)
    labels = torch.tensor([[0, 1, 2, 0], [0, 1, 1, 0], [2, 1, 2, 0]])
    return Explanation("conv", *images, labels[0], torch.ones(4), labels[1], labels[2], "RefAE", (0.0, 1.0), **more)


def test_every_picture_says_what_the_classifier_sees_in_it():
    one = explanation().named(["cat", "dog"], torch.tensor([1, 1, 0, 0]))[1:3]
    texts = [axis.get_xlabel() for axis in one.show().axes]
    assert texts == [
        "true: dog\nseen as dog", "true: cat\nseen as 2", "seen as dog", "seen as dog", "seen as dog", "seen as 2", "",
        "",
    ]  # fmt: skip
    unknown = explanation().show().axes[0].get_xlabel()
    assert unknown == "seen as 0"


def test_differences_of_colours_keep_their_channels():
    """More red and as much less green would cancel in a mean over channels."""
    one = explanation()
    one.reconstruction[:] = one.reference + torch.tensor([0.2, -0.2, 0.0]).view(3, 1, 1)
    drawn = one.show().axes[-1].images[0].get_array()
    assert np.allclose(drawn, [0.7, 0.3, 0.5], atol=1e-6)
    grey = explanation(channels=1)
    assert isinstance(grey.show().axes[-1].images[0].cmap, matplotlib.colors.LinearSegmentedColormap)


def test_large_images_are_drawn_larger():
    widths = [explanation(side=side).show().get_figwidth() for side in (16, 32, 64, 128, 512)]
    assert widths[0] == widths[1] < widths[2] < widths[3] == widths[4]
