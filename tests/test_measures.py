import math

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from captum.attr import LayerAttribution, LayerGradCam
from torch import nn

from cladec_companion.papers.cladec.layers.experiment import sample_indices
from cladec_companion.records.samples import as_uint8
from cladec_core import measures, networks
from cladec_core.errors import UsageError
from cladec_core.measures import intervals


def test_reconstruction_losses_are_the_slow_sums_in_every_scale():
    images, reconstructions = torch.randn(2, 5, 3, 32, 32)
    std = torch.tensor([0.2, 0.3, 0.5]).view(3, 1, 1)
    standardised, sums, norms = [], [], []
    for image, other in zip(images.numpy(), reconstructions.numpy(), strict=True):
        total = 0.0
        for channel in range(3):
            difference = image[channel].astype(float) - other[channel]
            standardised.append((difference**2).mean())
            total += ((difference * std[channel].item()) ** 2).sum()
        sums.append(total)
        norms.append(math.sqrt(total))
    found = measures.reconstruction_losses(images, reconstructions, std)
    assert found == pytest.approx(
        {
            "loss_standardised": sum(standardised) / 15,
            "loss_raw_mean": sum(sums) / 5 / (3 * 32 * 32),
            "loss_raw_sum": sum(sums) / 5,
            "loss_norm": sum(norms) / 5,
        },
        rel=1e-6,
    )


def test_a_perfect_reconstruction_has_no_loss(digits):
    found = measures.reconstruction_losses(digits.test_images, digits.test_images.clone(), digits.std)
    assert set(found.values()) == {0.0}


def test_the_mean_image_is_the_mean_training_image_and_no_grey(digits):
    images = measures.mean_image(digits)
    assert images.shape == digits.test_images.shape
    slow = sum(image.numpy() for image in digits.train_images.double()) / len(digits.train_images)
    assert np.allclose(images[0], slow, atol=1e-5)
    assert np.ptp(images[0].numpy()) > 1  # a picture: the middle differs from the border
    assert torch.equal(images[0], images[-1])


def test_no_constant_grey_comes_as_near_as_the_mean_image(digits):
    def loss(images):
        return measures.reconstruction_losses(digits.train_images, images, digits.std)["loss_standardised"]

    grey = loss(torch.zeros_like(digits.train_images))
    assert grey == pytest.approx(1, abs=1e-4)  # standardised: its loss is the variance
    assert loss(measures.mean_image(digits)[:1].expand_as(digits.train_images)) < 0.8 * grey


def test_accuracy_counts_the_largest_logits():
    logits = torch.tensor([[0.1, 0.9, 0.0], [2.0, 1.0, 1.5], [0.0, 0.1, 0.2], [-1.0, -3.0, -2.0]])
    assert measures.accuracy(logits, torch.tensor([1, 0, 1, 0])) == 0.75


def test_class_means_and_variance_are_the_slow_ones(digits):
    means, total = measures.class_means(digits), 0.0
    images, labels = digits.train_images.double().numpy(), digits.train_labels.numpy()
    for label in range(10):
        members = [image for image, own in zip(images, labels, strict=True) if own == label]
        mean = sum(members) / len(members)
        np.testing.assert_allclose(means[label].numpy(), mean, atol=1e-5)
        total += sum(((member - mean) ** 2).sum() for member in members)
    found = measures.within_class_variance(digits.train_images, digits.train_labels)
    assert found == pytest.approx(total / images.size, rel=1e-6)


def test_distance_is_the_mean_square():
    first, second = torch.randn(2, 3, 1, 4, 4)
    assert measures.distance(first, second) == pytest.approx(np.mean((first.numpy() - second.numpy()) ** 2), rel=1e-5)


def test_pool_averages_over_space_down_to_2048_values():
    activations = torch.randn(3, 64, 16, 16)
    slow = activations.numpy().reshape(3, 64, 4, 4, 4, 4).mean((3, 5)).reshape(3, -1)
    np.testing.assert_allclose(measures.Pool()(activations).numpy(), slow, atol=1e-5)
    small = torch.randn(3, 128, 4, 4)
    assert torch.equal(measures.Pool()(small), small.flatten(1))
    assert measures.Pool()(torch.randn(3, 4096, 1, 1)).shape == (3, 4096)
    oblong = activations[:, :, :8]
    slow = oblong.numpy().reshape(3, 64, 4, 2, 8, 2).mean((3, 5)).reshape(3, -1)
    np.testing.assert_allclose(measures.Pool()(oblong).numpy(), slow, atol=1e-5)
    vector = torch.randn(3, 3000)
    assert torch.equal(measures.Pool()(vector), vector)


def blobs(spread):
    labels = torch.arange(120) % 3
    centres = torch.eye(3, 20) * 10
    return centres[labels] + spread * torch.randn(120, 20), labels


