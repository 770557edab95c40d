"""The convolutions do what `torch.nn`'s do: outputs and every gradient, whatever order the work is in."""

import pytest
import torch
from torch import nn

from cladec_core.networks import convolutions


def by_products(output):
    return type(output.grad_fn).__name__ == "_ConvolutionBackward"


def outputs_and_gradients(module, images):
    images = images.clone().requires_grad_()
    output = module(images)
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape)
    return output, torch.autograd.grad((output * weights).sum(), [images, *module.parameters()])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(1, 3, 1, 1), (1, 3, 2, 1), (2, 3, 2, 1), (3, 3, 2, 0), (1, 1, 1, 0), (2, 3, 1, 1), (4, 3, 2, 1), (5, 5, 1, 2)],
)
def test_conv2d_is_torchs(size, kernel, stride, padding, bias):
    plain = nn.Conv2d(3, 5, kernel, stride, padding, bias=bias)
    ours = convolutions.Conv2d(3, 5, kernel, stride, padding, bias=bias)
    ours.load_state_dict(plain.state_dict())
    images = torch.randn(4, 3, size, size)
    torch.testing.assert_close(outputs_and_gradients(ours, images), outputs_and_gradients(plain, images))


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra"), [(4, 2, 1, 0), (5, 2, 2, 1), (3, 1, 1, 0), (2, 2, 0, 1), (3, 2, 0, 1)]
)
def test_conv_transpose2d_is_torchs(size, kernel, stride, padding, extra):
    plain = nn.ConvTranspose2d(3, 5, kernel, stride, padding, output_padding=extra)
    ours = convolutions.ConvTranspose2d(3, 5, kernel, stride, padding, output_padding=extra)
    ours.load_state_dict(plain.state_dict())
    maps = torch.randn(4, 3, size, size)
    torch.testing.assert_close(outputs_and_gradients(ours, maps), outputs_and_gradients(plain, maps))


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize(
    ("kind", "size", "geometry"),
    [
        ("Conv2d", (2, 2), (3, 1, 1)),
        ("Conv2d", (16, 16), (3, 2, 1)),
        ("Conv2d", (7, 7), (3, 2, 1)),
        ("Conv2d", (8, 5), (5, 2, 2)),
        ("Conv2d", (1, 2), (3, 1, 1)),
        ("ConvTranspose2d", (2, 2), (4, 2, 1)),
        ("ConvTranspose2d", (4, 4), (5, 2, 2, 1)),
        ("ConvTranspose2d", (8, 3), (3, 2, 1, 1)),
        ("ConvTranspose2d", (5, 1), (4, 2, 1)),
    ],
)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("bias", [True, False])
def test_products_give_the_gradients_of_float64(kind, size, geometry, autocast, layout, bias):
    """In bf16, which rounds to 8 bits; the same layer in float64 is the slow plain version."""
    ours = getattr(convolutions, kind)(6, 5, *geometry, bias=bias).to(memory_format=layout)
    plain = getattr(nn, kind)(6, 5, *geometry, bias=bias, dtype=torch.float64)
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(3, 6, *size).to(memory_format=layout)
    expected, wanted = outputs_and_gradients(plain, images.double())
    if not autocast:
        ours, images = ours.bfloat16(), images.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output, gradients = outputs_and_gradients(ours, images)
    assert output.dtype == torch.bfloat16
    assert by_products(output)
    for found, exact in zip([output, *gradients], [expected, *wanted], strict=True):
        assert found.dtype == (torch.float32 if autocast and found is not output else torch.bfloat16)
        assert (found - exact).abs().max() < 0.02 * exact.abs().max()


def test_only_a_weight_that_learns_is_worth_a_product():
    layer, images = convolutions.Conv2d(6, 5, 3, 2, 1).bfloat16(), torch.randn(3, 6, 8, 8).bfloat16()
    assert by_products(layer(images))
    assert not by_products(layer(images.repeat(1, 1, 4, 4)))  # 16 output pixels in each direction
    with torch.no_grad():
        assert layer(images).grad_fn is None
    layer.requires_grad_(False)
    assert not by_products(layer(images.requires_grad_()))
    assert not by_products(convolutions.Conv2d(6, 5, 3, 2, 1)(images.detach().float()))


def test_a_weight_that_is_trained_alone_gets_its_gradient():
    layer, images = convolutions.ConvTranspose2d(6, 5, 4, 2, 1).bfloat16(), torch.randn(3, 6, 4, 4).bfloat16()
    output = layer(images)
    assert by_products(output)
    assert [found.shape for found in torch.autograd.grad(output.sum(), layer.parameters())] == [(6, 5, 4, 4), (5,)]


def test_convolutions_of_one_column_are_not_taken_for_one_pixel():
    layer, maps = convolutions.ConvTranspose2d(3, 2, 4, 2, 1), torch.rand(2, 3, 5, 1)
    assert torch.equal(layer(maps), nn.ConvTranspose2d.forward(layer, maps))
    layer, maps = convolutions.Conv2d(3, 2, 3, 2, 1), torch.rand(2, 3, 1, 2)
    assert torch.equal(layer(maps), nn.Conv2d.forward(layer, maps))
