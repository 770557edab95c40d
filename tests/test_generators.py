"""Generators of contrasts: layouts, losses, trainings by the one loop, and what a reader's own has to keep."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from cladec_companion.engine import estimate
from cladec_companion.papers.cdeepex import fitting, generators, vae, wgan
from cladec_companion.papers.cdeepex.generators import Generator
from cladec_companion.papers.cdeepex.layouts import ValueRange, map_widths
from cladec_core import networks, training
from cladec_core.errors import UsageError
from cladec_core.training import Compute, Interrupted
from tests.engine.test_estimate import slow_opponent, slow_training_step

EXACT = Compute(torch.device("cpu"), torch.float32)
SMALL = {"latent": 6, "width": 4}


def pictures(count, side, channels=1, seed=0):
    """Bars and spots from -1 to 2, all different."""
    numbers = torch.Generator().manual_seed(seed)
    images = torch.full((count, channels, side, side), -1.0)
    for image in images:
        row, column = torch.randint(side - 2, (2,), generator=numbers).tolist()
        image[:, row : row + 2] = 2 * torch.rand(channels, 1, 1, generator=numbers)
        image[:, :, column : column + 2] = 2.0
    return images


def same(tensors, others):
    return all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())


# ---- layouts


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (16, 3), (32, 1), (64, 1)])
@pytest.mark.parametrize("kind", fitting.KINDS)
def test_any_power_of_two_and_any_colours(kind, side, channels):
    images = pictures(10, side, channels)
    made = fitting.fit(images, kind, epochs=1, batch_size=2, on=EXACT, **SMALL)
    codes = made.draw(3, seed=1)
    drawn = made.decode(codes)
    assert (made.latent, codes.shape, drawn.shape) == ((6,), (3, 6), (3, channels, side, side))
    assert made.value_range == (images.min().item(), images.max().item())
    assert drawn.min() >= made.value_range[0]
    assert drawn.max() <= made.value_range[1]
    assert (made.encode is None) == (kind == "wgan")
    if made.encode:
        assert made.encode(images).shape == (10, 6)


def test_layouts_at_the_papers_size_are_the_papers():
    coder, gan = (kind((1, 64, 64), (0.0, 1.0)) for kind in (vae.VAE, wgan.WGAN))
    convolutions = [part for part in coder.encoder.modules() if isinstance(part, nn.Conv2d)]
    transposed = [part for part in gan.decoder.modules() if isinstance(part, nn.ConvTranspose2d)]
    assert len(convolutions) == 4
    assert (coder.mean.out_features, coder.log_variance.out_features) == (400, 400)
    assert [(part.in_channels, part.out_channels) for part in transposed] == [
        (100, 512), (512, 256), (256, 128), (128, 64), (64, 1),
    ]  # fmt: skip
    assert not [part for part in gan.critic.modules() if isinstance(part, nn.BatchNorm2d)]


@pytest.mark.parametrize("side", [8, 16, 128])
def test_a_vae_of_another_size_has_four_convolutions_or_more(side):
    coder = vae.VAE((1, side, side), (0.0, 1.0), latent=2, width=1)
    convolutions = [part for part in coder.encoder.modules() if isinstance(part, nn.Conv2d)]
    assert len(convolutions) == max(4, int(math.log2(side)) - 2)


@pytest.mark.parametrize("image", [(1, 28, 28), (1, 4, 4), (1, 16, 32), (3, 0, 0), (32, 32)])
def test_a_size_that_is_no_power_of_two_is_refused(image):
    with pytest.raises(UsageError, match=r"^No VAE or WGAN for images of shape .*; valid: .* power of two"):
        map_widths(image, 8)


@pytest.mark.parametrize(
    ("images", "options", "words"),
    [
        (pictures(4, 8), {}, "4 images for a generator; valid: 5 or more"),
        (torch.full((9, 1, 8, 8), math.nan), {}, "NaN or infinite"),
        (torch.zeros(9, 1, 8, 8), {}, "All values of the images are 0; valid: images that differ"),
        (pictures(9, 8), {"kind": "van"}, "Unknown generator 'van'; valid: vae, wgan"),
        (pictures(9, 8), {"width": 0}, "width is 0; valid: an integer from 1"),
        (pictures(9, 8), {"latent": 0}, "latent is 0; valid: an integer from 1"),
        (pictures(9, 8), {"epochs": 0}, "epochs is 0; valid: an integer from 1"),
        (pictures(9, 12), {}, "power of two"),
    ],
)
def test_what_cannot_be_trained_is_refused(images, options, words):
    with pytest.raises(UsageError, match=words):
        fitting.fit(images, **({"epochs": 1, "on": EXACT} | options))


# ---- losses


def test_the_evidence_bound_is_that_of_two_normal_distributions():
    numbers = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, 5, 3, generator=numbers)
    images, drawn = pictures(5, 8), torch.rand(5, 64, generator=numbers)
    span = ValueRange(-1.0, 2.0)
    found = vae.EvidenceLoss(span, 3)(torch.cat([drawn, mean, log_variance], 1), images)
    normal = torch.distributions.Normal
    divergence = torch.distributions.kl_divergence(normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0)).sum(1)
    unit = ((images + 1) / 3).flatten(1)
    likelihoods = [normal(drawn, deviation).log_prob(unit).sum(1).mean() for deviation in torch.linspace(0.1, 1, 400)]
    constant = 64 / 2 * (math.log(2 * math.pi) + 1)
    assert found.item() == pytest.approx((divergence.mean() - max(likelihoods) - constant).item(), rel=1e-3)


def test_the_gradient_penalty_is_that_of_each_image_on_its_own():
    critic = nn.Sequential(nn.Conv2d(1, 3, 4, 2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(48, 1))
    images = pictures(4, 8)
    found = wgan.gradient_penalty(critic, images)
    found.backward()
    gradient, shift = critic[0].weight.grad.clone(), 1e-3

    def slow():
        norms = []
        for image in images.double():
            point = image[None].requires_grad_()
            critic.double()(point).sum().backward()
            norms.append((point.grad.norm() - 1) ** 2)
        return sum(norms) / len(norms)

    assert found.item() == pytest.approx(slow().item(), rel=1e-5)
    with torch.no_grad():
        weight = critic[0].weight
        weight[1, 0, 2, 2] += shift
        high = slow_without_grad(slow)
        weight[1, 0, 2, 2] -= 2 * shift
        low = slow_without_grad(slow)
    assert gradient[1, 0, 2, 2].item() == pytest.approx(((high - low) / (2 * shift)).item(), rel=1e-3)


def slow_without_grad(slow):
    with torch.enable_grad():
        return slow().detach()


def test_the_critic_tells_images_from_drawings_and_is_held_to_a_slope():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 1, bias=False))
    nn.init.constant_(critic[1].weight, 0.25)  # whose gradient has norm 2
    images, drawn = pictures(4, 8), torch.zeros(4, 1, 8, 8)
    span = ValueRange(-1.0, 2.0)
    unit = 2 * (images + 1) / 3 - 1
    learns = wgan.CriticLoss(critic, span)
    assert learns(drawn, images).item() == pytest.approx(-critic(unit).mean().item() + 10 * (2 - 1) ** 2, rel=1e-5)
    assert wgan.GeneratorLoss(critic)(unit, images).item() == pytest.approx(-critic(unit).mean().item())


# ---- trainings


def test_a_wgan_has_five_steps_of_the_critic_before_each_of_the_generator(monkeypatch):
    turns = []
    for loss in (wgan.CriticLoss, wgan.GeneratorLoss):
        call = loss.__call__
        monkeypatch.setattr(
            loss, "__call__", lambda self, *parts, call=call: (turns.append(type(self).__name__), call(self, *parts))[1]
        )
    images = pictures(22, 8)
    job = fitting.new(images, "wgan", seed=0, **SMALL).job(images, epochs=2, seed=0, on=EXACT, batch_size=2)
    training.fit(job)
    assert turns == (["CriticLoss"] * 5 + ["GeneratorLoss"]) * 4


@pytest.mark.parametrize("kind", fitting.KINDS)
def test_a_training_that_was_interrupted_ends_bit_for_bit_as_another(kind, tmp_path):
    images = pictures(20, 8)

    def begun(**how):
        network = fitting.new(images, kind, seed=1, **SMALL)
        return network, network.job(images, epochs=3, seed=0, on=EXACT, batch_size=2, **how)

    (whole, job), asked = begun(), iter([False, False])
    training.fit(job)
    with pytest.raises(Interrupted):
        training.fit(begun(state=tmp_path / "state", interrupt=lambda: next(asked, True))[1])
    resumed, job = begun(state=tmp_path / "state")
    training.fit(job)
    other, job = begun()
    training.fit(replace(job, seed=1))
    assert same(resumed.state_dict(), whole.state_dict())
    assert not same(other.state_dict(), whole.state_dict())


def test_a_vae_learns_a_handful_of_images_by_heart():
    images = pictures(8, 8)
    made = fitting.fit(images, "vae", epochs=300, batch_size=8, on=EXACT, latent=8, width=16)
    floor = (images - images.mean(0)).square().mean()
    assert (made.decode(made.encode(images)) - images).square().mean() < 0.05 * floor


def test_a_wgan_draws_what_it_was_shown():
    """Two kinds of images: dark with a bright left half, or a bright right half."""
    images = torch.full((40, 1, 8, 8), -1.0)
    images[:20, :, :, :4] = images[20:, :, :, 4:] = 2.0
    made = fitting.fit(images, "wgan", epochs=100, batch_size=2, on=EXACT, rate=3e-3, latent=4, width=8)
    drawn = made.decode(made.draw(50, seed=3))
    distances = torch.cdist(drawn.flatten(1), images[[0, -1]].flatten(1))
    assert distances.amin(1).mean() < 0.3 * torch.dist(images[0], images[-1])
    assert distances.argmin(1).bincount(minlength=2).min() >= 5  # both kinds


def test_seeds_decide_weights_order_and_noise():
    images = pictures(20, 8)
    codes = torch.zeros(1, 6)
    first, again, other = (
        fitting.fit(images, "wgan", epochs=1, batch_size=2, seed=seed, on=EXACT, **SMALL).decode(codes)
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", fitting.KINDS)
def test_a_plan_counts_and_times_the_training(kind):
    """Of networks without values, which are made up for a few real steps."""
    with torch.device("meta"):
        network = fitting.KINDS[kind]((1, 8, 8), (-1.0, 2.0), **SMALL)
    job = network.job(pictures(20, 8), epochs=2, seed=0, on=EXACT, batch_size=2)
    real = fitting.new(job.inputs, kind, seed=0, **SMALL).job(job.inputs, epochs=2, seed=0, on=EXACT)
    expected = slow_training_step(real.model, real.inputs[:2], real.loss)
    if real.opponent:
        expected = expected / 5 + slow_opponent(real)
    assert estimate.operations(job) == expected
    assert estimate._seconds_per_image(job, EXACT) > 0
    assert all(tensor.is_meta for tensor in job.networks.parameters())


# ---- what every generator promises


@pytest.fixture(scope="module")
def layer():
    """A classifier in training mode, and a decoder of one of its layers."""
    images = pictures(30, 8)
    with training.seeded(0):
        classifier = networks.classifier("vgg5", 1, 10, 0.125)
        training.calibrate(classifier, images, EXACT)
        encoder = networks.Frozen(classifier.up_to("conv2"))
        decoder = networks.decoder(networks.activation_shape(encoder, (1, 8, 8)), (1, 8, 8), width=4)
    return images, classifier.train(), nn.Sequential(encoder, decoder).train()


def every(layer):
    """One generator of each kind."""
    images, _, chain = layer
    made = [fitting.fit(images, kind, epochs=1, batch_size=4, on=EXACT, **SMALL) for kind in fitting.KINDS]
    return [*made, generators.of_trained("ClaDec", chain, images)]


def test_generators_keep_what_they_promise(layer):
    for made in every(layer):
        codes = made.draw(4, seed=0).requires_grad_()
        drawn = made.decode(codes)
        assert torch.equal(drawn, made.decode(codes))
        torch.testing.assert_close(drawn[1:2], made.decode(codes[1:2]))  # no image depends on the others
        (gradient,) = torch.autograd.grad(drawn[1].sum(), codes)
        assert gradient[1].any()
        assert not gradient[[0, 2, 3]].any()
        assert made.checked(layer[0]) is layer[0]
        if made.encode:
            assert torch.equal(made.encode(layer[0]), made.encode(layer[0]))


def test_a_generator_of_a_layer_is_the_decoder_behind_the_classifier(layer):
    images, classifier, chain = layer
    before = {name: tensor.clone() for name, tensor in chain.state_dict().items()}
    made = generators.of_trained("ClaDec", chain, images)
    codes = made.encode(images)
    torch.testing.assert_close(made.decode(codes), nn.Sequential(chain[0], chain[1]).eval()(images))
    activations = classifier.up_to("conv2").eval()(images)
    varied = activations.std(0, correction=0) > 0
    torch.testing.assert_close(codes.mean(0), torch.zeros_like(codes[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(codes.std(0, correction=0)[varied], torch.ones(int(varied.sum())))
    assert not codes[:, ~varied].any()
    moved = codes.clone()
    moved[:, ~varied] += 5  # units that no image moves do not move
    torch.testing.assert_close(made.decode(moved), made.decode(codes))
    assert same(chain.state_dict(), before)
    part = networks.Frozen(nn.Sequential(chain[0], networks.Select([0, 1])))
    some = nn.Sequential(part, nn.Sequential(nn.Conv2d(2, 1, 1), networks.resize([8, 8])))
    for one in (made, generators.of_trained("two channels", some, images)):
        image = images[:1].clone().requires_grad_()  # a frozen encoder alone would let no gradient through
        assert torch.autograd.grad(one.encode(image).sum(), image)[0].any()


def test_a_generator_does_not_follow_the_network_that_it_was_made_of():
    network = vae.VAE((1, 8, 8), (0.0, 1.0), **SMALL)
    made = network.generator()
    codes = made.draw(2, seed=0)
    before = made.decode(codes)
    assert network.training
    nn.init.zeros_(network.decoder[0].weight)
    assert torch.equal(made.decode(codes), before)
    assert not before.requires_grad


def linear(codes):
    return codes.view(len(codes), 1, 8, 8)


OWN = {"name": "own", "latent": (64,), "image": (1, 8, 8), "value_range": (0.0, 1.0), "decode": linear}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"value_range": (1.0, 0.0)}, r"own: value_range is \(1.0, 0.0\); valid: \(lowest, highest\)"),
        ({"value_range": (0.0, math.inf)}, "own: value_range is"),
        ({"latent": (60,)}, r"own: decode does not take a batch of shape \(2, \*\(60,\)\): shape"),
        (
            {"image": (3, 8, 8)},
            r"own: decode makes torch.float32 of shape \(2, 1, 8, 8\) .*\(2, 3, 8, 8\)",
        ),
        ({"decode": lambda codes: linear(codes).double()}, "own: decode makes torch.float64"),
        ({"encode": lambda images: images}, r"own: encode makes torch.float32 of shape \(2, 1, 8, 8\)"),
    ],
)
def test_a_readers_own_generator_has_to_fit(changes, words):
    assert Generator(**OWN).decode(torch.zeros(1, 64)).shape == (1, 1, 8, 8)
    with pytest.raises(UsageError, match=words):
        Generator(**OWN | changes)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (
            torch.zeros(2, 1, 16, 16),
            r"own draws images of shape \(1, 8, 8\), .* \(2, 1, 16, 16\); valid: \(n, 1",
        ),
        (torch.full((1, 1, 8, 8), math.nan), "some values of the images are NaN or infinite"),
        (torch.full((1, 1, 8, 8), 255.0), "draws values from 0 to 1, but the images reach from 255 to 255"),
        (torch.full((1, 1, 8, 8), -0.2), "the images reach from -0.2 to -0.2"),
    ],
)
def test_images_of_another_size_or_scale_are_refused(images, words):
    made = Generator(**OWN)
    assert len(made.checked(torch.full((3, 1, 8, 8), 1.04))) == 3
    assert len(made.checked(torch.zeros(0, 1, 8, 8))) == 0
    with pytest.raises(UsageError, match=words):
        made.checked(images)