def test_a_linear_probe_reads_what_is_separable_and_guesses_what_is_not():
    features, labels = blobs(spread=1)
    assert measures.linear_probe(features[:80], labels[:80], features[80:], labels[80:]) == 1.0
    noise = torch.randn(120, 20)
    assert measures.linear_probe(noise[:80], labels[:80], noise[80:], labels[80:]) < 0.7


def test_code_statistics_are_those_of_the_eigenvalues():
    activations = torch.randn(50, 6) @ torch.randn(6, 8)
    eigenvalues = np.linalg.eigvalsh(np.cov(activations.double().numpy().T))
    found = measures.code_statistics(activations)
    assert found["units"] == 8
    assert found["active"] == pytest.approx((activations.numpy() > 0).mean())
    assert found["effective_rank"] == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum(), rel=1e-4)
    assert measures.code_statistics(torch.rand(10, 4, 2, 2))["units"] == 16


def test_correlations_are_those_of_scipy_pair_by_pair():
    first = torch.rand(5, 2, 4, 4)
    second = (first + torch.rand(5, 2, 4, 4)).round(decimals=1)  # many ties
    for found, slow in (
        (measures.correlation, scipy.stats.pearsonr), (measures.rank_correlation, scipy.stats.spearmanr),
    ):  # fmt: skip
        each = [slow(one.flatten(), other.flatten())[0] for one, other in zip(first, second, strict=True)]
        assert found(first, second, constant=0.0).tolist() == pytest.approx(each)
        assert found(first, -1e-9 * first, constant=0.0).tolist() == pytest.approx([-1] * 5)  # whatever the scale


@pytest.mark.parametrize("compare", [measures.correlation, measures.rank_correlation])
def test_a_constant_map_counts_as_what_is_asked_for(compare):
    varies, constant = torch.rand(3, 50), torch.full((3, 50), 0.3)
    varies[2] = 0.0
    for pair in ((varies, constant), (constant, varies), (constant, constant)):
        assert compare(*pair, constant=0.0).tolist() == [0, 0, 0]
        assert compare(*pair, constant=math.nan).isnan().all()
    own = compare(varies, varies, constant=0.5)
    assert own.tolist() == pytest.approx([1, 1, 0.5])
    varies[0, 0] = math.nan  # what is unknown stays unknown
    assert compare(varies, constant, constant=0.0).isnan().tolist() == [True, False, False]


def test_loss_rank_correlation_is_spearmans():
    images = torch.zeros(6, 1, 2, 2)
    first = torch.tensor([1.0, 5, 2, 4, 3, 6]).view(6, 1, 1, 1).expand(6, 1, 2, 2)
    second = torch.tensor([2.0, 6, 1, 4, 3, 5]).view(6, 1, 1, 1).expand(6, 1, 2, 2)
    expected = 1 - 6 * (1 + 1 + 1 + 0 + 0 + 1) / (6 * 35)  # of the ranks, which are the values
    assert measures.loss_rank_correlation(images, first, second) == pytest.approx(expected)


def test_sharpness_is_the_variance_of_the_laplacian():
    images = torch.rand(2, 3, 6, 6)
    for image, found in zip(images.mean(1).numpy(), measures.sharpness(images).tolist(), strict=True):
        slow = [
            image[y - 1, x] + image[y + 1, x] + image[y, x - 1] + image[y, x + 1] - 4 * image[y, x]
            for y in range(1, 5)
            for x in range(1, 5)
        ]
        assert found == pytest.approx(np.var(slow, ddof=1), rel=1e-4)


def squares(tones):
    images = torch.zeros(len(tones), 1, 32, 32)
    for image, tone in zip(images, tones, strict=True):
        image[:, 8:24, 8:24] = tone
    return images


def test_an_image_keeps_all_its_concepts():
    images = squares([0.3, 0.6, 0.9])
    assert measures.concepts_kept(images, images) == pytest.approx({"grey_tone": 1, "texture": 1, "shape": 1})


def test_each_concept_is_lost_on_its_own():
    images = squares([0.3, 0.6, 0.9])
    swapped = measures.concepts_kept(images, squares([0.9, 0.6, 0.3]))
    assert swapped["grey_tone"] == pytest.approx(-1)
    assert swapped["shape"] == 1
    moved = measures.concepts_kept(images, images.roll(4, dims=3))
    assert moved["shape"] == pytest.approx(12 / 20)
    assert moved["texture"] == pytest.approx(1)
    blurred = F.avg_pool2d(images, 5, stride=1, padding=2)
    assert measures.concepts_kept(images, blurred)["texture"] < 0.5


