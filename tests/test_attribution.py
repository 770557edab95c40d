"""Every method of attribution on networks of which the answer is known, slow versions, and captum against zennit."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import zennit.attribution
import zennit.composites
from captum.attr import LayerAttribution, LayerGradCam
from torch import nn

from cladec_companion.papers.xai.attribution import METHODS, Around, attribute
from cladec_companion.papers.xai.attribution.modules import modular, weighted
from cladec_companion.papers.xai.attribution.patterns import learn, linear_pattern
from cladec_core import networks
from cladec_core.errors import UsageError

SIDE = 8


def dense(*weights, biases=None):
    """A network of ReLUs with given weights, for images of one row."""
    layers = [nn.Flatten()]
    for place, weight in enumerate(weights):
        layer = nn.Linear(len(weight[0]), len(weight), bias=biases is not None)
        layer.weight.data = torch.tensor(weight, dtype=torch.float32)
        if biases is not None:
            layer.bias.data = torch.tensor(biases[place], dtype=torch.float32)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).requires_grad_(False)


def row(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


LARGER = dense([[1, -1], [0, 1], [0, -1]], [[1, 1, -1]])  # max(x1, x2)


class Functional(nn.Module):
    """A residual network that never says ReLU as a module."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.top = nn.Linear(4 * SIDE * SIDE, 3)

    def forward(self, images):
        first = torch.relu(self.norm(self.conv(images)))
        return self.top(torch.flatten(F.relu(self.again(first) + first), 1))


@pytest.fixture
def network():
    made = Functional().eval().requires_grad_(False)
    made.norm.running_mean.uniform_(-0.2, 0.2)
    made.norm.running_var.uniform_(0.5, 2)
    return made


@pytest.fixture
def images():
    return torch.randn(5, 1, SIDE, SIDE)


def free_of_biases(model):
    copied = modular(model)
    for name, value in copied.named_parameters():
        if name.endswith("bias"):
            value.data.zero_()
    return copied


def outputs(model, images, target):
    return model(images).gather(1, target.unsqueeze(1)).squeeze(1)


# ---- the copy in modules


@pytest.mark.parametrize("architecture", ["vgg11", "resnet10", "vgg11_maxpool"])
def test_the_copy_in_modules_computes_the_same(architecture):
    model = networks.classifier(architecture, 1, 3, 0.1).eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.5, 2)
    before, images = copy.deepcopy(model.state_dict()), torch.randn(2, 1, 32, 32)
    made = modular(model)
    assert torch.allclose(made(images), model(images), atol=1e-5)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in made.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part._forward_hooks for part in model.modules())
    assert weighted(made)[-1] == "logits"


def test_a_relu_that_is_called_twice_becomes_two_and_sums_become_modules(network):
    relu = nn.ReLU()
    twice = nn.Sequential(nn.Conv2d(1, 2, 1), relu, nn.Conv2d(2, 2, 1), relu, nn.Flatten(), nn.Linear(8, 2)).eval()
    assert sum(isinstance(part, nn.ReLU) for part in modular(twice).modules()) == 2
    made = modular(network)
    assert [type(part).__name__ for part in made.modules()].count("Sum") == 1
    assert sum(isinstance(part, nn.ReLU) for part in made.modules()) == 2


@pytest.mark.parametrize(
    ("step", "named"), [(nn.Sigmoid(), r"1 \(Sigmoid\)"), (nn.LayerNorm([2, 8, 8]), r"1 \(LayerNorm\)")]
)
def test_what_has_no_rule_is_named_with_the_methods_that_fit(step, named, images):
    model = nn.Sequential(nn.Conv2d(1, 2, 1), step, nn.Flatten(), nn.Linear(2 * SIDE * SIDE, 2))
    with pytest.raises(UsageError, match=rf"no rule for {named}; valid for this network: gradient, "):
        attribute(model, images, 0, method="lrp_0")
    assert torch.isfinite(attribute(model, images, 0, method="gradient")).all()


def test_a_network_that_cannot_be_followed_is_refused_in_one_line(images):
    class Fickle(nn.Module):
        def forward(self, images):
            return images.flatten(1) if images.sum() > 0 else images.flatten(1) * 2

    with pytest.raises(UsageError, match=r"^Fickle cannot be followed step by step .*; valid for it: gradient"):
        attribute(Fickle(), images, 0, method="guided_backprop")


