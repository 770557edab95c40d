"""Classifiers as somebody else may have them, their images, and explainers of them."""

import torch
import torchvision
from torch import nn
from torchvision.transforms import Normalize

from cladec_core import ClaDec, networks
from cladec_core.explainer import taps

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


NORMALISE = Normalize([0.5] * 3, [0.25] * 3)
GOOD = batch((3, 16, 16))


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