@pytest.fixture
def two_layers():
    net = networks.Classifier()
    net.add_module("conv1", nn.Sequential(nn.Conv2d(1, 4, 3, stride=4, padding=1), nn.ReLU()))
    net.add_module("conv2", nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU()))
    net.add_module("penultimate", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    net.add_module("logits", nn.Linear(6, 3))
    return net.eval().requires_grad_(False)


def slow_gradcam(net, layer, images):
    """One image at a time: weights are the spatial means of the gradients of the predicted class's logit."""
    names = [name for name, _ in net.named_children()]
    maps = []
    for image in images:
        activation = image[None]
        for name in names[: names.index(layer) + 1]:
            activation = net.get_submodule(name)(activation)
        activation.requires_grad_()
        output = activation
        for name in names[names.index(layer) + 1 :]:
            output = net.get_submodule(name)(output)
        (gradient,) = torch.autograd.grad(output.max(), activation)
        importance = (gradient.mean((2, 3), keepdim=True) * activation).sum(1, keepdim=True).relu().detach()
        large = F.interpolate(importance, image.shape[1:], mode="bilinear", align_corners=False)[0, 0]
        span = large.max() - large.min()
        maps.append((large - large.min()) / span if span > 1e-12 else torch.zeros_like(large))
    return torch.stack(maps)


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_gradcam_is_the_hand_written_one(two_layers, layer):
    images = torch.randn(6, 1, 32, 32)
    found = measures.gradcam(two_layers, layer, images)
    expected = slow_gradcam(two_layers, layer, images)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (expected.amax((1, 2)) == 1).any()


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_gradcam_is_captum_s(two_layers, layer):
    images = torch.randn(6, 1, 32, 32)
    maps = LayerGradCam(two_layers, two_layers.get_submodule(layer)).attribute(
        images, target=two_layers(images).argmax(1), relu_attributions=True
    )
    large = LayerAttribution.interpolate(maps.detach(), (32, 32), "bilinear").squeeze(1)
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    torch.testing.assert_close(measures.gradcam(two_layers, layer, images) * (high - low) + low, large)


@pytest.mark.parametrize("layer", ["penultimate", "logits"])
def test_gradcam_of_a_vector_is_that_of_the_last_map(two_layers, layer):
    images = torch.randn(4, 1, 32, 32)
    torch.testing.assert_close(
        measures.gradcam(two_layers, layer, images), measures.gradcam(two_layers, "conv2", images)
    )


def test_gradcam_of_a_single_pixel_is_zero(digits):
    model = networks.classifier("vgg11", 1, 10, width=0.125).eval()
    found = measures.gradcam(model, "conv4", digits.test_images)
    assert torch.equal(found, torch.zeros(48, 32, 32))


def test_gradcam_does_not_depend_on_the_scale_of_the_logits(two_layers):
    images = torch.randn(4, 1, 32, 32)
    two_layers.logits.bias.zero_()
    before = measures.gradcam(two_layers, "conv1", images)
    assert before.any()
    two_layers.logits.weight *= 1e-12
    torch.testing.assert_close(measures.gradcam(two_layers, "conv1", images), before)


def test_gradcam_leaves_no_hook_behind(two_layers):
    before = {name: tensor.clone() for name, tensor in two_layers.state_dict().items()}
    measures.gradcam(two_layers, "conv1", torch.randn(2, 1, 32, 32))
    assert all(not module._forward_hooks and not module._backward_hooks for module in two_layers.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in two_layers.state_dict().items())
    assert not two_layers.training


@pytest.mark.parametrize("size", [(64, 64), (28, 40)])
@pytest.mark.parametrize("layer", ["conv1", "conv2", "logits"])
def test_gradcam_has_the_size_of_the_images(two_layers, layer, size):
    images = torch.randn(3, 1, *size)
    found = measures.gradcam(two_layers, layer, images)
    expected = slow_gradcam(two_layers, "conv2" if layer == "logits" else layer, images)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


class Foreign(nn.Module):
    """Somebody's classifier: no chain, a layer inside another, and one that works in place behind it."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.unused = nn.Conv2d(6, 6, 1)
        self.flat = nn.Flatten(2)  # puts out "tokens": (n, 6, height width)
        self.head = nn.Linear(6, 4)

    def forward(self, images):
        maps = self.features(images)
        return self.head((maps + maps.square() + self.flat(maps).view_as(maps)).mean((2, 3)))


def captums(model, layer, images):
    with networks.in_eval_mode(model):
        maps = LayerGradCam(model, model.get_submodule(layer)).attribute(
            images, target=model(images).argmax(1), relu_attributions=True
        )
    large = LayerAttribution.interpolate(maps.detach(), tuple(images.shape[2:]), "bilinear").squeeze(1)
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    return (large - low) / (high - low).clamp(min=1e-30)


@pytest.mark.parametrize("layer", ["features.0", "features.1", "features", "head"])
def test_gradcam_of_a_foreign_model_is_captums_and_leaves_it_as_it_was(layer):
    model, images = Foreign().train(), torch.randn(5, 3, 20, 30)
    found = measures.gradcam(model, layer, images)
    assert all(part.training and not part._forward_hooks for part in model.modules())
    assert all(value.grad is None and value.requires_grad for value in model.parameters())
    expected = captums(model, "features" if layer == "head" else layer, images)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (found.amax((1, 2)) > 0.999).any()


def test_gradcam_of_tokens_needs_a_layout():
    model, images = Foreign(), torch.randn(5, 3, 20, 30)
    with pytest.raises(UsageError, match=r"'flat' puts out the shape \(1, 6, 28\); valid: .* layout="):
        measures.gradcam(model, "flat", images)
    found = measures.gradcam(model, "flat", images, layout=lambda tokens: tokens.unflatten(2, (4, 7)))
    with networks.in_eval_mode(model):
        maps = model.features(images).detach()  # every pixel of `flat` weighs what the head gives its channel
        weights = model.head.weight[model(images).argmax(1)].detach()
    large = (weights[:, :, None, None] * maps).sum(1, keepdim=True).relu()
    large = F.interpolate(large, (20, 30), mode="bilinear", align_corners=False)[:, 0]
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    torch.testing.assert_close(found, (large - low) / (high - low).clamp(min=1e-30), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("model", "layer", "message"),
    [
        (Foreign(), "feature", "Unknown layer 'feature' of Foreign; near: features"),
        (Foreign(), "unused", "'unused' puts out nothing; valid: maps"),
        (networks.Frozen(Foreign()), "module.features", "The logits do not depend on layer 'module.features'"),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), "1", "No layer before '1' puts out maps"),
    ],
)
def test_gradcam_that_does_not_exist_is_refused(model, layer, message):
    with pytest.raises(UsageError, match=message):
        measures.gradcam(model, layer, torch.randn(2, 3, *((2, 2) if "1" in layer else (16, 16))))


def test_the_samples_are_one_right_of_each_class_then_wrong_ones_then_bags():
    labels = torch.arange(10).repeat(6)
    predicted = labels.clone()
    predicted[:10] = (labels[:10] + 1) % 10  # the first of each class is wrong
    chosen = sample_indices(labels, predicted)
    assert chosen[:10].tolist() == list(range(10, 20))
    assert (labels[chosen[:10]] == predicted[chosen[:10]]).all()
    assert chosen[10:16].tolist() == list(range(6))
    assert (labels[chosen[10:16]] != predicted[chosen[10:16]]).all()
    assert chosen[16:].tolist() == [28, 38, 48, 58]
    assert len(set(chosen.tolist())) == len(chosen)


def test_a_class_that_is_never_right_has_no_sample():
    labels, predicted = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([1, 0, 0, 0, 2, 2])
    assert sample_indices(labels, predicted).tolist() == [1, 4, 0, 2, 3, 5]


def test_as_uint8_rounds_and_clips():
    unit = torch.tensor([-0.2, 0.0, 0.5 / 255 + 1e-4, 0.25, 1.0, 1.7])
    found = as_uint8(unit)
    assert found.dtype == np.uint8
    assert found.tolist() == [0, 0, 1, 64, 255, 255]


def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says():
    numbers = np.random.default_rng(0)
    held = []
    for repeat in range(200):
        low, high = measures.over_images(numbers.exponential(size=60), seed=repeat)
        held.append(low < 1 < high)
    assert 0.88 < np.mean(held) < 0.99
    assert np.isnan(measures.over_images(np.ones(1))).all()
    assert measures.over_images(np.full(5, 3.0)) == (3, 3)


def test_many_images_are_resampled_in_parts_with_the_same_answer(monkeypatch):
    values = np.random.default_rng(0).normal(size=500)
    whole = measures.over_images(values)
    monkeypatch.setattr(intervals, "AT_ONCE", 1000)
    assert measures.over_images(values) == pytest.approx(whole, rel=1e-12)
    assert whole == pytest.approx(values.mean() + np.array([-1.96, 1.96]) * values.std() / 500**0.5, abs=0.01)


@pytest.mark.parametrize(("hits", "count"), [(0, 8), (8, 8), (3, 10), (500, 1000)])
def test_the_interval_of_a_share_is_wilsons(hits, count):
    expected = scipy.stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert measures.of_share(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert np.isnan(measures.of_share(0, 0)).all()


@pytest.mark.parametrize("count", [2, 3, 6, 11, 12, 30, 200])
def test_the_interval_over_seeds_is_students(count):
    values = np.random.default_rng(count).normal(size=count)
    error = values.std(ddof=1) / count**0.5
    expected = scipy.stats.t.interval(0.95, count - 1, loc=values.mean(), scale=error)
    assert measures.over_seeds(list(values)) == pytest.approx(expected, abs=2e-3 * error)
    assert np.isnan(measures.over_seeds([1.0])).all()