# ---- gradients


@pytest.mark.parametrize("method", ["gradient_x_input", "lrp_0", "integrated_gradients", "deeplift"])
def test_contributions_to_a_linear_network_are_exact(method, images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2, bias=False)).requires_grad_(False)
    around = Around(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, SIDE, SIDE))  # its mean is 0
    found = attribute(model, images, 1, method=method, around=around)
    assert torch.allclose(found, model[1].weight[1].view(SIDE, SIDE) * images[:, 0], atol=1e-6)
    gradient = attribute(model, images, 1, method="gradient")
    assert torch.allclose(gradient[0], model[1].weight[1].abs().view(SIDE, SIDE))


def test_gradient_x_input_jumps_where_the_book_says():
    """Table 9.2."""
    around = Around(torch.zeros(2, 1, 1, 2))
    for method in ("gradient_x_input", "lrp_0"):
        above = attribute(LARGER, row(2, 2.1), 0, method=method, around=around)
        below = attribute(LARGER, row(2, 1.9), 0, method=method, around=around)
        assert torch.allclose(above.flatten(), torch.tensor([0.0, 2.1]), atol=1e-5)
        assert torch.allclose(below.flatten(), torch.tensor([2.0, 0.0]), atol=1e-5)


def test_guided_backprop_and_deconvnet_are_their_slow_versions():
    first, second = [[1.0, 2.0], [-3.0, 1.0], [2.0, -1.0]], [[1.0, 2.0, -1.0]]
    model, image = dense(first, second), row(1.0, 1.0)
    hidden, back = np.array(first) @ [1, 1], np.array(second)[0]
    for method, open_gates in (("guided_backprop", hidden > 0), ("deconvnet", np.ones(3, bool))):
        slow = np.where(open_gates, np.maximum(back, 0), 0) @ np.array(first)
        assert attribute(model, image, 0, method=method).flatten().tolist() == pytest.approx(np.abs(slow).tolist())
    assert (hidden <= 0).any()  # else there would be nothing to tell them apart


@pytest.mark.parametrize(("method", "baseline"), [("integrated_gradients", "mean"), ("deeplift", "mean")])
def test_shares_add_up_to_the_change_from_the_baseline(method, baseline, network, images):
    target, around = network(images).argmax(1), Around(torch.rand(20, 1, SIDE, SIDE))
    found = attribute(network, images, target, method=method, around=around).sum((1, 2))
    start = around.baseline(baseline, images)
    change = outputs(network, images, target) - outputs(network, start, target)
    assert torch.allclose(found, change, atol=0.05 * change.abs().max())
    other = attribute(network, images, target, method=method, around=around, baseline=images * 0 + 3)
    assert not torch.allclose(other.sum((1, 2)), change, atol=0.1)


def test_smoothgrad_of_a_linear_network_is_its_gradient_and_repeats(network, images):
    linear = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2))
    around = Around(images, seed=3)
    found = attribute(linear, images, 1, method="smoothgrad", around=around)
    assert torch.allclose(found, attribute(linear, images, 1, method="gradient"), atol=1e-6)
    runs = [attribute(network, images, 1, method="smoothgrad", around=Around(images, seed=s)) for s in (3, 3, 4)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    weights = linear[1].weight[1].view(SIDE, SIDE)
    noisy = attribute(linear, images, 1, method="smoothgrad", around=around, noise=1e-6, times_input=True)
    assert torch.allclose(noisy, (weights * images[:, 0]).abs(), atol=1e-4)


@pytest.mark.parametrize("target", [0, 2])
def test_gradcam_of_a_class_is_captums(target):
    model = networks.classifier("vgg5", 1, 3, 0.1).eval()
    images = torch.randn(3, 1, 32, 32)
    found = attribute(model, images, target, method="gradcam", around=Around(images, layer="conv2"))
    maps = LayerGradCam(model, model.conv2).attribute(images, target, relu_attributions=True)
    maps = LayerAttribution.interpolate(maps, (32, 32), "bilinear").squeeze(1).detach()
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    assert torch.allclose(found, torch.where(high > low, (maps - low) / (high - low).clamp(min=1e-30), 0), atol=1e-4)


def test_captum_and_zennit_agree_where_both_have_a_method(network, images):
    """On the copy in modules, which both can hook."""
    made, target = modular(network), torch.full((len(images),), 2)
    chosen = F.one_hot(target, 3).float()

    def by_zennit(composite=None, attributor=zennit.attribution.Gradient, **options):
        with attributor(made, composite, **options) as explain:
            return explain(images.clone(), lambda logits: chosen)[1].detach()

    pairs = {
        "gradient": by_zennit().abs(),
        "guided_backprop": by_zennit(zennit.composites.GuidedBackprop()).abs(),
        "deconvnet": by_zennit(zennit.composites.DeconvNet()).abs(),
        "gradient_x_input": by_zennit() * images,
    }
    for method, expected in pairs.items():
        found = attribute(network, images, target, method=method)
        assert torch.allclose(found, expected[:, 0], atol=1e-5), method
    around = Around(torch.zeros(2, 1, SIDE, SIDE))
    integrated = attribute(network, images, target, method="integrated_gradients", around=around, steps=200)
    theirs = by_zennit(attributor=zennit.attribution.IntegratedGradients, n_iter=200) * 1.0
    assert torch.corrcoef(torch.stack([integrated.flatten(), theirs[:, 0].flatten()]))[0, 1] > 0.999


# ---- relevance


def slow_lrp(model, image, *rules):
    """Eq. 13.1 with loops: a rule for each layer from the pixels up, (weight, inputs, bias) -> (terms, sums)."""
    layers = [part for part in model if isinstance(part, nn.Linear)]
    weights = [layer.weight.double().numpy() for layer in layers]
    biases = [np.zeros(len(weight)) if layer.bias is None else layer.bias.double().numpy()
              for layer, weight in zip(layers, weights, strict=True)]  # fmt: skip
    seen = [image.flatten().double().numpy()]
    for weight, bias in zip(weights, biases, strict=True):
        seen.append(np.maximum(weight @ seen[-1] + bias, 0))
    output = weights[-1] @ seen[-2] + biases[-1]
    relevance = np.where(np.arange(len(output)) == 0, output, 0)
    for weight, bias, inputs, rule in zip(weights[::-1], biases[::-1], seen[-2::-1], rules[::-1], strict=True):
        below = np.zeros(len(inputs))
        terms, sums = rule(weight, inputs, bias)
        for k in range(len(weight)):
            for j in range(len(inputs)):
                if relevance[k] and terms[k, j]:
                    below[j] += terms[k, j] / sums[k] * relevance[k]
        relevance = below
    return relevance


def epsilon(weight, inputs, bias):
    terms = weight * inputs
    z = terms.sum(1) + bias
    return terms, z + np.where(z >= 0, 1, -1) * 0.25 * np.sqrt((z**2).mean())


def gamma(weight, inputs, bias):
    terms = (weight + 0.25 * np.maximum(weight, 0)) * inputs
    return terms, terms.sum(1) + bias + 0.25 * np.maximum(bias, 0)


def plus(weight, inputs, bias):
    terms = np.maximum(weight, 0) * inputs
    return terms, terms.sum(1) + np.maximum(bias, 0)


def zero(weight, inputs, bias):
    return weight * inputs, (weight * inputs).sum(1) + bias


@pytest.mark.parametrize(
    ("method", "rule"), [("lrp_0", zero), ("lrp_epsilon", epsilon), ("lrp_gamma", gamma), ("excitation_backprop", plus)]
)
def test_relevance_is_its_slow_version(method, rule):
    first, second = torch.rand(4, 3) - 0.3, torch.rand(2, 4) + 0.1
    with_bias = [[0.1, 0.2, -0.1, 0.3], [0.2, 0.1]]
    biases = None if method == "excitation_backprop" else with_bias
    model, image = dense(first.tolist(), second.tolist(), biases=biases), row(0.5, 1.5, 2.0)
    slow = slow_lrp(model, image, rule, rule)
    if method == "excitation_backprop":
        slow = slow / model(image)[0, 0].item()  # it starts from 1
    assert attribute(model, image, 0, method=method).flatten().tolist() == pytest.approx(slow.tolist(), rel=1e-3)


def test_the_rule_for_pixels_uses_their_range():
    weight, low, high = np.array([1.0, -2.0, 0.5]), -1.0, 2.0
    model, x = dense([weight.tolist()]), np.array([0.5, -0.5, 1.0])
    around = Around(torch.tensor([low, high]).view(2, 1, 1, 1).expand(2, 1, 1, 3))
    terms = weight * x - np.maximum(weight, 0) * low - np.minimum(weight, 0) * high
    slow = terms / terms.sum() * (weight @ x)
    for method in ("lrp_zb", "deep_taylor", "lrp_composite"):
        found = attribute(model, row(*x), 0, method=method, around=around).flatten().tolist()
        assert found == pytest.approx(slow.tolist(), rel=1e-4), method


def box(weight, inputs, bias):
    """z^B for pixels between -1 and 3, where biases cancel: b = max(b, 0) + min(b, 0)."""
    terms = weight * inputs + np.maximum(weight, 0) - 3 * np.minimum(weight, 0)
    return terms, terms.sum(1)


@pytest.mark.parametrize(
    ("method", "rules"),
    [("lrp_composite", (box, gamma, gamma, epsilon, zero)), ("deep_taylor", (box, plus, plus, plus, plus))],
)
def test_each_of_five_layers_has_its_rule(method, rules):
    sizes = (3, 5, 6, 5, 4, 2)
    weights = [(torch.rand(above, below) - 0.35).tolist() for below, above in pairwise(sizes)]
    model = dense(*weights, biases=[(0.2 * torch.rand(size) - 0.05).tolist() for size in sizes[1:]])
    image, around = row(0.5, -0.5, 2.0), Around(torch.tensor([-1.0, 3.0]).view(2, 1, 1, 1).expand(2, 1, 1, 3))
    slow = slow_lrp(model, image, *rules)
    found = attribute(model, image, 0, method=method, around=around).flatten()
    assert found.tolist() == pytest.approx(slow.tolist(), rel=1e-3)
    for place in range(5):  # with another rule at any one layer the map is another one
        others = [rule if at != place else plus if rule is not plus else gamma for at, rule in enumerate(rules)]
        assert np.abs(slow_lrp(model, image, *others) - slow).max() > 1e-3 * np.abs(slow).max(), place


def test_relevance_is_conserved_where_biases_are_zero_and_lost_by_epsilon(network, images):
    model = free_of_biases(network)
    output, target = model(images).max(1)
    for method in ("lrp_0", "lrp_gamma"):
        found = attribute(model, images, target, method=method).sum((1, 2))
        assert torch.allclose(found, output, rtol=1e-3), method
    lossy = attribute(model, images, target, method="lrp_epsilon").sum((1, 2))
    assert (lossy < 0.95 * output).all()


def test_lrp_0_is_gradient_x_input_with_biases_too(network, images):
    pair = [attribute(network, images, 1, method=method) for method in ("lrp_0", "gradient_x_input")]
    assert torch.allclose(*pair, atol=1e-5)
    assert not torch.allclose(attribute(network, images, 1, method="lrp_0", biases=False), pair[1], atol=1e-3)


def test_contrastive_excitation_takes_off_what_the_opposite_unit_excites():
    model, image = dense([[1, 0], [0, 1]], [[2.0, -1.0]]), row(1, 1)
    plain = attribute(model, image, 0, method="excitation_backprop").flatten()
    assert torch.allclose(plain, torch.tensor([1.0, 0.0]), atol=1e-5)
    found = attribute(model, image, 0, method="contrastive_excitation").flatten()
    assert torch.allclose(found, torch.tensor([1.0, -1.0]), atol=1e-5)


# ---- patterns


def test_a_pattern_is_the_direction_of_the_signal_and_not_the_weight():
    signal, disturbance = torch.randn(4000, 1), torch.randn(4000, 1)
    inputs = signal * torch.tensor([1.0, 0.0]) + disturbance * torch.tensor([1.0, 1.0])
    found = linear_pattern(inputs, inputs @ torch.tensor([[1.0], [-1.0]]))
    assert found[0].tolist() == pytest.approx([1, 0], abs=0.05)
    slow = torch.linalg.lstsq(signal - signal.mean(), inputs - inputs.mean(0)).solution
    assert torch.allclose(found, slow, atol=1e-4)
    model = dense([[1, -1], [-1, 1]], [[1.0, 1.0]])
    learnt = learn(modular(model), inputs.view(-1, 1, 1, 2))["1"]  # of units that see one half of the signal each
    assert learnt[0].tolist() == pytest.approx([1, 0], abs=0.1)
    assert learnt[1].tolist() == pytest.approx([-1, 0], abs=0.1)


def test_patterns_of_a_convolution_are_those_of_its_windows():
    images, conv = torch.randn(6, 1, 6, 6), nn.Conv2d(1, 2, 3, stride=2, padding=1)
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(18, 2)).requires_grad_(False)
    windows = F.unfold(images, 3, padding=1, stride=2).transpose(1, 2).flatten(0, 1)
    values = windows @ conv.weight.flatten(1).T + conv.bias
    for unit, pattern in enumerate(learn(modular(model), images)["0"].flatten(1)):
        x, y = windows[values[:, unit] > 0], values[values[:, unit] > 0, unit]
        covariance = (x * y.unsqueeze(1)).mean(0) - x.mean(0) * y.mean()
        slow = covariance / (covariance @ conv.weight[unit].flatten())
        assert torch.allclose(pattern, slow, atol=1e-4)


def test_patternnet_and_patternattribution_go_back_with_patterns():
    inputs = torch.randn(300, 1, 1, 3)
    model, around = dense([[1.0, 2.0, -1.0], [0.5, -1.0, 1.0]]), Around(inputs)
    image, weight = row(1.0, 2.0, 3.0), model[1].weight[1]
    pattern = linear_pattern(inputs.flatten(1), model(inputs))[1]
    signal = attribute(model, image, 1, method="patternnet", around=around).flatten()
    assert torch.allclose(signal, (pattern * model(image)[0, 1]).abs(), atol=1e-4)
    shares = attribute(model, image, 1, method="patternattribution", around=around).flatten()
    assert torch.allclose(shares, weight * pattern * model(image)[0, 1], atol=1e-4)


# ---- the call


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_one_finite_map_for_each_image_and_leaves_the_network_alone(method):
    model = networks.classifier("vgg5", 2, 3, 0.1).train()
    before = copy.deepcopy(model.state_dict())
    images = torch.randn(2, 2, 32, 32)
    around = Around(
        torch.randn(40, 2, 32, 32), layer="conv2", decoder=nn.AvgPool2d(3, 1, 1), reference=nn.AvgPool2d(3, 1, 1)
    )
    options = {"iterations": 3} if method.startswith("meaningful") else {}
    options |= {"samples": 20} if method == "lime" else {"stride": 14, "samples": 2} if method == "pda" else {}
    found = attribute(model, images, torch.tensor([0, 2]), method=method, around=around, **options)
    assert found.shape == (2, 32, 32)
    assert torch.isfinite(found).all()
    assert not found.requires_grad
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part._forward_hooks or part._backward_hooks for part in model.modules())
    if METHODS[method].by_size:
        assert (found >= 0).all()


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"method": "lrp"}, "Unknown method 'lrp'; valid: random, "),
        ({"method": "gradient", "steps": 3}, "Unknown option of gradient 'steps'"),
        ({"target": 3}, "target has 3, which is no class; valid: from 0 to 2"),
        ({"target": torch.tensor([0, 1])}, r"target has shape \(2,\); valid: a class, or one for each of 5 images"),
        ({"method": "gradcam"}, "gradcam needs a layer in `around`; valid without: .*lrp_0"),
        ({"method": "cladec"}, "cladec needs a decoder"),
        ({"method": "integrated_gradients", "baseline": torch.zeros(1, 4, 4)}, r"baseline has shape \(1, 4, 4\)"),
        ({"method": "deeplift", "baseline": "white"}, "Unknown baseline 'white'; valid: black, mean, blur"),
        ({"method": "occlusion", "patch": 9}, "patch is 9; valid: from 1 to 8"),
        ({"method": "meaningful_perturbation", "fill": "refae"}, "'refae' needs a reference auto-encoder"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(asked, named, network, images):
    with pytest.raises(UsageError, match=named) as refused:
        attribute(network, images, **({"target": 0} | asked))
    assert "\n" not in str(refused.value)


def test_gradcam_without_maps_names_the_layer():
    with pytest.raises(UsageError, match="No layer before '1' puts out maps"):
        attribute(LARGER, row(1, 2), 0, method="gradcam", around=Around(row(1, 2), layer="1"))
